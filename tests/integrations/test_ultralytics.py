"""Ultralytics' trainings, by the stand-in of tests/support/yolo.py; by the package, see test_ultralytics_package.py."""

from __future__ import annotations

import copy
import math
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot import UsageError
from notifybot.config import load
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.integrations.ultralytics import NotifyCallbacks, add_to, whole_checkpoint
from notifybot.testing import RecordingNotifier
from notifybot.types import Status
from tests.support.training_runs import end_runs, recorded_events
from tests.support.yolo import DEFAULTS, YOLO, Trainer, write_weights


def trained(model: YOLO, folder: Path, **options: Any) -> Trainer:
    """The training of a model in a folder, for as many epochs as it has fitnesses."""
    epochs = {} if options.get("resume") else {"epochs": len(model.plan.get("fitness", (0.1, 0.5, 0.25)))}
    return model.train(project=str(folder.parent), name=folder.name, **epochs, **options)


@pytest.fixture(autouse=True)
def ended() -> Iterator[None]:
    yield
    end_runs()


def added(model: Any, name: str | None = "digits", **options: Any) -> NotifyCallbacks:
    config = load({"lang": "en", "tensorboard": "off", "wandb": "off"})
    return add_to(model, name, **{"config": config, "notifiers": [RecordingNotifier()], **options})


def recorded(notify: NotifyCallbacks) -> list[Event]:
    assert notify.run is not None
    assert notify.run.session is not None
    return recorded_events(notify.run)


def of_kind(notify: NotifyCallbacks, kind: type[Any]) -> list[Any]:
    return [each for each in recorded(notify) if isinstance(each, kind)]


def values(notify: NotifyCallbacks) -> list[tuple[int | None, dict[str, float]]]:
    epochs = [each.progress for each in of_kind(notify, EpochFinished)]
    return [(each.epoch, {name: metric.value for name, metric in each.metrics.items()}) for each in epochs]


def test_each_epoch_is_told_once_with_the_numbers_of_results_csv(tmp_path: Path) -> None:
    """And its weights after it. The validation of the best weights, after the last one, is no epoch."""
    model = YOLO()
    notify = added(model)
    trainer = trained(model, tmp_path)

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
    assert alert.title == "Evaluation: metrics/mAP50(B) 0.75, metrics/mAP50-95(B) 0.5"
    assert (end.status, end.note, end.progress.done, end.progress.total) == (Status.FINISHED, "", 3, 3)
    fitness = end.progress.metrics["fitness"]
    assert (fitness.best, fitness.best_epoch) == (0.5, 2)
    assert end.progress.metrics["lr/pg0"].minor


def test_a_validation_is_told_in_its_epoch_only(tmp_path: Path) -> None:
    model = YOLO(fitness=(0.1, 0.2, 0.3))
    notify = added(model)
    trained(model, tmp_path, val=False)

    assert [(epoch, row.get("fitness")) for epoch, row in values(notify)] == [(1, None), (2, None), (3, 0.3)]
    assert set(values(notify)[0][1]) == {"train/box_loss", "lr/pg0"}


def test_an_epoch_that_is_done_again_after_a_nan_is_told_once(tmp_path: Path) -> None:
    model = YOLO(nan_in=1)
    notify = added(model)
    trained(model, tmp_path)

    assert [epoch for epoch, _ in values(notify)] == [1, 2, 3]


def test_early_stopping_has_finished_early_with_its_best_epoch(tmp_path: Path) -> None:
    model = YOLO(fitness=(0.1, 0.5, 0.3, 0.2, 0.9))
    notify = added(model)
    trained(model, tmp_path, patience=2)

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
    model = YOLO(fails_in=1, error=error)
    notify = added(model)
    with pytest.raises(error, match="bad batch"):
        trained(model, tmp_path)

    (end,) = of_kind(notify, RunEnded)
    assert (end.status, end.error, end.progress.done) == (status, text, 1)
    assert ("_do_train" in end.frames) == (status is Status.FAILED)


def test_a_training_that_is_resumed_is_the_same_run(tmp_path: Path) -> None:
    """By its own folder; a new training in the same folder is another run."""
    model = YOLO(fails_in=2)
    first = added(model)
    with pytest.raises(ValueError, match="bad batch"):
        trained(model, tmp_path)
    again = YOLO(tmp_path / "weights" / "last.pt")
    second = added(again)
    trained(again, tmp_path, resume=True)
    afresh = YOLO()
    third = added(afresh)
    trained(afresh, tmp_path)

    assert first.run is not None
    assert second.run is not None
    assert third.run is not None
    assert (second.run.id, second.run.attempt) == (first.run.id, 2)
    assert third.run.id != first.run.id
    assert [epoch for epoch, _ in values(second)] == [1, 2, 3]
    assert second.run.progress.metrics["fitness"].best == 0.5
    assert (tmp_path / "notifybot-run.json").exists()


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-300])


def test_weights_that_are_cut_short_are_passed_over_and_told(tmp_path: Path) -> None:
    """Of three damaged files the training goes on from the one before them, as the same run."""
    model = YOLO(fitness=(0.1, 0.5, 0.25, 0.3), fails_in=3)
    first = added(model)
    with pytest.raises(ValueError, match="bad batch"):
        trained(model, tmp_path, save_period=1)
    weights = tmp_path / "weights"
    for name in ("last.pt", "epoch2.pt", "epoch1.pt"):
        cut_short(weights / name)

    whole = whole_checkpoint(tmp_path)
    assert whole == str(weights / "best.pt")  # of the second epoch
    again = YOLO(whole, fitness=(0.1, 0.5, 0.25, 0.3))
    second = added(again)
    trained(again, tmp_path, resume=True)

    assert first.run is not None
    assert second.run is not None
    assert second.run.id == first.run.id
    (alert, _) = of_kind(second, AlertRaised)
    assert all(name in alert.text for name in ("last.pt", "epoch2.pt", "best.pt")), alert.text
    in_force = {epoch: row["fitness"] for epoch, row in values(second)}
    assert in_force == {1: 0.1, 2: 0.5, 3: 0.25, 4: 0.3}


