"""Ultralytics' trainings, by a trainer of a few lines that calls for its events in the order of the package's source.

The package wants torchvision. The order, and what the trainer has at each event, are those of BaseTrainer in
ultralytics/engine/trainer.py (8.4.190); how it reaches several processes is in ultralytics/utils/dist.py.
"""

from __future__ import annotations

import copy
import math
import pickle
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from notifybot import UsageError
from notifybot.config import load
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.integrations.ultralytics import NotifyCallbacks, add_to
from notifybot.store import runs
from notifybot.testing import RecordingNotifier
from notifybot.training.endings import ENDINGS, Ending
from notifybot.training.session import close
from notifybot.types import Status


class Model:
    """As YOLO: it keeps the callbacks, and hands them to a trainer for each training."""

    def __init__(self) -> None:
        self.callbacks: dict[str, list[Callable[[Any], object]]] = defaultdict(list)

    def add_callback(self, event: str, function: Callable[[Any], object]) -> None:
        self.callbacks[event].append(function)

    def train(self, folder: Path, **options: Any) -> Trainer:
        trainer = Trainer(folder, {event: some.copy() for event, some in self.callbacks.items()}, **options)
        trainer.train()
        return trainer


class Trainer:
    """The events of BaseTrainer, with fitness for what a validation would find."""

    def __init__(
        self,
        folder: Path,
        callbacks: dict[str, list[Callable[[Any], object]]],
        *,
        fitness: tuple[float, ...] = (0.1, 0.5, 0.25),
        start_epoch: int = 0,
        patience: int = 100,
        fails_in: int | None = None,
        error: type[BaseException] = ValueError,
        nan_in: int | None = None,
        validates_each: int = 1,
    ) -> None:
        self.save_dir, self.callbacks = folder, callbacks
        self.args = SimpleNamespace(
            epochs=len(fitness), imgsz=640, lr0=0.01, model="/home/me/yolo11n.pt", data="/data/secret/coco8.yaml",
            time=None, save=True, project=None, resume=start_epoch > 0,
        )  # fmt: skip
        self.epochs, self.start_epoch, self.epoch = len(fitness), start_epoch, 0
        self.last, self.best = folder / "weights" / "last.pt", folder / "weights" / "best.pt"
        self.metrics: dict[str, float] = {"metrics/mAP50(B)": 0, "val/box_loss": 0}
        self.fitness: float | None = None
        self.best_fitness: float | None = None
        self.tloss: dict[str, float] | None = None
        self.lr: dict[str, float] = {}
        self.stopper = SimpleNamespace(patience=patience, best_epoch=0, best_fitness=0.0)
        self.rows: list[dict[str, float]] = []  # of results.csv
        self._fitness, self._fails_in, self._error, self._nan_in = fitness, fails_in, error, nan_in
        self._validates_each = validates_each

    def run_callbacks(self, event: str) -> None:
        for callback in self.callbacks.get(event, []):
            callback(self)

    def label_loss_items(self, items: dict[str, float], prefix: str = "train") -> dict[str, float]:
        return {f"{prefix}/{name}": round(value, 5) for name, value in items.items()}

    def train(self) -> None:
        try:
            self._do_train()
        finally:
            self.run_callbacks("teardown")

    def _do_train(self) -> None:
        self.run_callbacks("on_pretrain_routine_end")
        self.run_callbacks("on_train_start")
        epoch, stop = self.start_epoch, False
        while not stop:
            self.epoch = epoch
            self.run_callbacks("on_train_epoch_start")
            self.tloss = {"box_loss": 1 / (epoch + 1)}
            self.run_callbacks("on_train_batch_end")
            if epoch == self._fails_in:
                raise self._error("bad batch")
            self.lr = {"lr/pg0": 0.01}
            self.run_callbacks("on_train_epoch_end")
            final = epoch + 1 >= self.epochs
            if final or (epoch + 1) % self._validates_each == 0:
                self._validate(epoch)
            if epoch == self._nan_in:
                self._nan_in = None
                continue  # recovered from last.pt: the epoch is done once more
            self.rows.append({**self.label_loss_items(self.tloss), **self.metrics, **self.lr})
            stop = self._stops(epoch + 1) or final
            self._save()
            self.run_callbacks("on_fit_epoch_end")
            epoch += 1
        self.metrics = {"metrics/mAP50(B)": 0.75, "val/box_loss": 0.5}  # final_eval, of the best weights
        self.epoch += 1
        self.run_callbacks("on_fit_epoch_end")
        self.epoch -= 1
        self.run_callbacks("on_train_end")

    def _validate(self, epoch: int) -> None:
        self.fitness = self._fitness[epoch]
        self.metrics = {"metrics/mAP50(B)": self.fitness, "val/box_loss": 2 / (epoch + 1)}
        self.best_fitness = max(self.fitness, self.best_fitness or 0.0)

    def _stops(self, epoch: int) -> bool:
        if self.fitness is not None and self.fitness > self.stopper.best_fitness:
            self.stopper.best_fitness, self.stopper.best_epoch = self.fitness, epoch
        return bool(epoch - self.stopper.best_epoch >= self.stopper.patience)

    def _save(self) -> None:
        self.last.parent.mkdir(parents=True, exist_ok=True)
        self.last.write_bytes(b"weights")
        if self.best_fitness == self.fitness:
            self.best.write_bytes(b"weights")
        self.run_callbacks("on_model_save")


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    for run in list(ENDINGS._open):
        run.end(Ending(Status.FINISHED))
    close()


