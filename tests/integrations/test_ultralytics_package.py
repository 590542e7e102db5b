"""Ultralytics itself, where it is installed: what it trains is told, and our stand-in has its events in its order.

Tried with 8.4.190, PyTorch 2.14.1 and torchvision 0.29.1 on a CPU; nothing is fetched.
"""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ultralytics")
from PIL import Image

from notifybot.config import load
from notifybot.events import CheckpointSaved, EpochFinished, RunEnded, RunStarted
from notifybot.integrations.ultralytics import NotifyCallbacks, add_to
from notifybot.store import runs
from notifybot.testing import RecordingNotifier
from notifybot.training.endings import ENDINGS, Ending
from notifybot.training.session import close
from notifybot.types import Status
from tests.support.yolo import YOLO as StandIn

pytestmark = [pytest.mark.field, pytest.mark.filterwarnings("ignore")]
ROOT = Path(__file__).parents[2]
EVENTS = (
    "on_pretrain_routine_end", "on_train_start", "on_train_epoch_start", "on_train_batch_start", "on_train_batch_end",
    "on_train_epoch_end", "on_val_start", "on_val_end", "on_model_save", "on_fit_epoch_end", "on_train_end", "teardown",
)  # fmt: skip


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of images, of a colour each."""
    monkeypatch.setenv("YOLO_OFFLINE", "true")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "settings"))
    for part in ("train", "val"):
        for label, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
            folder = tmp_path / "data" / part / label
            folder.mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (32, 32), tuple(max(each - 20 * number, 0) for each in colour)).save(
                    folder / f"{number}.png"
                )
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    for run in list(ENDINGS._open):
        run.end(Ending(Status.FINISHED))
    close()


def options(data: Path, **more: Any) -> dict[str, Any]:
    kept = {"data": str(data), "project": str(data.parent / "yolo"), "name": "t", "exist_ok": True, "device": "cpu"}
    fast = {"epochs": 3, "imgsz": 32, "batch": 4, "workers": 0, "plots": False, "verbose": False}
    return {**kept, **fast, **more}


def added(model: Any) -> NotifyCallbacks:
    config = load({"lang": "en", "tensorboard": "off", "wandb": "off"})
    return add_to(model, "colours", config=config, notifiers=[RecordingNotifier()])


def events_of(notify: NotifyCallbacks, kind: type[Any]) -> list[Any]:
    assert notify.run is not None
    assert notify.run.session is not None
    return [each for each in runs.events_of(notify.run.session.shared.store, notify.run.id) if isinstance(each, kind)]


def see(seen: list[str], event: str, _: Any) -> None:
    seen.append(event)


def order(seen: list[str]) -> list[str]:
    """Events but those of batches, which differ in number."""
    return [event for event in seen if event in EVENTS and not event.startswith("on_train_batch")]


def test_each_epoch_has_the_numbers_of_results_csv_and_the_stand_in_the_same_events(data: Path) -> None:
    from ultralytics import YOLO

    model, seen = YOLO("yolo11n-cls.yaml"), list[str]()
    notify = added(model)
    for event in EVENTS:
        model.add_callback(event, partial(see, seen, event))
    model.train(**options(data))

    with (data.parent / "yolo" / "t" / "results.csv").open() as file:
        rows = [{name.strip(): float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    told = [each.progress for each in events_of(notify, EpochFinished)]
    assert [each.epoch for each in told] == [row.pop("epoch") for row in rows] == [1, 2, 3]
    for epoch, row in zip(told, rows, strict=True):
        del row["time"]
        assert {name: epoch.metrics[name].value for name in row} == pytest.approx(row, rel=1e-4)
    (start,), (end,) = events_of(notify, RunStarted), events_of(notify, RunEnded)
    assert (start.total, end.status, end.note) == (3, Status.FINISHED, "")
    paths = {Path(each.checkpoint.path).name for each in events_of(notify, CheckpointSaved)}
    assert paths == {"last.pt", "best.pt"}

    like = StandIn(fitness=(0.5, 0.5, 0.5))
    trainer = like.train(project=str(data.parent), name="stand-in")
    assert order(trainer.seen) == order(seen)


def test_patience_that_is_used_up_has_finished_early(data: Path) -> None:
    from ultralytics import YOLO

    model = YOLO("yolo11n-cls.yaml")
    notify = added(model)
    model.train(**options(data, epochs=20, patience=2, lr0=1e-9, optimizer="SGD"))

    (end,) = events_of(notify, RunEnded)
    assert (end.status, end.progress.total) == (Status.FINISHED, 20)
    assert end.progress.done < 20
    assert end.note.startswith("EarlyStopping: fitness has not improved since epoch ")


def test_an_exception_is_the_ending_without_a_block(data: Path) -> None:
    from ultralytics import YOLO

    def fail(trainer: Any) -> None:
        if trainer.epoch == 1:
            raise ValueError("bad batch")

    model = YOLO("yolo11n-cls.yaml")
    notify = added(model)
    model.add_callback("on_train_batch_end", fail)
    with pytest.raises(ValueError, match="bad batch"):
        model.train(**options(data))

    (end,) = events_of(notify, RunEnded)
    assert (end.status, end.error, end.progress.done) == (Status.FAILED, "ValueError: bad batch [epoch 2]", 1)


SCRIPT = """
import os, signal, sys
from ultralytics import YOLO
from notifybot.integrations.ultralytics import add_to, whole_checkpoint

def die(trainer):
    if trainer.epoch == 2 and len(sys.argv) > 1:
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))

last = whole_checkpoint("yolo/t")
model = YOLO(last or "yolo11n-cls.yaml")
notify = add_to(model, "colours", config={{"lang": "en", "tensorboard": "off", "wandb": "off"}})
model.add_callback("on_train_batch_end", die)
if last is None:
    model.train(**{options!r})
elif model.ckpt["epoch"] >= 0:
    model.train(resume=True)
if notify.run is not None:
    from notifybot.events import EpochFinished
    from notifybot.store import runs
    told = runs.events_of(notify.run.session.shared.store, notify.run.id)
    print("TOLD", notify.run.id, notify.run.attempt, [e.progress.epoch for e in told if isinstance(e, EpochFinished)])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_a_killed_training_goes_on_as_the_same_run(data: Path, number: signal.Signals) -> None:
    """Each epoch once; and a training that is over is left alone."""
    script = data.parent / "train.py"
    script.write_text(SCRIPT.format(options=options(data, epochs=4)))
    run: Callable[..., Any] = partial(
        subprocess.run, cwd=data.parent, capture_output=True, text=True, check=False, timeout=150
    )

    killed = run([sys.executable, str(script), number.name])
    resumed, over = run([sys.executable, str(script)]), run([sys.executable, str(script)])

    assert killed.returncode in (-number, 1), killed.stderr  # after Ctrl-C it is 1 without us, too
    (line,) = [each for each in resumed.stdout.splitlines() if each.startswith("TOLD")]
    assert line.endswith("2 [1, 2, 3, 4]"), (line, resumed.stderr)
    assert (over.returncode, "TOLD" in over.stdout) == (0, False)
