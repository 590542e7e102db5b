"""Copy of a run beside what a framework saves: with it the run goes on where the machine, and its database, are gone.

The framework's own checkpoint says only which run it is of. What notifiers remember of the run, such as its thread in
Slack, is on its card; its numbers are in the copy of its own folder.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from notifybot.checkpoints.run_folder import RUNS, Mirror, RunFile, read_card, write_card
from notifybot.errors import StoreError
from notifybot.files import started
from notifybot.redaction import fingerprint
from notifybot.trackers.jsonl import events_in
from notifybot.training.progress import ProgressTracker
from notifybot.training.resume import ResumeInfo, in_force
from notifybot.training.run import Run
from notifybot.training.run_info import folder_name
from notifybot.types import Progress, RunRef

FOLDER = "_notifybot"  # huggingface_hub uploads nothing whose name begins with "_": the card names hosts and channels
_CARDS = "cards"
_FLUSH_S = 5.0
_LAST_S = 1.0
_ATTEMPTS = 5
_AGAIN_S = 0.1


class RunCopy:
    """Keeps copies up to date, on a thread of its own: a folder may be a Drive that answers in its own time.

    One that is asked for while one is under way follows it, once.
    """

    def __init__(self, run: Run, folder: Path | None = None) -> None:
        self._run = run
        self._asked = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._lock = threading.Lock()
        self._beside = () if folder is None else (_Place(run, folder),)

    def keep_in(self, folder: Path) -> None:
        """Keep a copy in this folder too, from the next one on."""
        if all(each.saves_in != folder for each in self._beside):
            self._beside = (*self._beside, _Place(self._run, folder))

    def ask(self) -> None:
        """Have copies made soon."""
        with self._lock:
            self._asked.set()
            if self._beside and self._idle.is_set():
                self._idle.clear()
                thread = threading.Thread(target=self._work, name="notifybot-run-copy", daemon=True)
                if not started(thread):
                    self._idle.set()

    def finish(self) -> None:
        """Have the last copies made, and wait a second for them."""
        self.ask()
        self._run.clock.wait(self._idle, _LAST_S)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._asked.is_set():
                    self._idle.set()
                    return
                self._asked.clear()
            for place in self._beside:
                with self._run.guard("copy_of_tracker_files"):
                    self._copy(place)

    def _copy(self, place: _Place) -> None:
        """Make one copy; the training's own thread goes first at the database."""
        for _ in range(_ATTEMPTS):
            with suppress(StoreError):
                return place.copy()
            self._run.clock.wait(threading.Event(), _AGAIN_S)
        return place.copy()


class _Place:
    """One folder of a framework's, with the copy in it."""

    def __init__(self, run: Run, saves_in: Path) -> None:
        self.saves_in = saves_in
        self._run = run
        self._folder = saves_in / FOLDER
        own = run.session.folder if run.session is not None else None
        self._mirror = None if own is None else Mirror(own, self._folder / RUNS / own.name)
        self._card: RunFile | None = None

    def copy(self) -> None:
        run, session = self._run, self._run.session
        if session is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        found = read_card(self._folder)
        if found is not None and found.run_id == run.id and found.session > run.ref.session:
            return  # a newer process has the run
        if found is not None and found.run_id != run.id:
            aside = _set_aside(self._folder, found.run_id)
            aside.mkdir(parents=True, exist_ok=True)
            write_card(aside, found)
            self._card = None
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
    kept, run_id = folder / FOLDER, str(found.get("run_id", ""))
    card = read_card(kept)
    if card is not None and card.run_id != run_id:
        card = read_card(_set_aside(kept, run_id))
    if card is None or card.run_id != run_id or card.project != project:
        return ResumeInfo()
    ref = RunRef(id=card.run_id, name=card.name, project=card.project, session=card.session)
    events = in_force(events_in(kept / RUNS / folder_name(card.project, card.name, card.run_id).name, ref))
    before = [each.progress for each in events if first is None or each.progress.place < first]
    info = ResumeInfo(attempt=card.attempt, name=card.name, memories=card.memories, folder=kept / RUNS)
    return replace(info, progress=_with_history(before)) if before else info


def _set_aside(kept: Path, run_id: str) -> Path:
    """Return the folder of the card of a run that saved here before another one did, or that does so in turns."""
    return kept / _CARDS / fingerprint(run_id)


def _with_history(epochs: Sequence[Progress]) -> Progress:
    """Return the last of them with the history of each metric: the lines have its value and its best alone."""
    course = ProgressTracker(now_s=0.0)
    for each in epochs:
        values = {name: metric.value for name, metric in each.metrics.items()}
        course.finish_epoch(each.place, values, now_s=0.0, done=each.done)
    return replace(epochs[-1], metrics=course.summary(0.0).metrics)
