"""Events and messages by hand, for the Slack tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from notifybot.events import (
    AlertRaised,
    CheckpointSaved,
    EpochFinished,
    Event,
    RunEnded,
    RunLost,
    RunRecovered,
    RunStalled,
    RunStarted,
)
from notifybot.notifiers.base import Envelope, Memory
from notifybot.types import (
    Checkpoint,
    Fact,
    Language,
    Message,
    Metric,
    MetricRow,
    Progress,
    RunRef,
    Severity,
    Status,
    uuid7,
)

RUN = RunRef("resnet-cifar-7f3a", "resnet-cifar", "vision", "session-1")
START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
HEADINGS = ("Metric", "Value", "Change", "Best", "Trend")
_ticks = count()


def progress(done: int, total: int | None = 30) -> Progress:
    """A run after `done` epochs."""
    return Progress(epoch=done, done=done, total=total, metrics={"val_acc": Metric(0.5 + done / 100)})


def at(minutes: float) -> dict[str, Any]:
    """The fields every event has, `minutes` after the start."""
    return {"id": uuid7(), "run": RUN, "at": START + timedelta(minutes=minutes)}


def started(minutes: float = 0, *, attempt: int = 1) -> RunStarted:
    return RunStarted(**at(minutes), attempt=attempt, total=30, progress=progress(0))


def epoch(done: int, *, minutes: float | None = None, new_best: str | None = None) -> EpochFinished:
    return EpochFinished(**at(done if minutes is None else minutes), progress=progress(done), new_best=new_best)


def checkpoint(minutes: float = 3.5) -> CheckpointSaved:
    return CheckpointSaved(**at(minutes), checkpoint=Checkpoint("runs/best.pt", 3, 1000), progress=progress(3))


def alert(minutes: float = 4.5) -> AlertRaised:
    return AlertRaised(**at(minutes), title="loss is NaN", text="since step 120", progress=progress(4))


def ended(minutes: float = 31, *, status: Status = Status.FINISHED) -> RunEnded:
    return RunEnded(**at(minutes), status=status, progress=progress(30), error="ValueError: boom")


def lost(minutes: float = 40) -> RunLost:
    return RunLost(**at(minutes), silent_s=300, limit_s=120, progress=progress(12))


def stalled(minutes: float = 40) -> RunStalled:
    return RunStalled(**at(minutes), silent_s=300, limit_s=120, progress=progress(12))


def recovered(minutes: float = 50) -> RunRecovered:
    return RunRecovered(**at(minutes), was="lost", away_s=600, progress=progress(12))


def message(event: Event, **changes: Any) -> Message:
    """What a renderer would make of an event."""
    word = event.kind.replace("_", " ")
    base = Message(
        event_id=event.id,
        kind=event.kind,
        run=event.run,
        at=event.at,
        language=Language.EN,
        severity=Severity.ERROR if event.kind == "run_lost" else Severity.INFO,
        title=f"{event.run.name}: {word} {event.progress.done}/{event.progress.total}",
        body=f"The run says: {word}.",
        brief=f"{event.run.name}: {word}, val_acc 0.61",
        headings=HEADINGS,
        rows=(MetricRow("val_acc", "0.6100", "+0.0100", "0.6200 (11)", "▁▂▄▆█"), MetricRow("lr", "1e-3")),
        facts=(Fact("ETA", "12 min"), Fact("Elapsed", "8 min")),
        epoch=event.progress.epoch,
        done=event.progress.done,
        total=event.progress.total,
    )
    return replace(base, **changes)


def envelope(event: Event, memory: Memory, **changes: Any) -> Envelope:
    """A delivery of an event, rendered."""
    return Envelope(event, message(event, **changes), memory)