def added(model: Any, name: str | None = "digits", **options: Any) -> NotifyCallbacks:
    config = load({"lang": "en", "tensorboard": "off", "wandb": "off"})
    return add_to(model, name, **{"config": config, "notifiers": [RecordingNotifier()], **options})


def recorded(notify: NotifyCallbacks) -> list[Event]:
    assert notify.run is not None
    assert notify.run.session is not None
    return runs.events_of(notify.run.session.shared.store, notify.run.id)


def of_kind(notify: NotifyCallbacks, kind: type[Any]) -> list[Any]:
    return [each for each in recorded(notify) if isinstance(each, kind)]


def values(notify: NotifyCallbacks) -> list[tuple[int | None, dict[str, float]]]:
    epochs = [each.progress for each in of_kind(notify, EpochFinished)]
    return [(each.epoch, {name: metric.value for name, metric in each.metrics.items()}) for each in epochs]


def test_each_epoch_is_told_once_with_the_numbers_of_results_csv(tmp_path: Path) -> None:
    """And its weights after it. The validation of the best weights, after the last one, is no epoch."""
    model = Model()
    notify = added(model)
    trainer = model.train(tmp_path)

    told = [(epoch, {name: each for name, each in row.items() if name != "fitness"}) for epoch, row in values(notify)]
    assert told == list(enumerate(trainer.rows, start=1))
    kinds = [type(each) for each in recorded(notify)]
    assert kinds == [
        RunStarted,
        *[EpochFinished, CheckpointSaved, CheckpointSaved] * 2,
        *[EpochFinished, CheckpointSaved],
        *[AlertRaised, RunEnded],
    ]
    assert [(Path(each.checkpoint.path).name, each.checkpoint.epoch) for each in of_kind(notify, CheckpointSaved)] == [
        ("last.pt", 1), ("best.pt", 1), ("last.pt", 2), ("best.pt", 2), ("last.pt", 3),
    ]  # fmt: skip
    (start,), (alert,), (end,) = (of_kind(notify, kind) for kind in (RunStarted, AlertRaised, RunEnded))
    assert (start.total, start.params["imgsz"], start.params["data"]) == (3, 640, "coco8.yaml")
    assert alert.title == "Evaluation: metrics/mAP50(B) 0.75, val/box_loss 0.5"
    assert (end.status, end.note, end.progress.done, end.progress.total) == (Status.FINISHED, "", 3, 3)
    fitness = end.progress.metrics["fitness"]
    assert (fitness.best, fitness.best_epoch) == (0.5, 2)
    assert end.progress.metrics["lr/pg0"].minor


def test_a_validation_is_told_in_its_epoch_only(tmp_path: Path) -> None:
    model = Model()
    notify = added(model)
    model.train(tmp_path, fitness=(0.1, 0.2, 0.3, 0.4), validates_each=2)

    assert [(epoch, row.get("fitness")) for epoch, row in values(notify)] == [(1, None), (2, 0.2), (3, None), (4, 0.4)]


def test_an_epoch_that_is_done_again_after_a_nan_is_told_once(tmp_path: Path) -> None:
    model = Model()
    notify = added(model)
    model.train(tmp_path, nan_in=1)

    assert [epoch for epoch, _ in values(notify)] == [1, 2, 3]