def test_the_newest_whole_weights_are_found_without_unpickling(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    assert whole_checkpoint(tmp_path) is None

    for name, epoch in (("epoch2.pt", 2), ("best.pt", 1), ("epoch10.pt", 10), ("last.pt", 11)):
        write_weights(weights / name, {"date": "today", "epoch": epoch, "model": object})
    found = [whole_checkpoint(tmp_path)]
    for _ in range(4):
        assert found[-1] is not None
        cut_short(Path(found[-1]))
        found.append(whole_checkpoint(tmp_path))

    assert [each and Path(each).name for each in found] == ["last.pt", "epoch10.pt", "epoch2.pt", "best.pt", None]


def test_the_weights_of_each_so_many_epochs_are_told(tmp_path: Path) -> None:
    model = YOLO()
    notify = added(model)
    trained(model, tmp_path, save_period=2)

    told = [(Path(each.checkpoint.path).name, each.checkpoint.epoch) for each in of_kind(notify, CheckpointSaved)]
    assert [each for each in told if each[0].startswith("epoch")] == [("epoch0.pt", 1), ("epoch2.pt", 3)]


def test_the_weights_that_are_kept_are_proven(tmp_path: Path) -> None:
    """Ultralytics writes both files anew at the end, without the optimizer: a damaged one is told."""

    class Cut(Trainer):
        def _final_eval(self) -> None:
            super()._final_eval()
            cut_short(self.best)

    model = YOLO()
    notify = added(model)
    Cut({**DEFAULTS, "project": str(tmp_path), "name": "t", "model": "yolo11n.yaml"}, model.callbacks).train()

    assert notify.guest._proofs is not None
    assert notify.guest._proofs.wait(30)
    assert notify.run is not None
    assert notify.run.status is Status.FINISHED
    assert any("best.pt" in each.text for each in of_kind(notify, AlertRaised))


def test_a_training_by_time_is_told_its_epochs_as_they_are_reckoned(tmp_path: Path) -> None:
    """`epochs=` says nothing then: a total is known from the second message on."""
    model = YOLO(epochs_by_time=(4, 3, 3))
    notify = added(model)
    trained(model, tmp_path, time=0.1)

    (start,), (end,) = of_kind(notify, RunStarted), of_kind(notify, RunEnded)
    assert start.total is None
    assert [each.progress.total for each in of_kind(notify, EpochFinished)] == [None, 4, 3]
    assert (end.status, end.progress.done, end.progress.total) == (Status.FINISHED, 3, 3)


def test_a_second_training_of_the_model_is_a_second_run(tmp_path: Path) -> None:
    model = YOLO()
    notify = added(model)
    trained(model, tmp_path / "1")
    trained(model, tmp_path / "2")

    assert notify.run is not None
    assert notify.run.name == "digits #2"
    assert len(values(notify)) == 3


def test_callbacks_reach_the_processes_of_several_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ultralytics writes them to a file by cloudpickle. No secret is in it: the processes have their own settings."""
    cloudpickle = pytest.importorskip("cloudpickle")
    webhook = "https://hooks.slack.com/services/T00000000/B00000000/" + "x" * 24
    model = YOLO()
    settings = {"lang": "ko", "tensorboard": "off", "wandb": "off", "slack_webhook_url": webhook, "project": "cars"}
    settings["runs_dir"] = str(tmp_path / "elsewhere")
    notify = add_to(model, "digits", config=settings, monitor="fitness:max")
    assert notify.guest.config.slack_webhook_url is not None

    written = cloudpickle.dumps({"callbacks": model.callbacks})
    child = YOLO()
    monkeypatch.setenv("NOTIFYBOT_LANG", "en")
    child.callbacks = pickle.loads(written)["callbacks"]
    trained(child, tmp_path)

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
    model = YOLO()
    notify = added(model)
    trained(model, tmp_path)

    assert notify.run is not None
    assert (notify.run.session, notify.run.mute, notify.guest.active) == (None, True, False)
    assert not (tmp_path / "notifybot-run.json").exists()


def test_nothing_of_ours_reaches_the_training(tmp_path: Path) -> None:
    class Odd(Trainer):
        def __getattribute__(self, name: str) -> Any:
            if name == "save_dir" and sys._getframe(1).f_globals["__name__"].startswith("notifybot."):
                raise AttributeError(name)
            return super().__getattribute__(name)

    model = YOLO()
    notify = added(model)
    options = {"project": str(tmp_path), "name": "t", "model": "yolo11n.yaml"}
    trainer = Odd({**DEFAULTS, **options}, model.callbacks)
    trainer.train()

    assert len(trainer.rows) == 3
    assert notify.guest.guard.faults == {"framework_hook": 1}


def test_a_copy_has_not_begun_and_a_wrong_setting_is_refused(tmp_path: Path) -> None:
    model = YOLO()
    notify = added(model)
    trained(model, tmp_path)
    other = copy.deepcopy(notify)

    assert (other.run, other.guest.name) == (None, "digits")
    with pytest.raises(UsageError):
        added(model, monitor="novelty")
    assert math.isfinite(values(notify)[-1][1]["fitness"])
