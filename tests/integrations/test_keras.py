"""The callback for Keras 3 in real trainings of a few weights, in one process where it can be: the import is slow."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.clock import SYSTEM
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.rendering.format import number as figure
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.training.session import close
from notifybot.types import Status
from tests.support.training_runs import end_runs, recorded_events

pytestmark = [
    pytest.mark.needs("keras"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # Keras' own, with NumPy 2
]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make a callback with its runs in the test's folder."""
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    from notifybot.integrations.keras import NotifyCallback

    settings = {"wandb": "off", "tensorboard": "off"}
    yield lambda name="digits", **options: NotifyCallback(name, config=settings, **options)
    end_runs()


def model(seed: int = 0) -> Any:
    import keras

    keras.utils.set_random_seed(seed)
    linear = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    linear.compile(keras.optimizers.SGD(0.05), "mse", metrics=["mae"])
    return linear


def data() -> tuple[Any, Any]:
    import numpy as np

    x = np.random.default_rng(0).normal(size=(16, 2))
    return x, x.sum(axis=1)


def fit(model: Any, *callbacks: Any, epochs: int = 3, scale: float = 1.0, **more: Any) -> Any:
    x, y = data()
    y = y * scale
    return model.fit(
        x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks), validation_data=(x, y), **more
    )


def fails_in(epoch: int) -> Any:
    import keras

    def fail(label: int, logs: Any) -> None:
        if label == epoch:
            raise ValueError("bad batch")

    return keras.callbacks.LambdaCallback(on_epoch_begin=fail)


def recorded(callback: Any) -> list[Event]:
    assert callback.run is not None
    assert callback.run.session is not None
    return recorded_events(callback.run)


def ending(callback: Any) -> RunEnded:
    event = recorded(callback)[-1]
    assert isinstance(event, RunEnded)
    return event


def epochs_of(events: list[Event]) -> list[int | None]:
    return [each.progress.epoch for each in events if isinstance(each, EpochFinished)]


def test_every_epoch_has_the_numbers_that_history_has(notify: Any, tmp_path: Path) -> None:
    import keras

    callback = notify()
    saving = keras.callbacks.ModelCheckpoint(tmp_path / "{epoch:02d}-{val_loss:.3f}.keras")
    history = fit(model(), callback, saving).history

    events = recorded(callback)
    assert [type(each) for each in events] == [RunStarted, *[EpochFinished, CheckpointSaved] * 3, RunEnded]
    told = [each.progress.metrics for each in events if isinstance(each, EpochFinished)]
    assert [{name: metric.value for name, metric in each.items()} for each in told] == [
        {name: values[epoch] for name, values in history.items()} for epoch in range(3)
    ]
    saved = [each.checkpoint for each in events if isinstance(each, CheckpointSaved)]
    assert [(Path(each.path), each.epoch) for each in saved] == list(
        zip(sorted(tmp_path.glob("0*.keras")), range(3), strict=True)
    )
    last = events[-1]
    assert isinstance(last, RunEnded)
    assert (last.status, last.note, last.progress.done, last.progress.total) == (Status.FINISHED, "", 3, 3)
    assert isinstance(events[0], RunStarted)
    assert events[0].params == {
        "optimizer": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.0,
        "loss": "mse",
        "parameters": 3,
        "steps_per_epoch": 2,
    }


def test_an_optimizer_has_its_own_name_however_many_there_are(notify: Any) -> None:
    """Keras calls the second one of a process "adam_1"."""
    shown = []
    for _ in range(2):
        callback, built = notify(), model()
        built.compile("adam", "mse")
        fit(built, callback, epochs=1)
        started = recorded(callback)[0]
        assert isinstance(started, RunStarted)
        shown.append(started.params["optimizer"])

    assert shown == ["adam", "adam"]


def test_only_what_was_saved_anew_is_reported(notify: Any, tmp_path: Path) -> None:
    """A best model's file stays the same path; where an epoch was no better, it was not written."""
    import keras

    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_mae", save_best_only=True)
    worsens = keras.callbacks.LearningRateScheduler(lambda epoch, rate: -0.05 if epoch == 1 else 0.2)
    callback = notify()
    history = fit(model(), callback, worsens, best, epochs=3).history["val_mae"]

    assert history[1] > history[0] > history[2]
    saved = [each.checkpoint for each in recorded(callback) if isinstance(each, CheckpointSaved)]
    assert [(each.path, each.epoch) for each in saved] == [
        (str(tmp_path / "best.keras"), 0),
        (str(tmp_path / "best.keras"), 2),
    ]
    assert callback.run.progress.metrics["val_mae"].best_epoch == 2