def test_early_stopping_has_finished_early_with_its_best_epoch(tmp_path: Path) -> None:
    model = Model()
    notify = added(model)
    model.train(tmp_path, fitness=(0.1, 0.5, 0.3, 0.2, 0.9), patience=2)

    (end,) = of_kind(notify, RunEnded)
    assert (end.status, end.progress.done, end.progress.total) == (Status.FINISHED, 4, 5)
    assert end.note == "EarlyStopping: fitness has not improved since epoch 2 (0.5)"


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [(ValueError, Status.FAILED, "ValueError: bad batch [epoch 2]"), (KeyboardInterrupt, Status.INTERRUPTED, "")],
)
def test_an_exception_is_the_ending_without_a_block(
    error: type[BaseException], status: Status, text: str, tmp_path: Path
) -> None:
    """`teardown` is called as it passes by."""
    model = Model()
    notify = added(model)
    with pytest.raises(error, match="bad batch"):
        model.train(tmp_path, fails_in=1, error=error)

    (end,) = of_kind(notify, RunEnded)
    assert (end.status, end.error, end.progress.done) == (status, text, 1)
    assert ("_do_train" in end.frames) == (status is Status.FAILED)


def test_a_training_that_is_resumed_is_the_same_run(tmp_path: Path) -> None:
    """By its own folder; a new training in the same folder is another run."""
    model = Model()
    first = added(model)
    with pytest.raises(ValueError, match="bad batch"):
        model.train(tmp_path, fails_in=2)
    again = Model()
    second = added(again)
    again.train(tmp_path, start_epoch=2)
    afresh = Model()
    third = added(afresh)
    afresh.train(tmp_path)

    assert first.run is not None
    assert second.run is not None
    assert third.run is not None
    assert (second.run.id, second.run.attempt) == (first.run.id, 2)
    assert third.run.id != first.run.id
    assert [epoch for epoch, _ in values(second)] == [1, 2, 3]
    assert second.run.progress.metrics["fitness"].best == 0.5
    assert (tmp_path / "notifybot-run.json").exists()


def test_a_second_training_of_the_model_is_a_second_run(tmp_path: Path) -> None:
    model = Model()
    notify = added(model)
    model.train(tmp_path / "1")
    model.train(tmp_path / "2")

    assert notify.run is not None
    assert notify.run.name == "digits #2"
    assert len(values(notify)) == 3


def test_callbacks_reach_the_processes_of_several_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics writes them to a file by cloudpickle. No secret is in it: the processes have their own settings."""
    cloudpickle = pytest.importorskip("cloudpickle")
    webhook = "https://hooks.slack.com/services/T00000000/B00000000/" + "x" * 24
    model = Model()
    settings = {"lang": "ko", "tensorboard": "off", "wandb": "off", "slack_webhook_url": webhook, "project": "cars"}
    settings["runs_dir"] = str(tmp_path / "elsewhere")
    notify = add_to(model, "digits", config=settings, monitor="fitness:max")
    assert notify.guest.config.slack_webhook_url is not None

    written = cloudpickle.dumps({"callbacks": model.callbacks})
    child = Model()
    monkeypatch.setenv("NOTIFYBOT_LANG", "en")
    child.callbacks = pickle.loads(written)["callbacks"]
    child.train(tmp_path)

    assert b"hooks.slack.com" not in written
    callbacks = child.callbacks["on_train_start"][0].args[0]  # type: ignore[attr-defined]  # a partial
    assert {id(some[0].args[0]) for some in child.callbacks.values()} == {id(callbacks)}  # type: ignore[attr-defined]
    assert (callbacks.guest.config.lang, callbacks.guest.config.slack_webhook_url) == ("ko", None)
    assert (callbacks.run.name, callbacks.run.project, callbacks.run.status) == ("digits", "cars", Status.FINISHED)
    assert callbacks.run.config.runs_dir == tmp_path / "elsewhere"
    assert notify.run is None


def test_another_rank_reports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`on_train_end` is called on the first rank alone."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    model = Model()
    notify = added(model)
    model.train(tmp_path)

    assert notify.run is not None
    assert (notify.run.session, notify.run.mute, notify.guest.active) == (None, True, False)
    assert not (tmp_path / "notifybot-run.json").exists()


def test_nothing_of_ours_reaches_the_training(tmp_path: Path) -> None:
    class Odd(Trainer):
        def __getattribute__(self, name: str) -> Any:
            if name == "save_dir" and sys._getframe(1).f_globals["__name__"].startswith("notifybot."):
                raise AttributeError(name)
            return super().__getattribute__(name)

    model = Model()
    notify = added(model)
    trainer = Odd(tmp_path, model.callbacks)
    trainer.train()

    assert len(trainer.rows) == 3
    assert notify.guest.guard.faults == {"framework_hook": 1}


def test_a_copy_has_not_begun_and_a_wrong_setting_is_refused(tmp_path: Path) -> None:
    model = Model()
    notify = added(model)
    model.train(tmp_path)
    other = copy.deepcopy(notify)

    assert (other.run, other.guest.name) == (None, "digits")
    with pytest.raises(UsageError):
        added(model, monitor="novelty")
    assert math.isfinite(values(notify)[-1][1]["fitness"])
