"""What a session begins with: what the store knows of the run's earlier ones, and what a checkpoint brought along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from notifybot.events import CheckpointSaved, EpochFinished, Event
from notifybot.model import ModelSize, Progress, Resumed

_FOLDED = 64  # epochs whose metrics make up what a resumed run remembers


@dataclass(frozen=True, slots=True)
class Resume:
    """What a checkpoint and the card beside it say of a run. `folder` holds a copy of the run's own folder."""

    progress: Progress | None = None
    resumed: Resumed | None = None
    saved_at: datetime | None = None
    attempt: int = 0
    name: str = ""
    memories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folder: Path | None = None
    model: ModelSize | None = None
    artifacts: bool = False

    def kept(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """Those events that the restored state knows of: epochs that are run again have not happened."""
        if self.progress is None:
            return tuple(events)
        return tuple(each for each in events if not _beyond(each, self.progress.epoch))


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of a run's earlier sessions."""

    attempt: int = 0
    name: str = ""
    progress: Progress | None = None
    events: tuple[Event, ...] = ()

    def with_checkpoint(self, resume: Resume) -> Past:
        """The past as the restored state knows it."""
        return replace(
            self,
            attempt=max(self.attempt, resume.attempt),
            name=self.name or resume.name,
            progress=resume.progress or self.progress,
            events=resume.kept(self.events),
        )

    def resumed_by(self, resume: Resume) -> Resumed | None:
        """What the session goes on from, with the work that is lost as far as this machine heard of it."""
        if resume.resumed is None or resume.saved_at is None:
            return resume.resumed
        heard = [each.at for each in self.events if not isinstance(each, CheckpointSaved)]
        lost_s = (max(heard, default=resume.saved_at) - resume.saved_at).total_seconds()
        return replace(resume.resumed, lost_s=lost_s if lost_s >= 1.0 else None)


def last_progress(events: Sequence[Event]) -> Progress | None:
    """The progress after the last finished epoch, with the latest value of every metric."""
    epochs = [event for event in events if isinstance(event, EpochFinished)][-_FOLDED:]
    if not epochs:
        return None
    last = events[-1].progress
    metrics = {name: metric for event in epochs for name, metric in event.progress.metrics.items()}
    done = epochs[-1].progress
    return replace(
        done,
        metrics=metrics,
        eta_s=None,
        elapsed_s=max(last.elapsed_s, done.elapsed_s),
        checkpoint=last.checkpoint or done.checkpoint,
    )


def _beyond(event: Event, epoch: int | None) -> bool:
    return (
        isinstance(event, EpochFinished)
        and epoch is not None
        and event.progress.epoch is not None
        and event.progress.epoch > epoch
    )
