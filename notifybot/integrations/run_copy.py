"""Copy of a run beside what a framework saves: with it the run goes on where the machine, and its database, are gone.

The framework's own checkpoint says only which run it is of. What notifiers remember of the run, such as its thread in
Slack, is on its card; its numbers are in the copy of its own folder.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from notifybot.checkpoints.run_folder import RUNS, Mirror, RunFile, read_card, write_card
from notifybot.files import started
from notifybot.trackers.jsonl import events_in
from notifybot.training.progress import ProgressTracker
from notifybot.training.resume import ResumeInfo, in_force
from notifybot.training.run import Run
from notifybot.training.run_info import folder_name
from notifybot.types import Progress, RunRef

FOLDER = "_notifybot"  # huggingface_hub uploads nothing whose name begins with "_": the card names hosts and channels
_FLUSH_S = 5.0
_LAST_S = 1.0


class RunCopy:
    """Keeps the copy up to date, on a thread of its own: the folder may be a Drive that answers in its own time.

    A copy that is asked for while one is under way follows it, once.
    """

    def __init__(self, run: Run, folder: Path) -> None:
        self._run = run
        self._folder = folder / FOLDER
        self._asked = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        own = run.session.folder if run.session is not None else None
        self._mirror = None if own is None else Mirror(own, self._folder / RUNS / own.name)
        self._card: RunFile | None = None

    def ask(self) -> None:
        """Have a copy made soon."""
        with self._lock:
            self._asked.set()
            if self._idle.is_set():
                self._idle.clear()
                thread = threading.Thread(target=self._work, name="notifybot-run-copy", daemon=True)
                if not started(thread):
                    self._idle.set()

    def finish(self) -> None:
        """Have the last copy made, and wait a second for it."""
        self.ask()
        self._run.clock.wait(self._idle, _LAST_S)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._asked.is_set():
                    self._idle.set()
                    return
                self._asked.clear()
            with self._run.guard("copy_of_tracker_files"):
                self._copy()

    def _copy(self) -> None:
        run, session = self._run, self._run.session
        if session is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        found = read_card(self._folder)
        if found is not None and found.run_id == run.id and found.session > run.ref.session:
            return  # a newer process has the run
        if session.trackers is not None:
            session.trackers.flush(_FLUSH_S)
        card = RunFile(
            run_id=run.id, name=run.name, project=run.project, session=run.ref.session, attempt=run.attempt,
            host=platform.node(), memories=session.memories(run.ref),
        )  # fmt: skip
        if card != self._card:
            write_card(self._folder, card)
            self._card = card
        if self._mirror is not None:
            self._mirror.copy()


def resume_from(folder: Path, found: Mapping[str, Any], project: str, first: int | None) -> ResumeInfo:
    """Return what the copy beside a framework's checkpoints tells of the run `found` there. Raises OSError.

    Its progress is as it was when the epoch labelled `first` was about to begin.
    """
    kept = folder / FOLDER
    card = read_card(kept)
    if card is None or card.run_id != found.get("run_id") or card.project != project:
        return ResumeInfo()
    ref = RunRef(id=card.run_id, name=card.name, project=card.project, session=card.session)
    events = in_force(events_in(kept / RUNS / folder_name(card.project, card.name, card.run_id).name, ref))
    before = [each.progress for each in events if first is None or each.progress.place < first]
    info = ResumeInfo(attempt=card.attempt, name=card.name, memories=card.memories, folder=kept / RUNS)
    return replace(info, progress=_with_history(before)) if before else info


def _with_history(epochs: Sequence[Progress]) -> Progress:
    """Return the last of them with the history of each metric: the lines have its value and its best alone."""
    course = ProgressTracker(now_s=0.0)
    for each in epochs:
        values = {name: metric.value for name, metric in each.metrics.items()}
        course.finish_epoch(each.place, values, now_s=0.0, done=each.done)
    return replace(epochs[-1], metrics=course.summary(0.0).metrics)
