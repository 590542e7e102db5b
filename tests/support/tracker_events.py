"""Events and contexts for the tests of trackers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from notifybot.events import EpochFinished, Event
from notifybot.i18n import Localized
from notifybot.trackers.base import TrackerContext
from notifybot.types import Metric, Param, Progress, RunRef

RUN = RunRef(id="run-1", name="digits", project="bootcamp", session="s1")
START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def epoch(number: int, session: str = "s1", /, **metrics: float) -> EpochFinished:
    """The end of an epoch, a minute after the one before; its id tells the session and the epoch."""
    values = {name: Metric(value) for name, value in metrics.items()} or {"Loss/train": Metric(1.0 / (number + 1))}
    progress = Progress(epoch=number, done=number + 1, total=10, metrics=values, epoch_s=60.0)
    return EpochFinished(id=f"{session}-{number}", run=RUN, at=START + timedelta(minutes=number), progress=progress)


def context(
    folder: Path,
    *,
    purge_from: int | None = None,
    replay: tuple[Event, ...] = (),
    params: dict[str, Param] | None = None,
) -> TrackerContext:
    """A context whose folder exists."""
    folder.mkdir(parents=True, exist_ok=True)
    return TrackerContext(RUN, folder, params or {}, purge_from, replay)


def untold(notice: Localized) -> None:
    """What to hand a tracker that has nothing to tell."""
    pytest.fail(f"told: {notice.en}")
