"""Events of a run besides its epochs: alerts, checkpoints, and the fields that each of them carries."""

from __future__ import annotations

import logging
import math
import os
from abc import ABC, abstractmethod
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal

from notifybot.clock import Clock
from notifybot.errors import reader_text
from notifybot.events import AlertRaised, Event
from notifybot.policy import AlertLimit, HeldAlerts
from notifybot.rendering.alert_text import checkpoint_not_found, notice_words
from notifybot.rendering.text import redacted, redacted_line
from notifybot.training.guard import Guard
from notifybot.training.run_info import TEXT_CHARS, TITLE_CHARS, is_there
from notifybot.training.session import Session
from notifybot.types import Language, Notice, Progress, RunRef, Severity, Status, uuid7

log = logging.getLogger("notifybot")

_NOTHING_UNTOLD = HeldAlerts()
_SEVERITIES = {each.value: each for each in Severity} | {
    "warn": Severity.WARNING,  # as W&B's AlertLevel says it
    "critical": Severity.ERROR,
    "fatal": Severity.ERROR,
}


class Voice(ABC):
    """Speaks for one run in one process, while the process has a session of it. Nothing is raised back."""

    def __init__(self, ref: RunRef, clock: Clock) -> None:
        self.status = Status.RUNNING
        self.guard = Guard()
        self.session: Session | None = None  # None: not begun, or another process reports
        self._ref = ref
        self._clock = clock
        self._moves = 0
        self._ended = False
        self._misses_checkpoint = False
        self._limit = AlertLimit()
        self._said: set[str] = set()

    @property
    def id(self) -> str:
        """The run's id. Give it as `run_id=` to continue the run in another process."""
        return self._ref.id

    @property
    def ref(self) -> RunRef:
        """Which run this is, and which session of it."""
        return self._ref

    @property
    def name(self) -> str:
        """The name that people read."""
        return self._ref.name

    @property
    def project(self) -> str:
        """The project that the run belongs to."""
        return self._ref.project

    @property
    def active(self) -> bool:
        """True between start and end, in the process that reports the run."""
        return self.session is not None and not self._ended

    @property
    @abstractmethod
    def progress(self) -> Progress:
        """Progress of the run: epochs done, metrics, best values, the latest checkpoint."""

    def alert(
        self,
        title: str,
        text: str = "",
        severity: Severity | str = Severity.WARNING,
        wait_duration: float | timedelta | None = None,
        *,
        level: Severity | str | None = None,
    ) -> None:
        """Tell people that they should look, now. Works after the run's end too. Nothing is raised.

        `severity` is info, success, warning or error, in any case; W&B's and logging's words for them do as well, and
        so does W&B's name for it, `level`. One title is told once in `wait_duration` (seconds, or a timedelta); by
        default once in 10 minutes, whatever numbers are in it. Of each severity, five are told at once and then one
        every 5 minutes, with a `wait_duration` of 0 too. The others are recorded, and told as a number.
        """
        if self.session is None:
            return
        with self.guard("alert"):
            self._moves += 1
            meant = self._severity(severity if level is None else level)
            line, wait_s = redacted_line(str(title), TITLE_CHARS), self._wait_s(wait_duration)
            untold = self._limit.admit(line, meant, self.now_s(), wait_s)
            if untold is None and self._ended:
                too_many = reader_text("training.voice.too_many_alerts_after_end", name=self.name)
                self._say_once("after_end", too_many)
            self._raise(line, text, meant, untold=untold)

    def report(
        self,
        title: str,
        text: str = "",
        severity: Severity = Severity.WARNING,
        *,
        about: Literal["", "checkpoint"] = "",
        notice: Notice | None = None,
    ) -> None:
        """Tell people of what we saw ourselves: an incident each, so there is no limit. Works after the end too."""
        if self.session is None:
            return
        with self.guard("alert"):
            self._moves += 1
            self._raise(redacted_line(str(title), TITLE_CHARS), text, severity, about=about, notice=notice)

    def _raise(
        self,
        title: str,
        text: str,
        severity: Severity,
        *,
        about: Literal["", "checkpoint"] = "",
        notice: Notice | None = None,
        untold: HeldAlerts | None = _NOTHING_UNTOLD,
    ) -> None:
        self.emit(
            AlertRaised(
                **self.fact(),
                title=title,
                text=redacted(str(text), TEXT_CHARS),
                severity=severity,
                about=about,
                progress=self.progress,
                notice=notice,
                held=untold is None,
                same=untold.same if untold else 0,
                others=untold.others if untold else 0,
            )
        )

    def _finds(self, path: str | os.PathLike[str], language: Language) -> bool:
        """True when a checkpoint that the user's code reports is there; else say that it is not, once in a row."""
        told, self._misses_checkpoint = self._misses_checkpoint, not is_there(path)
        if self._misses_checkpoint and not told:
            notice = checkpoint_not_found(os.fspath(path))
            words = notice_words(notice, language)
            log.warning("%s: %s", words.title, " ".join(words.text.split()))
            self.report(words.title, words.text, about="checkpoint", notice=notice)
        return not self._misses_checkpoint

    def expect_next_in(self, seconds: float) -> None:
        """Promise that nothing new will come for so long: the watchdog waits that long before it calls it a stall."""
        if self.active and self.session is not None:
            for each in (self.session.heartbeat, self.session.dead_man):
                if each is not None:
                    with self.guard("promise"):
                        each.promise(float(seconds))

    def _severity(self, given: object) -> Severity:
        """The severity that is meant; a warning where nobody knows, said once: the alert itself matters more."""
        word = str(given.value if isinstance(given, Enum) else given).strip().casefold()
        meant = _SEVERITIES.get(word)
        if meant is None:
            line = reader_text(
                "training.voice.unknown_severity", names=", ".join(Severity), given=redacted_line(word, 80)
            )
            self._say_once(f"severity {word}", line)
        return meant or Severity.WARNING

    def _wait_s(self, given: object) -> float | None:
        """Seconds; None, which is the default, for what is no time, said once."""
        if given is None:
            return None
        seconds = given.total_seconds() if isinstance(given, timedelta) else given
        try:
            wait_s = math.nan if isinstance(seconds, str | bytes | bool) else float(seconds)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is a tensor's
            wait_s = math.nan
        if wait_s >= 0:
            return wait_s
        line = reader_text("training.voice.wait_is_no_time", given=redacted_line(f"{given!r:.200}", 80))
        self._say_once("wait_duration", line)
        return None

    def _say_once(self, about: str, line: str) -> None:
        if about not in self._said:
            self._said.add(about)
            log.warning("%s", line)

    def now(self) -> datetime:
        """The wall clock."""
        return self._clock.now()

    def now_s(self) -> float:
        """Seconds that never jump."""
        return self._clock.monotonic()

    def flush(self, timeout_s: float) -> None:
        """Wait before the process ends until all is sent, at most so long."""
        if self.session is not None:
            until_s = self.now_s() + timeout_s
            with self.guard("last_delivery"):
                self.session.shared.delivery.worker.finish(timeout_s)
                if self.session.dead_man is not None:
                    self.session.dead_man.flush(max(until_s - self.now_s(), 0.0))

    def forget_after_fork(self) -> None:
        """In a forked child: the run is the parent's, and nothing is done here."""
        self.session = None

    def tracker(self, name: str, timeout_s: float) -> Any:
        """The open tracker of that name, or None."""
        if self.session is None:
            return None
        with self.guard(f"tracker_handle {name}"):
            return self.session.tracker(name, timeout_s)
        return None

    def fact(self) -> dict[str, Any]:
        """Fields that every event of the run carries, made anew: id, run and time."""
        now = self._clock.now()
        return {"id": uuid7(now.timestamp()), "run": self._ref, "at": now}

    def emit(self, event: Event) -> None:
        """Hand an event to all who want it. May be called from any thread."""
        if self.session is not None:
            self.session.emit(event)
