"""A run that a framework trains, on the next machine: nothing is left but what the framework has saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.clock import SYSTEM
from notifybot.events import EpochFinished, RunEnded, RunStarted
from notifybot.integrations.guest import Guest
from notifybot.integrations.run_copy import FOLDER, resume_from
from notifybot.sandbox import Sandbox
from notifybot.training.endings import Ending
from notifybot.training.session import close
from notifybot.types import Status
from tests.support.training_runs import end_runs, recorded_events


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as started:
        yield started
        end_runs()


def machine(tmp_path: Path, sandbox: Sandbox, name: str) -> dict[str, Any]:
    """Settings of a machine with a disk of its own."""
    ours = {key.removeprefix("NOTIFYBOT_").lower(): value for key, value in sandbox.environment().items()}
    slack = {key: value for key, value in ours.items() if key.startswith("slack")}
    places = {"state_dir": str(tmp_path / name / "state"), "runs_dir": str(tmp_path / name / "runs")}
    return slack | places | {"wandb": "off", "tensorboard": "off", "every": "100 epochs"}


def train(guest: Guest, folder: Path, *, first: int, until: int, found: dict[str, str] | None = None) -> None:
    guest.begin(total=6, first=first, found=found, folder=folder)
    for epoch in range(first, until):
        guest.epoch_began(epoch)
        guest.log({"val_loss": [0.5, 0.1, 0.4, 0.3, 0.2, 0.6][epoch]})
        guest.epoch_over(epoch)
        guest.checkpoint(str(folder), epoch)


def test_a_new_machine_goes_on_with_numbers_and_thread(tmp_path: Path, sandbox: Sandbox) -> None:
    drive = tmp_path / "drive"
    drive.mkdir()
    first = Guest("digits", config=machine(tmp_path, sandbox, "first"))
    train(first, drive, first=0, until=4)
    assert first.run is not None
    first.run.flush(10.0)  # Slack has answered: the thread is known
    assert first._copy is not None
    first._copy.finish()
    found = first.state()
    first.end(Ending(Status.FAILED))
    close()
    shutil.rmtree(tmp_path / "first")

    second = Guest("digits", config=machine(tmp_path, sandbox, "second"))
    train(second, drive, first=3, until=6, found=found)
    second.finish()

    run = second.run
    assert run is not None
    assert run.session is not None
    events = recorded_events(run)
    (started,) = (each for each in events if isinstance(each, RunStarted))
    assert (started.attempt, started.progress.done, run.id) == (2, 3, found["run_id"])
    last = events[-1]
    assert isinstance(last, RunEnded)
    assert (last.progress.done, last.progress.metrics["val_loss"].best) == (6, 0.1)
    assert [each.progress.epoch for each in events if isinstance(each, EpochFinished)] == [3, 4, 5]
    (rows,) = (tmp_path / "second").rglob("metrics.jsonl")
    lines = [json.loads(line) for line in rows.read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch_finished"] == [0, 1, 2, 3, 4, 5]
    run.flush(10.0)
    assert len(sandbox.slack.roots) == 1


def test_the_copy_is_not_uploaded_by_hugging_face(tmp_path: Path, sandbox: Sandbox) -> None:
    """Trainer.push_to_hub leaves out "_*"; a card names hosts and channels."""
    guest = Guest("digits", config=machine(tmp_path, sandbox, "one"))
    train(guest, tmp_path / "out", first=0, until=1)
    guest.finish()

    assert [path.name for path in (tmp_path / "out").iterdir()] == [FOLDER]
    assert FOLDER.startswith("_")


def test_a_copy_of_another_run_tells_nothing(tmp_path: Path, sandbox: Sandbox) -> None:
    guest = Guest("digits", config=machine(tmp_path, sandbox, "one"))
    train(guest, tmp_path / "out", first=0, until=1)
    guest.finish()
    assert guest.run is not None

    other = resume_from(tmp_path / "out", {"run_id": "another"}, guest.run.project, 0)
    nowhere = resume_from(tmp_path / "nothing", guest.state(), guest.run.project, 0)

    assert (other.attempt, nowhere.attempt) == (0, 0)
    assert resume_from(tmp_path / "out", guest.state(), guest.run.project, None).progress is not None


def test_a_folder_that_cannot_be_written_costs_the_copy_alone(tmp_path: Path, sandbox: Sandbox) -> None:
    (tmp_path / "out").write_text("a file")
    began_s = SYSTEM.monotonic()
    guest = Guest("digits", config=machine(tmp_path, sandbox, "one"))
    train(guest, tmp_path / "out", first=0, until=2)
    guest.finish()

    assert guest.run is not None
    assert guest.run.status is Status.FINISHED
    assert set(guest.run.faults) == {"copy_of_tracker_files"}
    assert SYSTEM.monotonic() - began_s < 60


def test_a_copy_that_is_behind_takes_nothing_from_the_machine_that_knows_more(tmp_path: Path, sandbox: Sandbox) -> None:
    """The process was killed before its last copy was made."""
    settings, drive = machine(tmp_path, sandbox, "one"), tmp_path / "drive"
    before = Guest("digits", config=settings)
    train(before, drive, first=0, until=2)
    assert before._copy is not None
    before._copy.finish()
    shutil.copytree(drive, tmp_path / "behind")
    train_on = Guest("digits", config=settings)
    before.end(Ending(Status.FAILED))
    train(train_on, drive, first=2, until=4, found=before.state())
    train_on.end(Ending(Status.FAILED))
    shutil.rmtree(drive)
    shutil.copytree(tmp_path / "behind", drive)

    last = Guest("digits", config=settings)
    train(last, drive, first=4, until=6, found=train_on.state())
    last.finish()

    assert last.run is not None
    assert (last.run.progress.done, last.run.progress.metrics["val_loss"].epochs) == (6, (0, 1, 2, 3, 4, 5))
