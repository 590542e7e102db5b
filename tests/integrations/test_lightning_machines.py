"""A Lightning training on the next machine: nothing is left but the folder in which it saves."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.events import AlertRaised, EpochFinished, RunStarted
from notifybot.integrations.run_copy import FOLDER
from notifybot.sandbox import Sandbox
from notifybot.training.session import close
from notifybot.types import Status
from tests.support.lightning import ended, fit, lightning, model, recorded, saver, trainer
from tests.support.training_runs import end_runs

pytestmark = [pytest.mark.needs("lightning"), pytest.mark.filterwarnings("ignore")]


class Machines:
    """Machines one after the other, of which only the Drive outlives the next; they report to one Slack."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.folder = folder
        self.drive = folder / "drive"
        self._sandbox = sandbox
        self._count = 0

    @property
    def threads(self) -> int:
        return len(self._sandbox.slack.roots)

    def next(self) -> Any:
        """Leave the machine of before, whose disk is gone, and return a callback on a new one."""
        from notifybot.integrations.lightning import NotifyCallback

        close()
        if self._count:
            shutil.rmtree(self.here)
        self._count += 1
        ours = {name.removeprefix("NOTIFYBOT_").lower(): value for name, value in self._sandbox.environment().items()}
        slack: dict[str, Any] = {name: value for name, value in ours.items() if name.startswith("slack")}
        places = {"state_dir": self.here / "state", "runs_dir": self.here / "runs"}
        settings = {name: str(place) for name, place in places.items()}
        return NotifyCallback("line", config=slack | settings | {"wandb": "off", "tensorboard": "off"})

    @property
    def here(self) -> Path:
        return self.folder / f"machine-{self._count}"

    def rows(self) -> list[int]:
        """Epochs in the run's own file."""
        (file,) = (self.here / "runs").rglob("metrics.jsonl")
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        return [line["epoch"] for line in lines if line["kind"] == "epoch_finished"]


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    with Sandbox() as sandbox:
        yield Machines(tmp_path, sandbox)
        end_runs()


def raising(epoch: int) -> Any:
    def on_train_epoch_start(self: Any) -> None:
        if self.current_epoch == epoch:
            raise ValueError("the machine is taken away")

    return model(on_train_epoch_start=on_train_epoch_start)


def vanishes(callback: Any, training: Any, epoch: int = 3) -> None:
    with pytest.raises(ValueError, match="taken away"):
        fit(training, raising(epoch))
    callback.run.flush(10.0)  # Slack has answered: the thread is known
    callback.guest._copy.finish()


def goes_on(callback: Any, machines: Machines, *, first: int = 3, until: int = 6) -> None:
    events = recorded(callback)
    (started,) = (each for each in events if isinstance(each, RunStarted))
    assert (started.attempt, started.progress.done) == (2, first)
    assert [each.progress.epoch for each in events if isinstance(each, EpochFinished)] == [*range(first, until)]
    assert [each.title for each in events if isinstance(each, AlertRaised)] == []
    end = ended(callback)
    assert (end.status, end.progress.done) == (Status.FINISHED, until)
    assert end.progress.metrics["val_loss"].epochs == tuple(range(until))
    assert machines.rows() == [*range(until)]
    callback.run.flush(10.0)
    assert machines.threads == 1


@pytest.mark.parametrize("which", ["last", "best", "path"])
def test_the_same_folder_goes_on_with_numbers_and_thread(which: str, machines: Machines) -> None:
    options: dict[str, Any] = {"save_last": True, "monitor": "late", "mode": "max", "save_top_k": 2}
    before = machines.next()
    first = trainer(machines.here, before, saver(machines.drive, **options), max_epochs=6)
    vanishes(before, first)
    best = first.checkpoint_callback.best_model_path

    after = machines.next()
    keeps = saver(machines.drive, **options)
    keeps.best_model_path = best
    path = best if which == "path" else which
    fit(trainer(machines.here, after, keeps, max_epochs=6), ckpt_path=path, weights_only=True)

    goes_on(after, machines)
    assert (machines.drive / "saved" / FOLDER).is_dir()


@pytest.mark.field
def test_a_folder_that_was_copied_goes_on_in_another_one(machines: Machines) -> None:
    """Lightning's own folder is numbered: the next training saves in another one than it goes on from."""
    before = machines.next()
    first = trainer(machines.here, before, max_epochs=6)
    vanishes(before, first)
    shutil.copytree(Path(first.checkpoint_callback.dirpath), machines.drive / "copied")
    path = machines.drive / "copied" / Path(first.checkpoint_callback.best_model_path).name

    after = machines.next()
    second = fit(trainer(machines.here, after, max_epochs=6), ckpt_path=path, weights_only=True)

    goes_on(after, machines)
    assert (Path(second.checkpoint_callback.dirpath) / FOLDER).is_dir()


