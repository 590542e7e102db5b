"""What every tracker does, whatever it writes to."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import wandb
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from notifybot.config import Config
from notifybot.events import AlertRaised, CheckpointSaved, Event, RunEnded, RunStarted
from notifybot.trackers import Tracker, TrackerContext, TrackerWorkers
from notifybot.trackers.worker import OPENERS
from notifybot.types import Checkpoint, Status
from tests.support import wandb_records
from tests.support.tracker_events import RUN, START, context, epoch, untold

Row = tuple[int, Mapping[str, float]]

OTHERS: tuple[Event, ...] = (
    RunStarted(id="o1", run=RUN, at=START, params={"lr": 0.1}),
    CheckpointSaved(id="o2", run=RUN, at=START, checkpoint=Checkpoint("a.pt", epoch=0)),
    AlertRaised(id="o3", run=RUN, at=START, title="look"),
    RunEnded(id="o4", run=RUN, at=START, status=Status.FINISHED),
)


@dataclass(frozen=True)
class Kind:
    """A tracker's name, and how to read back its epochs as (label, metrics)."""

    name: str
    read: Callable[[Path], list[Row]]


def jsonl_rows(folder: Path) -> list[Row]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    epochs = [row for row in rows if row["kind"] == "epoch_finished"]
    return [(row["epoch"], {name: float(value) for name, value in row["metrics"].items()}) for row in epochs]


def tensorboard_rows(folder: Path) -> list[Row]:
    accumulator = EventAccumulator(str(folder)).Reload()
    rows: dict[int, dict[str, float]] = {}
    for tag in accumulator.Tags()["scalars"]:
        for item in accumulator.Scalars(tag):
            rows.setdefault(item.step, {})[tag] = item.value
    return sorted(rows.items())


def wandb_rows(folder: Path) -> list[Row]:
    files = sorted(folder.rglob("*.wandb"), key=lambda path: path.stat().st_mtime_ns)
    rows = [row for file in files for row in wandb_records.history(wandb_records.read(file))]
    own = ("epoch", "_step", "_runtime", "_timestamp")
    return [(row["epoch"], {name: value for name, value in row.items() if name not in own}) for row in rows]


KINDS = [Kind("jsonl", jsonl_rows), Kind("tensorboard", tensorboard_rows), Kind("wandb", wandb_rows)]


pytestmark = pytest.mark.usefixtures("wandb_offline")


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def run(kind: Kind, given: TrackerContext, *events: Event, status: Status = Status.FINISHED) -> TrackerWorkers:
    """One session, from start to end."""
    trackers = TrackerWorkers()
    trackers.start(given, [kind.name], Config())
    for event in events:
        trackers.put(event)
    assert trackers.close(status, 30)
    wandb.teardown()
    return trackers


def test_epochs_are_kept_under_their_labels_and_names(kind: Kind, tmp_path: Path) -> None:
    """What goes in comes out, and other events do no harm."""
    trackers = run(kind, context(tmp_path), *OTHERS, epoch(0, **{"Loss/train": 0.5, "acc": 0.25}), epoch(1, acc=0.75))

    assert kind.read(tmp_path) == [(0, {"Loss/train": 0.5, "acc": 0.25}), (1, {"acc": 0.75})]
    assert trackers.failures == {kind.name: 0}


def test_a_resumed_run_goes_on_where_it_stopped(kind: Kind, tmp_path: Path) -> None:
    """Two sessions read as one."""
    run(kind, context(tmp_path), epoch(0, loss=1.0), epoch(1, loss=0.5), status=Status.INTERRUPTED)

    run(kind, context(tmp_path, purge_from=2), epoch(2, "s2", loss=0.25))

    assert kind.read(tmp_path) == [(0, {"loss": 1.0}), (1, {"loss": 0.5}), (2, {"loss": 0.25})]


def test_missed_epochs_are_made_good_but_not_those_done_again(kind: Kind, tmp_path: Path) -> None:
    """Of epochs 1 and 2, which were lost to a kill, the checkpoint covers only the first."""
    run(kind, context(tmp_path), epoch(0, loss=1.0))

    missed = (epoch(1, loss=0.5), epoch(2, loss=0.25))
    run(kind, context(tmp_path, purge_from=2, replay=missed), epoch(2, "s2", loss=0.125))

    assert kind.read(tmp_path) == [(0, {"loss": 1.0}), (1, {"loss": 0.5}), (2, {"loss": 0.125})]


def test_nan_passes_as_itself(kind: Kind, tmp_path: Path) -> None:
    """A run that went NaN must look like one."""
    run(kind, context(tmp_path), epoch(0, loss=math.nan))

    ((_, metrics),) = kind.read(tmp_path)
    assert math.isnan(metrics["loss"])


def test_closing_twice_is_fine(kind: Kind, tmp_path: Path) -> None:
    """Endings can meet: an exception on the way out of the block, and the exit of the process."""
    tracker = OPENERS[kind.name](context(tmp_path, params={"lr": 0.1}), untold, threading.Event())
    tracker.record(epoch(0, loss=1.0))

    tracker.close(Status.FAILED)
    tracker.close(Status.FINISHED)

    assert tracker.name == kind.name
    wandb.teardown()
    assert kind.read(tmp_path) == [(0, {"loss": 1.0})]


def test_one_that_cannot_start_does_not_stop_the_others(kind: Kind, tmp_path: Path) -> None:
    """Each tracker has a thread and a queue of its own."""
    told: list[str] = []

    def broken(*_: object) -> Tracker:
        raise OSError("no room")

    trackers = TrackerWorkers(openers={**OPENERS, "broken": broken}, on_trouble=lambda name, text: told.append(name))
    trackers.start(context(tmp_path), ["broken", kind.name], Config())
    trackers.put(epoch(0, loss=1.0))
    assert trackers.close(Status.FINISHED, 30)
    wandb.teardown()

    assert kind.read(tmp_path) == [(0, {"loss": 1.0})]
    assert told == ["broken"]
