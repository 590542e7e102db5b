"""Reports of a run besides its epochs: checkpoints, alerts and pages, and the events of all of it."""

from __future__ import annotations

import logging
import operator
import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Literal

from notifybot.clock import Clock
from notifybot.config import Config
from notifybot.events import CheckpointSaved, Event
from notifybot.rendering.alert_text import checkpoint_not_found, notice_words
from notifybot.rendering.text import redacted
from notifybot.trackers.base import Tracker
from notifybot.training.alert_monitor import AlertsByCode, raise_alert
from notifybot.training.endings import Ending
from notifybot.training.guard import Guard
from notifybot.training.progress import ProgressTracker
from notifybot.training.run_info import TEXT_CHARS, is_there, size_of
from notifybot.training.session import Session
from notifybot.types import Checkpoint, KeptIn, Notice, Progress, RunRef, Severity, uuid7

log = logging.getLogger("notifybot")


class RunReports:
    """Part of a run that reports at any time, and after its end too. Nothing is raised."""

    def __init__(self, ref: RunRef, config: Config, clock: Clock, monitor: str | None) -> None:
        self.ref = ref
        self.config = config
        self.clock = clock
        self.guard = Guard()
        self.session: Session | None = None  # None: not begun, or another process reports
        self._course = ProgressTracker(now_s=clock.monotonic(), monitor=monitor)
        self._alerts = AlertsByCode()
        self._missed_checkpoint = False
        self._moves = 0
        self._ended = False
        self.at_end: Callable[[Ending], Ending] | None = None  #: called once before the ending is recorded

    @property
    def id(self) -> str:
        """The run's id. Give it as `run_id=` to continue the run in another process."""
        return self.ref.id

    @property
    def name(self) -> str:
        """The name that people read."""
        return self.ref.name

    @property
    def project(self) -> str:
        """The project that the run belongs to."""
        return self.ref.project

    @property
    def active(self) -> bool:
        """True between start and end, in the process that reports the run."""
        return self.session is not None and not self._ended

    @property
    def progress(self) -> Progress:
        """Progress of the run: epochs done, metrics, best values, the latest checkpoint."""
        return self._course.summary(self.clock.monotonic())

    @property
    def watched(self) -> str | None:
        """Name of the metric whose new best is reported; None while none is chosen."""
        return self._course.watched

    def log_checkpoint(self, path: str | os.PathLike[str], epoch: int | None = None) -> None:
        """Report a checkpoint that your code has saved, where there is one. Works after the run's end too."""
        if self.session is not None:
            with self.guard("checkpoint"):
                self._moves += 1
                missed, self._missed_checkpoint = self._missed_checkpoint, not is_there(path)
                if not self._missed_checkpoint:
                    at = self.progress.epoch if epoch is None else operator.index(epoch)
                    self.saved(Checkpoint(redacted(os.fspath(path), TEXT_CHARS), epoch=at, size_bytes=size_of(path)))
                elif not missed:  # said once in a row
                    notice = checkpoint_not_found(os.fspath(path))
                    words = notice_words(notice, self.config.lang)
                    log.warning("%s: %s", words.title, " ".join(words.text.split()))
                    self.report(words.title, words.text, about="checkpoint", notice=notice)

    def saved(self, checkpoint: Checkpoint) -> None:
        """Report a checkpoint. Called by the thread that saved it."""
        with self.guard("checkpoint"):
            self._course.saved(checkpoint)
            self.emit(CheckpointSaved(**self.fact(), checkpoint=checkpoint, progress=self.progress))

    def note_kept(self, kept_in: KeptIn) -> None:
        """Take in that a framework keeps the state by itself: messages say that the next start goes on from there."""
        self._course.note_kept(kept_in)

    def proved(self, checkpoint: Checkpoint) -> None:
        """Take in that a checkpoint, reported before, was read to its end: what is told of it from now on says so.

        Called by the thread that read it. One that is no longer the latest is left alone.
        """
        self._course.proved(checkpoint)

    def alert(
        self,
        title: str,
        text: str = "",
        severity: Severity | str = Severity.WARNING,
        wait_duration: float | timedelta | None = None,
        *,
        level: Severity | str | None = None,
        picture: object = None,
    ) -> None:
        """Tell people that they should look, now. Works after the run's end too. Nothing is raised.

        `severity` is info, success, warning or error, in any case; W&B's and logging's words for them do as well, and
        so does W&B's name for it, `level`. One title is sent once in `wait_duration` (seconds, or a timedelta); by
        default once in 10 minutes, whatever numbers are in it. Of each severity, five are sent at once and then one
        every 5 minutes, with a `wait_duration` of 0 too. The others are recorded, and counted in the next one.

        A `picture` is the path of a PNG or JPEG of at most 5 MB, or a figure of matplotlib; it is read or drawn now.
        Where that fails, the text says why.
        """
        if self.session is not None:
            with self.guard("alert"):
                self._moves += 1
                given = severity if level is None else level
                self._alerts.raise_one(
                    self, title, text, given, wait_duration,
                    now_s=self.clock.monotonic(), picture=picture, store=self.session.shared.store,
                )  # fmt: skip

    def count(self, label: int, values: Mapping[str, float], *, done: int) -> None:
        """Take in that `done` trials are over, the last one labelled so, where people hear of them otherwise."""
        if self.session is not None:
            self._moves += 1
            self._course.finish_epoch(label, values, now_s=self.clock.monotonic(), done=done)

    def between(self, label: int, values: Mapping[str, float]) -> None:
        """Take in values of a round between two that are reported: the best may be among them."""
        self._course.take_in(label, values)

    def report(
        self,
        title: str,
        text: str = "",
        severity: Severity = Severity.WARNING,
        *,
        about: Literal["", "checkpoint"] = "",
        notice: Notice | None = None,
    ) -> None:
        """Raise an alert on what we saw ourselves: an incident each, so there is no limit. Works after the end too."""
        if self.session is not None:
            with self.guard("alert"):
                self._moves += 1
                raise_alert(self, title, text, severity, about=about, notice=notice)

    def began(self, at_s: float) -> None:
        """Take in that what is reported began before the run, at a moment of its clock, as a command does."""
        self._course.began(at_s)

    def page(self, url: str) -> None:
        """Have messages link to this page: the run's own at W&B or elsewhere, where the program logs there itself."""
        if self.session is not None:
            with self.guard("tracker_page"):
                self.session.link(self.ref, url)

    def tracker(self, name: str, timeout_s: float) -> Tracker | None:
        """The open tracker of that name, or None."""
        if self.session is None or self.session.trackers is None:
            return None
        with self.guard(f"tracker_handle {name}"):
            return self.session.trackers.get(name, timeout_s)
        return None

    def fact(self) -> dict[str, Any]:
        """Fields that every event of the run carries, made anew: id, run and time."""
        now = self.clock.now()
        return {"id": uuid7(now.timestamp()), "run": self.ref, "at": now}

    def emit(self, event: Event) -> None:
        """Hand an event to all who want it. May be called from any thread."""
        if self.session is not None:
            self.session.emit(event)
