"""Events for tests of the store and of delivery."""

from __future__ import annotations

from datetime import UTC, datetime

from notifybot.events import AlertRaised, EpochFinished, RunEnded, RunStarted
from notifybot.types import Metric, Progress, RunRef, Status, uuid7

NOON = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
RUN = RunRef(id="run-1", name="resnet", project="default", session="s1")


def started(run: RunRef = RUN, *, at: datetime = NOON, attempt: int = 1) -> RunStarted:
    return RunStarted(id=uuid7(), run=run, at=at, total=10, attempt=attempt)


def epoch(number: int, run: RunRef = RUN, *, at: datetime = NOON, loss: float = 0.5) -> EpochFinished:
    progress = Progress(epoch=number, done=number + 1, total=10, metrics={"loss": Metric(loss)})
    return EpochFinished(id=uuid7(), run=run, at=at, progress=progress)


def ended(run: RunRef = RUN, *, at: datetime = NOON, status: Status = Status.FINISHED) -> RunEnded:
    return RunEnded(id=uuid7(), run=run, at=at, status=status)


def alert(title: str = "look", run: RunRef = RUN, *, at: datetime = NOON) -> AlertRaised:
    return AlertRaised(id=uuid7(), run=run, at=at, title=title)
