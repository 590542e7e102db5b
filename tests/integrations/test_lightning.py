"""The callback for Lightning in real trainings of a few weights: what is reported equals Lightning's own CSV log."""

from __future__ import annotations

import contextlib
import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, RunEnded, RunStarted
from notifybot.store.notifier_state import tracker_url
from notifybot.types import Status
from tests.support.lightning import callbacks, ended, fit, lightning, model, recorded, rows, saver, trainer, values

pytestmark = [
    pytest.mark.needs("lightning"),
    pytest.mark.filterwarnings("ignore"),  # Lightning's own: of few workers, few batches, folders that are not empty
]


@pytest.fixture
def notify() -> Iterator[Any]:
    yield from callbacks()


def csv_log(trainer: Any) -> list[dict[str, str]]:
    trainer.logger.save()
    with Path(trainer.logger.log_dir, "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def by_epoch(trainer: Any, name: str) -> list[Any]:
    return [(int(row["epoch"]), pytest.approx(float(row[name]))) for row in csv_log(trainer) if row.get(name)]


# ── Epochs and numbers ───────────────────────────────────────────────────────────────────────────────────────────────


def test_epochs_are_told_with_lightning_s_own_numbers_and_checkpoints(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    done = fit(trainer(tmp_path, callback, saver(tmp_path, monitor="val_loss", save_last=True)))

    events = recorded(callback)
    assert [type(each) for each in events] == [RunStarted, *[EpochFinished, CheckpointSaved] * 4, RunEnded]
    assert values(callback, "train_loss") == by_epoch(done, "train_loss_epoch")
    assert values(callback, "val_loss") == by_epoch(done, "val_loss")
    assert values(callback, "late") == [(0, 0), (1, 1), (2, 2), (3, 3)]
    last = events[-1].progress
    assert set(last.metrics) == {"train_loss", "val_loss", "late"}
    assert (last.done, last.total, last.unit) == (4, 4, "epoch")
    assert ended(callback).status is Status.FINISHED
    saved = [each.checkpoint for each in events if isinstance(each, CheckpointSaved)]
    assert [each.epoch for each in saved] == [0, 1, 2, 3]
    assert saved[-1].path == done.checkpoint_callback.best_model_path
    assert callback.run.params == {"rate": 0.05}


@pytest.mark.field
def test_no_value_is_told_again_in_an_epoch_without_a_validation(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    done = fit(trainer(tmp_path, callback, check_val_every_n_epoch=2, enable_checkpointing=False))

    assert values(callback, "val_loss") == by_epoch(done, "val_loss")
    assert [label for label, _ in values(callback, "val_loss")] == [1, 3]
    assert [label for label, _ in values(callback, "train_loss")] == [0, 1, 2, 3]


@pytest.mark.field
def test_steps_are_counted_where_the_trainer_has_no_epochs(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    options: dict[str, Any] = {"max_epochs": None, "max_steps": 10, "val_check_interval": 2}
    done = fit(trainer(tmp_path, callback, saver(tmp_path, every_n_train_steps=4), **options))

    last = ended(callback).progress
    assert (last.unit, last.epoch, last.done, last.total) == ("step", 10, 10, 10)
    told: list[Any] = values(callback, "val_loss")
    logged = [(int(row["step"]) + 1, float(row["val_loss"])) for row in csv_log(done) if row["val_loss"]]
    assert told == [(step, pytest.approx(value)) for step, value in logged]
    saved = [each.checkpoint for each in recorded(callback) if isinstance(each, CheckpointSaved)]
    assert [each.epoch for each in saved] == [4, 8]
    assert set(last.metrics) <= {"train_loss", "val_loss", "late"}


@pytest.mark.field
def test_a_training_of_two_epochs_of_steps_counts_steps_and_a_longer_one_epochs(notify: Any, tmp_path: Path) -> None:
    short, long = notify(), notify()
    fit(trainer(tmp_path, short, max_epochs=9, max_steps=7, enable_checkpointing=False))
    fit(trainer(tmp_path, long, max_epochs=9, max_steps=10, enable_checkpointing=False))

    assert (ended(short).progress.unit, ended(short).progress.total) == ("step", 7)
    assert (ended(long).progress.unit, ended(long).progress.total) == ("epoch", 3)
    assert ended(long).status is Status.FINISHED


@pytest.mark.field
def test_a_trial_run_of_one_batch_is_told_nowhere(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    fit(trainer(tmp_path, callback, fast_dev_run=True))

    assert callback.run is None


@pytest.mark.field
def test_a_search_for_a_learning_rate_is_told_nowhere(notify: Any, tmp_path: Path) -> None:
    callback, module = notify(), model()
    searching = trainer(tmp_path, callback, enable_checkpointing=False)
    if not hasattr(lightning(".tuner"), "Tuner"):
        pytest.skip("since 2.0")
    lightning(".tuner").Tuner(searching).lr_find(module, rows(), attr_name="rate", num_training=10)
    assert callback.run is None
    fit(searching, module)

    assert [label for label, _ in values(callback, "late")] == [0, 1, 2, 3]


@pytest.mark.field
def test_messages_link_to_the_page_of_lightning_s_own_logger(notify: Any, tmp_path: Path) -> None:
    class Experiment:
        url = "https://example.com/lines/1"

    class WandbLogger(lightning(".loggers").CSVLogger):  # type: ignore[misc]
        experiment = Experiment()

        def __getattribute__(self, name: str) -> Any:
            silent = name in ("log_metrics", "log_hyperparams", "save", "finalize")
            return (lambda *args, **kwargs: None) if silent else super().__getattribute__(name)

    callback = notify()
    fit(trainer(tmp_path, callback, logger=WandbLogger(tmp_path), enable_checkpointing=False))

    assert tracker_url(callback.run.session.shared.store, callback.run.ref.key) == "https://example.com/lines/1"


# ── Endings ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def stopping(**options: Any) -> Any:
    return lightning(".callbacks").EarlyStopping("val_loss", **options)


def bent(at: dict[int, float]) -> Any:
    """A model with these validation losses from these epochs on."""

    def validation_step(self: Any, batch: Any, index: int) -> None:
        self.log("val_loss", at[max(epoch for epoch in at if epoch <= self.current_epoch)])

    return model(validation_step=validation_step)


NO_BETTER = "EarlyStopping: val_loss has not improved since epoch 1 (0.5)"
REACHED = "early stopping: val_loss has reached 0.1 (threshold 0.2)"
DIVERGED = "early stopping: val_loss is 9, beyond the limit of 5"
NOT_FINITE = "the training was stopped because val_loss is not finite"


@pytest.mark.parametrize(
    ("options", "losses", "status", "said"),
    [
        ({"patience": 2}, {0: 1.0, 1: 0.5, 2: 2.0}, Status.FINISHED, NO_BETTER),
        ({"stopping_threshold": 0.2}, {0: 1.0, 1: 0.1}, Status.FINISHED, REACHED),
        ({"divergence_threshold": 5.0}, {0: 1.0, 1: 9.0}, Status.STOPPED, DIVERGED),
        ({}, {0: 1.0, 1: math.nan}, Status.FAILED, NOT_FINITE),
    ],
    ids=["patience", "threshold", "divergence", "not-finite"],
)
def test_early_stopping_says_why(
    options: dict[str, Any], losses: dict[int, float], status: Status, said: str, notify: Any, tmp_path: Path
) -> None:
    callback = notify()
    fit(trainer(tmp_path, callback, stopping(**options), max_epochs=9, enable_checkpointing=False), bent(losses))

    end = ended(callback)
    assert (end.status, end.note or end.error) == (status, said)


@pytest.mark.field
def test_a_time_limit_stops_a_run(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    fit(trainer(tmp_path, callback, max_epochs=-1, max_time={"seconds": 0}, enable_checkpointing=False))

    assert (ended(callback).status, ended(callback).note) == (Status.STOPPED, "time limit")


@pytest.mark.field
def test_a_program_that_stops_the_trainer_has_stopped_the_run(notify: Any, tmp_path: Path) -> None:
    def stop(self: Any) -> None:
        self.trainer.should_stop = self.current_epoch == 1

    callback = notify()
    fit(trainer(tmp_path, callback, enable_checkpointing=False), model(on_train_epoch_end=stop))

    assert (ended(callback).status, ended(callback).progress.done) == (Status.STOPPED, 2)


def raising(error: BaseException, epoch: int) -> Any:
    def on_train_epoch_start(self: Any) -> None:
        if self.current_epoch == epoch:
            raise error

    return model(on_train_epoch_start=on_train_epoch_start)


@pytest.mark.field
def test_the_checkpoint_of_an_exception_is_told_before_the_end(notify: Any, tmp_path: Path) -> None:
    if not hasattr(lightning(".callbacks"), "OnExceptionCheckpoint"):
        pytest.skip("since 2.0")
    callback, keep = notify(), lightning(".callbacks").OnExceptionCheckpoint(tmp_path)
    with pytest.raises(ValueError, match="bad batch"):
        fit(trainer(tmp_path, callback, keep), raising(ValueError("bad batch"), 2))

    *_, saved, end = recorded(callback)
    assert isinstance(saved, CheckpointSaved)
    assert saved.checkpoint.path == str(tmp_path / "on_exception.ckpt")
    assert isinstance(end, RunEnded)
    assert (end.status, end.error, end.progress.done) == (Status.FAILED, "ValueError: bad batch [epoch 2]", 2)


@pytest.mark.field
def test_ctrl_c_is_an_interruption(notify: Any, tmp_path: Path) -> None:
    import signal

    callback, before = notify(), signal.getsignal(signal.SIGINT)
    with contextlib.suppress(SystemExit):  # since 2.4; before, `fit` just returned
        fit(trainer(tmp_path, callback, enable_checkpointing=False), raising(KeyboardInterrupt(), 1))
    signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored

    assert ended(callback).status is Status.INTERRUPTED


@pytest.mark.field
def test_a_failure_of_the_first_validation_is_told(notify: Any, tmp_path: Path) -> None:
    def validation_step(self: Any, batch: Any, index: int) -> None:
        raise ValueError("no such column")

    callback = notify()
    with pytest.raises(ValueError, match="no such column"):
        fit(trainer(tmp_path, callback), model(validation_step=validation_step))

    assert ended(callback).error == "ValueError: no such column"


# ── Again ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "options", [{}, {"check_val_every_n_epoch": 2}, {"val_check_interval": 0.5}], ids=["epoch", "validation", "half"]
)
def test_lightning_s_checkpoint_goes_on_with_the_run(options: dict[str, Any], notify: Any, tmp_path: Path) -> None:
    before, after = notify(), notify("other")
    keeps = saver(tmp_path, save_last=True)
    with pytest.raises(ValueError, match="bad batch"):
        fit(trainer(tmp_path, before, keeps, max_epochs=7, **options), raising(ValueError("bad batch"), 4))
    last = tmp_path / "saved" / "last.ckpt"
    keeps = saver(tmp_path, save_last=True)
    fit(trainer(tmp_path, after, keeps, max_epochs=7, **options), ckpt_path=last, weights_only=True)

    events = recorded(after)
    starts = [(each.attempt, each.progress.done, each.resumed) for each in events if isinstance(each, RunStarted)]
    assert [each[:2] for each in starts] == [(1, 0), (2, 4)]
    resumed = starts[1][2]
    assert resumed is not None
    assert (resumed.epoch, resumed.path, resumed.next_epoch) == (3, str(last), 4)
    assert not any(each.about == "checkpoint" for each in events if isinstance(each, AlertRaised))
    assert [label for label, _ in values(after, "train_loss")] == [0, 1, 2, 3, 4, 5, 6]
    end = ended(after)
    assert (end.status, end.progress.done, end.progress.total) == (Status.FINISHED, 7, 7)
    best = min(values(after, "val_loss"), key=lambda each: each[1])
    assert (end.progress.metrics["val_loss"].best_epoch, end.progress.metrics["val_loss"].best) == best


@pytest.mark.field
def test_epochs_after_the_checkpoint_are_void(notify: Any, tmp_path: Path) -> None:
    before, after = notify(), notify()
    with pytest.raises(ValueError, match="bad batch"):
        fit(
            trainer(tmp_path, before, saver(tmp_path, every_n_epochs=5), max_epochs=12),
            raising(ValueError("bad batch"), 8),
        )
    [saved] = (tmp_path / "saved").glob("*.ckpt")
    fit(trainer(tmp_path, after, max_epochs=12, enable_checkpointing=False), ckpt_path=saved)

    starts = [each.progress.done for each in recorded(after) if isinstance(each, RunStarted)]
    assert starts == [0, 5]
    labels = [label for label, _ in values(after, "train_loss")]
    assert labels == [*range(8), *range(5, 12)]
    assert ended(after).progress.metrics["train_loss"].epochs == tuple(range(12))


@pytest.mark.field
def test_a_checkpoint_without_our_state_begins_a_run_and_says_so(
    notify: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fit(trainer(tmp_path, saver(tmp_path, save_last=True), max_epochs=2))
    callback = notify()
    fit(trainer(tmp_path, callback, enable_checkpointing=False), ckpt_path=tmp_path / "saved" / "last.ckpt")

    assert [label for label, _ in values(callback, "late")] == [2, 3]
    assert "line resumes from a checkpoint that was saved without notifybot" in caplog.text


@pytest.mark.field
def test_a_second_training_is_a_run_of_its_own_and_a_test_is_told_beside_the_last(notify: Any, tmp_path: Path) -> None:
    callback = notify()
    fit(trainer(tmp_path, callback, max_epochs=1, enable_checkpointing=False))
    first = callback.run
    second = fit(trainer(tmp_path, callback, max_epochs=1, enable_checkpointing=False))
    assert (first.name, callback.run.name) == ("line", "line #2")
    fit(second)  # nothing is left to do
    assert callback.run.name == "line #2"
    [result] = second.test(model(), rows(), verbose=False)

    alert = recorded(callback)[-1]
    assert isinstance(alert, AlertRaised)
    assert (alert.title, alert.severity.value) == (f"Test: test_loss {result['test_loss']:.4g}", "info")