def test_early_stopping_is_told_by_its_metric(notify: Any) -> None:
    import keras

    stops = keras.callbacks.EarlyStopping("val_mae", mode="min", patience=2, min_delta=100)
    callback = notify()
    history = fit(model(), callback, stops, epochs=20).history

    last = ending(callback)
    note = f"EarlyStopping: val_mae has not improved since epoch 0 ({figure(history['val_mae'][0])})"
    assert (last.status, last.note) == (Status.FINISHED, note)
    assert (last.progress.done, last.progress.total) == (3, 20)


def test_a_program_that_stops_by_itself_finished_early(notify: Any) -> None:
    import keras

    callback, linear = notify(), model()
    enough = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(linear, "stop_training", epoch == 1)
    )
    fit(linear, enough, callback, epochs=5)

    assert (ending(callback).status, ending(callback).note) == (Status.FINISHED, "stopped early")


def test_a_loss_that_is_not_finite_is_a_failure(notify: Any) -> None:
    import keras

    callback = notify()
    fit(model(), callback, keras.callbacks.TerminateOnNaN(), epochs=4, scale=float("inf"))

    last = ending(callback)
    assert (last.status, last.progress.done) == (Status.FAILED, 1)
    assert last.error == "the training was stopped because loss is not finite"


def test_an_exception_is_raised_and_told(notify: Any) -> None:
    with pytest.raises(ValueError, match="bad batch"), notify() as callback:
        fit(model(), callback, fails_in(1))

    assert (ending(callback).status, ending(callback).error) == (Status.FAILED, "ValueError: bad batch [epoch 1]")


def test_a_folder_finds_the_run_again(notify: Any, tmp_path: Path) -> None:
    """Without one, and where the training begins anew, it is another run."""
    linear = model()
    with pytest.raises(ValueError, match="bad batch"), notify(folder=tmp_path / "key") as before:
        fit(linear, before, fails_in(2), epochs=4)

    after, anew = notify("other", folder=tmp_path / "key"), notify(folder=tmp_path / "key")
    fit(linear, after, epochs=4, initial_epoch=2)
    fit(linear, anew, epochs=1)

    events = recorded(after)
    assert (after.run.id, after.run.attempt) == (before.run.id, 2)
    assert epochs_of(events) == [0, 1, 2, 3]
    assert [each.progress.done for each in events if isinstance(each, RunStarted)] == [0, 2]
    assert anew.run.id != before.run.id


