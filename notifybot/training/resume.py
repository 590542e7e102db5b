"""Resume data: a run's earlier sessions by store and checkpoint, its past epochs, and the trackers' replay cursors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from notifybot.events import CheckpointSaved, EpochFinished, Event
from notifybot.files import path_text, write_atomically
from notifybot.runtime import execution
from notifybot.types import ModelSize, Progress, Resumed


@dataclass(frozen=True, slots=True)
class ResumeInfo:
    """Facts about a run from its checkpoint and the card beside it. `folder` holds a copy of the run's own folder.

    `by_framework`: the state was restored by a framework, not by us.
    `launch`: fingerprint of how the program that saved last was started (`run_info.launch_of`); empty if unknown.
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
    done: int | None = None  # epochs done, if their places among all epochs show it
    by_framework: bool = False

    @property
    def is_copy(self) -> bool:
        """True where the progress is of a copy beside the checkpoints, and not of the restored state itself."""
        return self.resumed is None or self.by_framework

    def restored_from(self, path: Path, epoch: int | None, now: datetime) -> ResumeInfo:
        """These facts with the checkpoint that a framework has its state from. Raises OSError if it is gone."""
        saved_at = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        since_s = max((now - saved_at).total_seconds(), 0.0)
        resumed = Resumed(epoch=epoch, path=path_text(path), since_s=since_s)
        return replace(self, resumed=resumed, saved_at=saved_at, by_framework=True)

    def kept(self, events: Sequence[Event]) -> tuple[Event, ...]:
        """Events that count after the restore: all but the epochs that are run again."""
        if self.progress is None:
            return tuple(events)
        falls = _falls(in_force(events))
        return tuple(each for each in events if not _beyond(each, self.progress.epoch, falls=falls))


@dataclass(frozen=True, slots=True)
class RunHistory:
    """History of a run's earlier sessions."""

    attempt: int = 0
    name: str = ""
    progress: Progress | None = None
    events: tuple[Event, ...] = ()

    def with_checkpoint(self, resume: ResumeInfo) -> RunHistory:
        """History without the epochs that the restored state has not seen."""
        return replace(
            self,
            attempt=max(self.attempt, resume.attempt),
            name=self.name or resume.name,
            progress=resume.progress or self.progress,
            events=resume.kept(self.events),
        )

    def before(self, first: int, *, falls: bool = False) -> Progress | None:
        """The progress when the epoch labelled `first` was about to begin: what came after it is done again.

        `falls`: the labels ahead fall, which a past of one epoch does not show. Time that was spent is spent, and the
        last checkpoint is still there.
        """
        if self.progress is None or not self.events:
            return self.progress
        left = _before(in_force(self.events), first, falls=falls)
        then = last_progress(left) if left else Progress()
        assert then is not None
        return replace(then, elapsed_s=self.progress.elapsed_s, checkpoint=self.progress.checkpoint)

    def resumed_by(self, resume: ResumeInfo, first: int | None) -> Resumed | None:
        """Describe the resume at the epoch `first`, with the work lost in seconds as far as this machine knows."""
        resumed = replace(resume.resumed, next_epoch=first) if resume.resumed is not None else None
        if resumed is None or resume.saved_at is None:
            return resumed
        heard = [each.at for each in self.events if not isinstance(each, CheckpointSaved)]
        lost_s = (max(heard, default=resume.saved_at) - resume.saved_at).total_seconds()
        return replace(resumed, lost_s=lost_s if lost_s >= 1.0 else None)


class Completed:
    """Set of runs completed in this execution of the script or cell, by their folder of checkpoints and id.

    The same folder given once more is then a mistake: a fold or a phase that would train little or nothing. The set is
    empty again in a new process and when a cell is run again.
    """

    def __init__(self) -> None:
        self._marks: dict[tuple[Path, str], object] = {}

    def add(self, folder: Path, run_id: str) -> None:
        """Add a run that was completed."""
        self._marks[folder, run_id] = execution()

    def __contains__(self, run: tuple[Path, str]) -> bool:
        return run in self._marks and self._marks[run] == execution()

    def clear(self) -> None:
        """Empty the set, as in a new process."""
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
    """Epochs that count: without those that a later session, resumed from an earlier epoch, has run again.

    A loop that notifybot does not drive may go back within a session: only then the number of finished epochs falls.
    """
    kept: list[EpochFinished] = []
    for event in events:
        if not isinstance(event, EpochFinished):
            continue
        if kept and (event.run.session != kept[-1].run.session or _went_back(kept, event.progress)):
            last, now = kept[-1].progress, event.progress
            kept = _before(kept, now.place, falls=now.done > last.done and now.place < last.place)
        kept.append(event)
    return kept


def _went_back(epochs: list[EpochFinished], now: Progress) -> bool:
    last = epochs[-1].progress
    if now.place >= last.place or now.done >= last.done:
        return False
    labels = (each.progress.place for each in reversed(epochs))
    return next((each for each in labels if each != last.place), last.place) < last.place  # labels may fall by design


def _falls(epochs: Sequence[EpochFinished]) -> bool:
    """True if labels fall, as in `range(10, 0, -1)`."""
    return len(epochs) > 1 and epochs[-1].progress.place < epochs[-2].progress.place


def _before(epochs: list[EpochFinished], first: int, *, falls: bool) -> list[EpochFinished]:
    """Epochs before the one labelled `first`. A single epoch does not show whether labels fall: then `falls` does."""
    falls = _falls(epochs) if len(epochs) > 1 else falls
    return [each for each in epochs if (each.progress.place > first if falls else each.progress.place < first)]


def _beyond(event: Event, epoch: int | None, *, falls: bool) -> bool:
    if not isinstance(event, EpochFinished) or epoch is None or event.progress.epoch is None:
        return False
    return event.progress.epoch < epoch if falls else event.progress.epoch > epoch


class ReplayCursors:
    """Replay cursors: the id of the last event that each tracker has written, one small file per tracker.

    Not forced to disk: a cursor has to survive the process; after a power cut the tracker's files are old as well.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, tracker: str, event_id: str) -> None:
        """Move a tracker's cursor. Raises OSError."""
        # Atomically: a copier may read it meanwhile.
        write_atomically(self._folder / f".{tracker}.mark", event_id.encode("ascii"), durable=False)

    def missed(self, tracker: str, events: Sequence[Event]) -> tuple[Event, ...]:
        """Return the events after a tracker's cursor: all without a cursor, later ids if its event is unknown."""
        try:
            mark = (self._folder / f".{tracker}.mark").read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return tuple(events)
        places = [place for place, event in enumerate(events) if event.id == mark]
        if not places:
            return tuple(event for event in events if event.id > mark)  # ids sort by time
        return tuple(events[places[-1] + 1 :])
