"""Checkpoints as W&B artifacts: off unless asked for, with moving aliases, and never in the way."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import wandb

from notifybot.config import Config
from notifybot.events import CheckpointSaved, EpochFinished, Event
from notifybot.i18n import Localized
from notifybot.trackers import TrackerWorkers, WandbTracker
from notifybot.trackers.jsonl import JsonlTracker, events_in
from notifybot.trackers.wandb_artifacts import CheckpointVersions
from notifybot.training.progress import ProgressTracker
from notifybot.types import Checkpoint, Metric, Progress, Status, Tier
from tests.support import wandb_records
from tests.support.tracker_events import RUN, START, context, epoch, untold


@pytest.fixture(autouse=True)
def staging(wandb_offline: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))


def artifacts(folder: Path) -> list[Any]:
    """The artifact records of the one offline file below a folder."""
    wandb.teardown()
    records = wandb_records.read(wandb_records.only_file(folder))
    return [record.artifact for record in records if record.HasField("artifact")]


def best(number: int) -> EpochFinished:
    return replace(epoch(number), new_best="Loss/train")


def saved(path: Path, number: int | None, *, tier: Tier = Tier.LOCAL, **metrics: float) -> CheckpointSaved:
    """A file of a few bytes, and the event that tells of it."""
    path.write_bytes(f"weights of {path.name}".encode())
    progress = Progress(epoch=number, metrics={name: Metric(value) for name, value in metrics.items()})
    checkpoint = Checkpoint(str(path), epoch=number, size_bytes=path.stat().st_size, tier=tier)
    return CheckpointSaved(id=f"{path}-{number}-{tier}", run=RUN, at=START, checkpoint=checkpoint, progress=progress)


def test_nothing_is_logged_unless_asked_for(tmp_path: Path) -> None:
    """A checkpoint can be gigabytes."""
    tracker = WandbTracker.open(context(tmp_path / "run"), warn=untold)

    tracker.record(saved(tmp_path / "a.pt", 0))
    tracker.close(Status.FINISHED)

    assert artifacts(tmp_path) == []


def test_each_checkpoint_is_a_version_with_moving_aliases(tmp_path: Path) -> None:
    """W&B moves "latest" to every one; "best" stays with the last epoch that was the best."""
    given = replace(context(tmp_path / "run"), wandb_artifacts=True)
    trackers = TrackerWorkers()
    trackers.start(given, ["wandb"], Config())

    for event in (best(0), saved(tmp_path / "a.pt", 0, loss=0.5, gap=math.inf), epoch(1), saved(tmp_path / "b.pt", 1)):
        trackers.put(event)
    assert trackers.close(Status.FINISHED, 30)

    first, second = artifacts(tmp_path / "run")
    assert trackers.failures == {"wandb": 0}
    assert (first.name, first.type, set(first.aliases)) == ("checkpoint-run-1", "model", {"latest", "best", "epoch-0"})
    assert set(second.aliases) == {"latest", "epoch-1"}
    assert json.loads(first.metadata) == {"epoch": 0, "file": "a.pt", "tier": "local", "loss": 0.5, "gap": "inf"}
    ((content,), (other,)) = (each.manifest.contents for each in (first, second))
    assert (content.path, other.path) == ("a.pt", "b.pt")


NAN = math.nan


@pytest.mark.parametrize("read_back", [False, True], ids=["told", "read back from the JSON lines"])
@pytest.mark.parametrize("monitor", [None, "val_loss"])
@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([0.1, 0.5, 0.4], [0, 0, 0]),
        ([0.0, 0.5, -0.0], [0, 0, 0]),
        ([NAN, 0.4, 0.5], [None, 1, 1]),
        ([NAN, NAN, 0.5], [None, None, 2]),
        ([0.5, NAN, 0.4], [0, 0, 2]),
        ([0.5, 0.4, 0.3], [0, 1, 2]),
    ],
)
def test_the_best_checkpoint_is_that_of_the_best_epoch_also_of_the_first(
    losses: list[float], best: list[int | None], monitor: str | None, read_back: bool, tmp_path: Path
) -> None:
    """The first value of a metric is no news, and epoch 0 and a loss of 0.0 are false to Python."""
    course, lines = ProgressTracker(now_s=0.0, monitor=monitor), JsonlTracker.open(context(tmp_path))
    told: list[Event] = []
    for number, loss in enumerate(losses):
        progress, new_best = course.finish_epoch(number, {"val_loss": loss, "train_loss": 1.0}, now_s=1.0)
        told.append(EpochFinished(id=str(number), run=RUN, at=START, progress=progress, new_best=new_best))
        lines.record(told[-1])
    lines.close(Status.FINISHED)

    versions, aliased = CheckpointVersions(monitor), []
    for event in events_in(tmp_path, RUN) if read_back else told:
        assert isinstance(event, EpochFinished)
        versions.finished(event)
        number = event.progress.place
        given = [versions.aliases(saved(tmp_path / "a.pt", each)) for each in range(number + 1)]
        aliased.append(next((each for each in range(number + 1) if "best" in given[each]), None))

    assert best == aliased


def test_what_was_logged_outlives_its_file(tmp_path: Path) -> None:
    """Old checkpoints are pruned while W&B still uploads: it has a copy of its own."""
    tracker = WandbTracker.open(context(tmp_path / "run"), warn=untold)
    event = saved(tmp_path / "a.pt", 0)

    assert tracker.log_checkpoint_artifact(tmp_path / "a.pt", "my model", ["candidate"], {"lr": 0.1})
    Path(event.checkpoint.path).unlink()
    tracker.close(Status.FINISHED)

    (artifact,) = artifacts(tmp_path / "run")
    (content,) = artifact.manifest.contents
    assert (artifact.name, set(artifact.aliases)) == ("my-model", {"latest", "candidate"})
    assert Path(content.local_path).read_bytes() == b"weights of a.pt"


def test_a_checkpoint_told_for_both_of_its_folders_is_logged_once(tmp_path: Path) -> None:
    """But a file that is written over is a new checkpoint each time."""
    tracker = WandbTracker.open(replace(context(tmp_path / "run"), wandb_artifacts=True), warn=untold)
    (tmp_path / "drive").mkdir()

    tracker.record(saved(tmp_path / "last.pt", 0))
    tracker.record(saved(tmp_path / "drive" / "last.pt", 0, tier=Tier.REMOTE))
    tracker.record(saved(tmp_path / "last.pt", 1))
    tracker.close(Status.FINISHED)

    aliases = [set(each.aliases) - {"latest"} for each in artifacts(tmp_path / "run")]
    assert aliases == [{"epoch-0"}, {"epoch-1"}]


def test_a_sharded_checkpoint_is_a_folder_of_files(tmp_path: Path) -> None:
    """One version holds all of its parts."""
    shards = tmp_path / "shards"
    shards.mkdir()
    for name in ("0.pt", "1.pt"):
        (shards / name).write_bytes(b"weights")
    tracker = WandbTracker.open(context(tmp_path / "run"), warn=untold)

    assert tracker.log_checkpoint_artifact(shards)
    tracker.close(Status.FINISHED)

    (artifact,) = artifacts(tmp_path / "run")
    assert sorted(each.path for each in artifact.manifest.contents) == ["0.pt", "1.pt"]


def test_a_file_that_is_gone_is_told_once_and_costs_no_number(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Three failures in a row would otherwise end the tracker, and with it the curves."""
    told: list[Localized] = []
    tracker = WandbTracker.open(replace(context(tmp_path / "run"), wandb_artifacts=True), warn=told.append)
    gone = saved(tmp_path / "a.pt", 0)
    (tmp_path / "a.pt").unlink()

    with caplog.at_level(logging.WARNING, "notifybot"):
        tracker.record(gone)
        tracker.record(replace(gone, checkpoint=replace(gone.checkpoint, epoch=1)))
    tracker.record(epoch(1))
    tracker.close(Status.FINISHED)

    (notice,) = told
    assert ["artifact" in notice.en, "아티팩트" in notice.ko] == [True, True]
    assert len([each for each in caplog.records if "is no artifact of W&B's now" in each.message]) == 2
    assert artifacts(tmp_path / "run") == []
    (row,) = wandb_records.history(wandb_records.read(wandb_records.only_file(tmp_path / "run")))
    assert row["epoch"] == 1


def test_a_checkpoint_missed_by_a_killed_session_is_made_good_unless_it_is_pruned(tmp_path: Path) -> None:
    """Retention has done its work since: that is no failure worth a word."""
    missed = (best(0), saved(tmp_path / "a.pt", 0), saved(tmp_path / "b.pt", 1))
    (tmp_path / "b.pt").unlink()
    given = replace(context(tmp_path / "run"), wandb_artifacts=True, replay=missed)
    tracker = WandbTracker.open(given, warn=untold)

    for event in missed:
        tracker.record(event)
    tracker.close(Status.FINISHED)

    assert [set(each.aliases) for each in artifacts(tmp_path / "run")] == [{"latest", "best", "epoch-0"}]