def test_a_folder_carries_the_run_to_another_machine(
    notify: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the database has never heard of it."""
    linear = model()
    with pytest.raises(ValueError, match="bad batch"), notify(folder=tmp_path / "drive") as before:
        fit(linear, before, fails_in(2), epochs=4)
    close()
    for name in ("STATE_DIR", "RUNS_DIR"):
        monkeypatch.setenv(f"NOTIFYBOT_{name}", str(tmp_path / "new" / name))
    after = notify(folder=tmp_path / "drive")
    fit(linear, after, epochs=4, initial_epoch=2)

    assert (after.run.id, after.run.attempt, after.run.progress.done) == (before.run.id, 2, 4)
    (rows,) = (tmp_path / "new").rglob("metrics.jsonl")
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch_finished"] == [0, 1, 2, 3]


def test_what_keras_backs_up_finds_the_run_again(notify: Any, tmp_path: Path) -> None:
    """And as Keras takes its backup away after a complete training, the next one is another run."""
    import keras

    def backup() -> Any:
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    before, after, anew = notify(), notify(), notify()
    with pytest.raises(ValueError, match="bad batch"):
        fit(model(), before, backup(), fails_in(2), epochs=4)
    fit(model(1), after, backup(), epochs=4)
    fit(model(2), anew, backup(), epochs=1)

    assert (after.run.id, epochs_of(recorded(after))) == (before.run.id, [0, 1, 2, 3])
    assert anew.run.id != after.run.id
    assert before.run.progress.kept_in == "backup"
    resumed = [each.resumed for each in recorded(after) if isinstance(each, RunStarted)][-1]
    assert resumed is not None
    assert (resumed.epoch, resumed.next_epoch) == (1, 2)


def test_a_callback_that_goes_on_goes_on_with_its_run(notify: Any) -> None:
    """A second `fit` from the start, as of the next fold, is another run."""
    callback, linear = notify(), model()
    fit(linear, callback, epochs=2)
    first = callback.run.id
    fit(linear, callback, epochs=3, initial_epoch=2)

    assert (callback.run.id, epochs_of(recorded(callback))) == (first, [0, 1, 2])
    fit(linear, callback, epochs=1)
    assert callback.run.id != first


def test_where_no_epoch_is_left_there_is_no_run(notify: Any) -> None:
    callback = notify()
    fit(model(), callback, epochs=2, initial_epoch=2)

    assert callback.run is None


def test_an_evaluation_after_the_training_is_told(notify: Any) -> None:
    callback, linear = notify(), model()
    fit(linear, callback)
    linear.evaluate(*data(), verbose=0, callbacks=[callback])

    (alert,) = (each for each in recorded(callback) if isinstance(each, AlertRaised))
    assert alert.title.startswith("Evaluation: loss 0.")


def test_without_keras_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keras", None)
    monkeypatch.delitem(sys.modules, "notifybot.integrations.keras", raising=False)

    with pytest.raises(ImportError, match="keras needs keras: pip install keras"):
        importlib.import_module("notifybot.integrations.keras")


# ── Programs that are killed, and that see an exception to the end ───────────────────────────────────────────────────

PROGRAM = """
import os, signal, sys, numpy, keras
from notifybot.integrations.keras import NotifyCallback

what, at = sys.argv[1], int(sys.argv[2])
def on_epoch_begin(epoch, logs):
    if epoch == at and what == "raise": raise ValueError("bad batch")
    if epoch == at: os.kill(os.getpid(), getattr(signal, what))
linear = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
linear.compile("sgd", "mse")
x = numpy.ones((8, 2))
callbacks = [keras.callbacks.BackupAndRestore("backup"), NotifyCallback("digits"),
             keras.callbacks.LambdaCallback(on_epoch_begin=on_epoch_begin)]
linear.fit(x, x[:, 0], epochs=4, verbose=0, callbacks=callbacks)
"""


def run_program(folder: Path, what: str, at: int) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "KERAS_BACKEND": "torch",
        "PYTHONPATH": str(ROOT),
        "NOTIFYBOT_TENSORBOARD": "off",
        "NOTIFYBOT_WANDB": "off",
    }
    command = [sys.executable, "-c", PROGRAM, what, str(at)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=150)


def runs_in(folder: Path) -> list[tuple[runs.RunRow, list[Event]]]:
    store = Store.open(folder / "state" / "notifybot.db", clock=SYSTEM)
    try:
        return [(row, runs.events_of(store, row.id)) for row in runs.recent(store)]
    finally:
        store.close()


@pytest.mark.field
def test_a_killed_training_goes_on_as_the_same_run(tmp_path: Path) -> None:
    assert run_program(tmp_path, "SIGKILL", 2).returncode == -signal.SIGKILL
    again = run_program(tmp_path, "none", -1)

    assert again.returncode == 0, again.stderr
    ((row, events),) = runs_in(tmp_path)
    assert (row.status, row.attempt, row.progress.done) == (Status.FINISHED, 2, 4)
    assert epochs_of(events) == [0, 1, 2, 3]


@pytest.mark.field
@pytest.mark.parametrize(
    ("what", "status", "error"),
    [
        ("raise", Status.FAILED, "ValueError: bad batch [epoch 1]"),
        ("SIGINT", Status.INTERRUPTED, ""),
        ("SIGTERM", Status.INTERRUPTED, "SIGTERM"),
    ],
)
def test_how_the_program_ended_is_known_without_a_block(what: str, status: Status, error: str, tmp_path: Path) -> None:
    done = run_program(tmp_path, what, 1)

    ((row, events),) = runs_in(tmp_path)
    assert done.returncode != 0
    last = events[-1]
    assert isinstance(last, RunEnded)
    assert (row.status, last.error) == (status, error)