@pytest.mark.field
def test_each_of_several_folders_goes_on(machines: Machines) -> None:
    """One of them has a file in a folder of its own, as `filename="{epoch}/{step}"` makes it."""
    before = machines.next()
    often = saver(machines.drive / "often", filename="{epoch}/{step}")
    seldom = saver(machines.drive / "seldom", every_n_epochs=2, save_top_k=-1)
    vanishes(before, trainer(machines.here, before, often, seldom, max_epochs=6), 5)
    (found,) = (machines.drive / "often").rglob("*.ckpt")
    old = min((machines.drive / "seldom").rglob("*.ckpt"))
    shutil.copytree(machines.drive, machines.folder / "second drive")

    after = machines.next()
    fit(trainer(machines.here, after, saver(machines.drive / "often"), max_epochs=6), ckpt_path=found)
    goes_on(after, machines, first=5)
    shutil.rmtree(machines.drive)
    after = machines.next()
    old = machines.folder / "second drive" / old.relative_to(machines.drive)
    fit(trainer(machines.here, after, saver(machines.drive / "often"), max_epochs=6), ckpt_path=old)

    goes_on(after, machines, first=2)


@pytest.mark.field
def test_two_runs_that_save_in_one_folder_both_go_on(machines: Machines) -> None:
    before = machines.next()
    vanishes(before, trainer(machines.here, before, saver(machines.drive, filename="one-{epoch}"), max_epochs=6))
    other = machines.next()
    training = trainer(machines.here, other, saver(machines.drive, filename="two-{epoch}"), max_epochs=6)
    vanishes(other, training, 4)
    ids = before.run.id, other.run.id
    (one,) = (machines.drive / "saved").glob("one-*.ckpt")

    after = machines.next()
    fit(trainer(machines.here, after, saver(machines.drive), max_epochs=6), ckpt_path=one, weights_only=True)

    assert after.run.id == ids[0] != ids[1]
    starts = [(each.attempt, each.progress.done) for each in recorded(after) if isinstance(each, RunStarted)]
    assert starts == [(2, 3)]
    after.run.flush(10.0)
    assert machines.threads == 2


def test_nothing_is_left_in_a_folder_in_which_lightning_saves_nothing(machines: Machines) -> None:
    callback = machines.next()
    keep = lightning(".callbacks").ModelCheckpoint(str(machines.drive), save_top_k=0)
    fit(trainer(machines.here, callback, keep, max_epochs=1))

    assert not machines.drive.exists() or [*machines.drive.iterdir()] == []


def test_a_remote_folder_has_no_copy_and_costs_nothing(machines: Machines) -> None:
    """As of fsspec: s3://, gs://. The memory's own is one without a network."""
    callback = machines.next()
    keep = lightning(".callbacks").ModelCheckpoint("memory://lines/saved", save_last=True)
    fit(trainer(machines.here, callback, keep, max_epochs=2))

    assert ended(callback).status is Status.FINISHED
    assert callback.run.faults == {}
    assert callback.guest._copy is None


@pytest.mark.parametrize("whole", [0, 1])
def test_torn_checkpoints_are_passed_over_and_told(whole: int, machines: Machines) -> None:
    """As a machine that vanishes leaves them. Without a whole one it begins anew, which is told as well."""
    from notifybot.integrations.lightning import whole_checkpoint

    def keeps() -> Any:
        return saver(machines.drive, save_top_k=-1, filename="{epoch}")

    before = machines.next()
    vanishes(before, trainer(machines.here, before, keeps(), max_epochs=6), epoch=3 + whole)
    files = sorted(machines.drive.rglob("*.ckpt"))
    for path in files[whole:]:
        os.truncate(path, path.stat().st_size - 100)

    after = machines.next()
    found = whole_checkpoint(machines.drive)
    assert found == (str(files[0]) if whole else None)
    fit(
        trainer(machines.here, after, keeps(), max_epochs=6),
        ckpt_path=found,
        **({"weights_only": True} if found else {}),
    )

    events = recorded(after)
    (alert,) = (each for each in events if isinstance(each, AlertRaised))
    assert all(path.name in alert.text for path in files[whole:])
    assert [each.progress.epoch for each in events if isinstance(each, EpochFinished)] == [*range(whole, 6)]
    assert isinstance(events[0], RunStarted)
    assert events[0].attempt == 1 + whole
