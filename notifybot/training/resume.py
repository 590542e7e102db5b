"""What a session begins with: what the store knows of the run's earlier ones, and what a checkpoint brought along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from notifybot.events import CheckpointSaved, EpochFinished, Event
from notifybot.files import write_atomically
from notifybot.runtime import execution
from notifybot.types import ModelSize, Progress, Resumed


@dataclass(frozen=True, slots=True)
class ResumeInfo:
    """What a checkpoint and the card beside it say of a run. `folder` holds a copy of the run's own folder.

    `launch` tells how the program was started that saved last (`describe.launch_of`); empty where that is not known.
    """

    progress: Progress | None = None
    resumed: Resumed | None = None
    saved_at: datetime | None = None
    attempt: int = 0
    name: str = ""
    launch: str = ""
    memories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    folder: Path | None = None
    model: ModelSize | None = None
    artifacts: bool = False
    done: int | None = None  # epochs before those ahead, where their places among all of the run's tell it

    def kept(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """Those events that the restored state knows of: epochs that are run again have not happened."""
        if self.progress is None:
            return tuple(events)
        return tuple(each for each in events if not _beyond(each, self.progress.epoch))


@dataclass(frozen=True, slots=True)
class RunHistory:
    """What is known of a run's earlier sessions."""

    attempt: int = 0
    name: str = ""
    progress: Progress | None = None
    events: tuple[Event, ...] = ()

    def with_checkpoint(self, resume: ResumeInfo) -> RunHistory:
        """The past as the restored state knows it."""
        return replace(
            self,
            attempt=max(self.attempt, resume.attempt),
            name=self.name or resume.name,
            progress=resume.progress or self.progress,
            events=resume.kept(self.events),
        )

    def before(self, first: int) -> Progress | None:
        """The progress when the epoch labelled `first` was about to begin: what came after it is done again.

        Time that was spent is spent, and the last checkpoint is still there.
        """
        if self.progress is None or not self.events:
            return self.progress
        left = _before(in_force(self.events), first)
        then = last_progress(left) if left else Progress()
        assert then is not None
        return replace(then, elapsed_s=self.progress.elapsed_s, checkpoint=self.progress.checkpoint)

    def resumed_by(self, resume: ResumeInfo, first: int | None) -> Resumed | None:
        """What the session goes on from to the epoch `first`, with the work lost as far as this machine heard of it."""
        resumed = replace(resume.resumed, next_epoch=first) if resume.resumed is not None else None
        if resumed is None or resume.saved_at is None:
            return resumed
        heard = [each.at for each in self.events if not isinstance(each, CheckpointSaved)]
        lost_s = (max(heard, default=resume.saved_at) - resume.saved_at).total_seconds()
        return replace(resumed, lost_s=lost_s if lost_s >= 1.0 else None)


class Completed:
    """Which runs came to their end in this execution of the script or cell, by their folder of checkpoints and id.

    The same folder given once more is then a mistake: a fold or a phase that would train little or nothing. A cell that
    is run again, like a process that begins, knows of none.
    """

    def __init__(self) -> None:
        self._marks: dict[tuple[Path, str], object] = {}

    def add(self, folder: Path, run_id: str) -> None:
        """A run came to its end."""
        self._marks[folder, run_id] = execution()

    def __contains__(self, run: tuple[Path, str]) -> bool:
        return run in self._marks and self._marks[run] == execution()

    def clear(self) -> None:
        """As in a new process."""
        self._marks.clear()


COMPLETED = Completed()


def last_progress(events: Sequence[Event]) -> Progress | None:
    """The progress after the last finished epoch, with the latest value of every metric."""
    epochs = in_force(events)
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


def in_force(events: Sequence[Event]) -> list[EpochFinished]:
    """The epochs that count: a session that began further back did those after it once more.

    So did one whose loop, one that we do not drive, went back: only there the number of finished epochs falls.
    """
    kept: list[EpochFinished] = []
    for event in events:
        if not isinstance(event, EpochFinished):
            continue
        if kept and (event.run.session != kept[-1].run.session or _went_back(kept, event.progress)):
            kept = _before(kept, event.progress.place)
        kept.append(event)
    return kept


def _went_back(epochs: list[EpochFinished], now: Progress) -> bool:
    last = epochs[-1].progress
    if now.place >= last.place or now.done >= last.done:
        return False
    labels = (each.progress.place for each in reversed(epochs))
    return next((each for each in labels if each != last.place), last.place) < last.place  # labels may fall by design


def _before(epochs: list[EpochFinished], first: int) -> list[EpochFinished]:
    """Those that came before the one labelled `first`. Labels may fall, as in `range(10, 0, -1)`."""
    falls = len(epochs) > 1 and epochs[-1].progress.place < epochs[-2].progress.place
    return [each for each in epochs if (each.progress.place > first if falls else each.progress.place < first)]


def _beyond(event: Event, epoch: int | None) -> bool:
    return (
        isinstance(event, EpochFinished)
        and epoch is not None
        and event.progress.epoch is not None
        and event.progress.epoch > epoch
    )


class ReplayCursors:
    """The id of the last event that each tracker has written, one small file each.

    Not forced to disk: a mark has to survive the process, and after a power cut its tracker's files are old as well.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, tracker: str, event_id: str) -> None:
        """Move a tracker's mark. Raises OSError."""
        write_atomically(self._path(tracker), event_id.encode("ascii"), durable=False)  # a copy for Drive may read it

    def missed(self, tracker: str, events: Sequence[Event]) -> tuple[Event, ...]:
        """Return the events behind a tracker's mark: all without a mark, the later ones where its event is unknown."""
        try:
            mark = self._path(tracker).read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return tuple(events)
        places = [place for place, event in enumerate(events) if event.id == mark]
        if not places:
            return tuple(event for event in events if event.id > mark)  # ids are in order of time
        return tuple(events[places[-1] + 1 :])

    def _path(self, tracker: str) -> Path:
        return self._folder / f".{tracker}.mark"
