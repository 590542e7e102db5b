"""Alerts beside a run: its rules, asked at each epoch's end and each look at the machine, and its code's own."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Literal, Protocol

from notifybot.alerts import DEFAULT, AlertRule, rules_of
from notifybot.alerts.base import Reading, Rule
from notifybot.alerts.incidents import Incidents, incidents_of
from notifybot.alerts.rules import OF_THE_MACHINE, LowDisk, NonFinite
from notifybot.clock import SYSTEM, Clock
from notifybot.errors import reader_text, system_words
from notifybot.events import AlertRaised, Event
from notifybot.files import path_text
from notifybot.policy import AlertLimit, HeldAlerts
from notifybot.rendering.alert_text import RenderedAlert, cleared, raised, unlogged
from notifybot.rendering.text import redacted, redacted_line
from notifybot.store.database import Store
from notifybot.store.pictures import LARGEST_BYTES, keep_picture, suffix_of
from notifybot.training.guard import Guard
from notifybot.training.machine_sampler import PeriodicSampler, Sampler
from notifybot.training.progress import MonitoredMetric
from notifybot.training.run_info import TEXT_CHARS, TITLE_CHARS
from notifybot.types import Language, Notice, Progress, Severity

log = logging.getLogger("notifybot")

_NONE_HELD = HeldAlerts()


class MonitoredRun(Protocol):
    """A run as its alerts see it."""

    guard: Guard

    @property
    def name(self) -> str:
        """The name that people read."""
        ...

    @property
    def active(self) -> bool:
        """True between start and end, in the process that reports the run."""
        ...

    @property
    def progress(self) -> Progress:
        """Progress of the run: epochs done, metrics, best values, the latest checkpoint."""
        ...

    def fact(self) -> dict[str, Any]:
        """The fields that all events of the run share, made anew."""
        ...

    def emit(self, event: Event) -> None:
        """Hand an event to all who want it. From any thread."""
        ...


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule, what is open under it, and what its faults are counted under."""

    rule: AlertRule
    incidents: Incidents
    fault: str


class AlertMonitor:
    """The rules of one run. Raises UsageError when made; later nothing: a rule's faults are counted by the run's guard.

    Incidents outlive a session as far as the run's progress remembers its metrics: what was open when it ended is not
    reported again. Each session looks at its own machine and times its own epochs, and reports those anew.
    """

    def __init__(
        self,
        alerts: Iterable[AlertRule] = DEFAULT,
        *,
        language: Language,
        monitor: str | None = None,
        folders: Iterable[str | PathLike[str]] = (),
        clock: Clock = SYSTEM,
    ) -> None:
        watch = MonitoredMetric(monitor)
        posts = [_post(rule, watch) for rule in rules_of(alerts)]
        self._at_epochs = [post for post in posts if not isinstance(post.rule, OF_THE_MACHINE)]
        self._at_looks = [post for post in posts if isinstance(post.rule, OF_THE_MACHINE)]
        self._within_epochs = [post for post in posts if isinstance(post.rule, NonFinite)]
        disks = [post.rule for post in self._at_looks if isinstance(post.rule, LowDisk)]
        self._sampler = Sampler(
            ours=[fspath(folder) for folder in folders] if any(not rule.paths for rule in disks) else [],
            named=[path for rule in disks for path in rule.paths],
            gpus=len(disks) < len(self._at_looks),
        )
        self._language = language
        self._clock = clock
        self._lock = threading.Lock()  # two threads read the metrics that rules are shown
        self._waiting: set[str] | None = {
            name for post in posts if isinstance(post.rule, Rule) for name in post.rule.metrics
        }
        self._lookout: PeriodicSampler | None = None
        self._run: MonitoredRun | None = None

    def begin(self, run: MonitoredRun) -> None:
        """The run has begun: go on from what earlier sessions reported, and look at the machine where a rule asks."""
        self._run = run
        progress = run.progress
        if progress.metrics:
            for post in self._at_epochs:
                with run.guard(post.fault, loud=()):
                    post.incidents.take_up(progress)
        if self._waiting is not None:
            self._waiting -= progress.metrics.keys()
        if self._at_looks:
            self._lookout = PeriodicSampler(self.look, clock=self._clock)
            self._lookout.start()

    def epoch_ended(self, progress: Progress) -> None:
        """An epoch is over and reported: ask every rule about its means."""
        values = {name: metric.value for name, metric in progress.metrics.items()}
        epoch_s = progress.epoch_s if progress.unit == "epoch" else None  # other reports come as they do: none is slow
        self._ask(self._at_epochs, Reading(values, epoch_s, progress))
        if self._waiting is not None and progress.unit == "epoch":  # a first step has no validation yet
            missing, self._waiting = sorted(self._waiting - values.keys()), None
            if missing:
                self._raise(unlogged(missing, list(values), self._language))

    def values_so_far(self, values: Mapping[str, float]) -> None:
        """Sums of the open epoch that are not finite any more: reported now. May be called from any thread."""
        if values:
            self._ask(self._within_epochs, Reading(values))

    def look(self) -> None:
        """Ask the rules about the machine. Called by a thread of its own, as a disk may hang."""
        run = self._run
        if run is None or not run.active:
            self.end()
            return
        with run.guard("machine", loud=()):
            seen = self._sampler.look(self._clock.monotonic())
            self._ask(self._at_looks, Reading(machine=seen))

    def end(self) -> None:
        """Look no more. Ending twice is fine."""
        if self._lookout is not None:
            self._lookout.stop()

    def _ask(self, posts: Iterable[RuleState], reading: Reading) -> None:
        run = self._run
        if run is None:
            return
        for post in posts:
            with run.guard(post.fault, loud=()):
                with self._lock:
                    news = post.incidents.see(reading)
                if news.raised:
                    self._raise(raised(news.raised, self._language, run.progress.unit))
                if news.cleared:
                    self._raise(cleared(news.cleared, self._language, run.progress.unit))

    def _raise(self, alert: RenderedAlert | None) -> None:
        """Not by `Run.alert`: to the watchdog an alert of a thread would look as if the loop had moved."""
        run = self._run
        if run is None or alert is None or not run.active:
            return
        raise_alert(run, alert.words.title, alert.words.text, alert.severity)


def _post(rule: AlertRule, watch: MonitoredMetric) -> RuleState:
    kind = type(rule).__name__ if isinstance(rule, Rule) else getattr(rule, "__name__", type(rule).__name__)
    return RuleState(rule, incidents_of(rule, watch.direction_for), f"alert_rule {redacted_line(str(kind), 80)}")


_SEVERITIES = {each.value: each for each in Severity} | {
    "warn": Severity.WARNING,  # as W&B's AlertLevel says it
    "critical": Severity.ERROR,
    "fatal": Severity.ERROR,
}


class AlertsByCode:
    """Alerts that the training code raises: in any form that is meant, and limited, as a loop may raise them."""

    def __init__(self) -> None:
        self.limit = AlertLimit()
        self._said: set[str] = set()

    def raise_one(
        self,
        run: MonitoredRun,
        title: object,
        text: object,
        severity: object,
        wait_duration: object,
        *,
        now_s: float,
        picture: object = None,
        store: Store | None = None,
    ) -> None:
        """Raise an alert, or record it as held. What cannot be meant is logged once: the alert itself matters more.

        Its `picture` is kept beside the `store`; why there is none is added to the text.
        """
        meant, wait_s = self._severity(severity), self._wait_s(wait_duration)
        line = redacted_line(str(title), TITLE_CHARS)
        held = self.limit.admit(line, meant, now_s, wait_s)
        if held is None and not run.active:
            self._say_once("after_end", "too_many_alerts_after_end", name=run.name)
        fact, name = run.fact(), ""
        if picture is not None and store is not None and held is not None:
            name, why = _kept(run, store, str(fact["id"]), picture)
            text = "\n".join(filter(None, (redacted(str(text), TEXT_CHARS - len(why) - 1), why)))
        raise_alert(run, line, text, meant, held=held, fact=fact, picture=name)

    def _severity(self, given: object) -> Severity:
        word = str(given.value if isinstance(given, Enum) else given).strip().casefold()
        meant = _SEVERITIES.get(word)
        if meant is None:
            shown = redacted_line(word, 80)
            self._say_once(f"severity {word}", "unknown_severity", names=", ".join(Severity), given=shown)
        return meant or Severity.WARNING

    def _wait_s(self, given: object) -> float | None:
        """Seconds between two of one title; None, which is the default, for what is no time."""
        if given is None:
            return None
        seconds = given.total_seconds() if isinstance(given, timedelta) else given
        try:
            wait_s = math.nan if isinstance(seconds, str | bytes | bool) else float(seconds)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is a tensor's
            wait_s = math.nan
        if wait_s >= 0:
            return wait_s
        self._say_once("wait_duration", "wait_is_no_time", given=redacted_line(f"{given!r:.200}", 80))
        return None

    def _say_once(self, about: str, key: str, **values: object) -> None:
        if about not in self._said:
            self._said.add(about)
            log.warning("%s", reader_text(f"training.alert_monitor.{key}", **values))


def raise_alert(
    run: MonitoredRun,
    title: object,
    text: object,
    severity: Severity,
    *,
    about: Literal["", "checkpoint"] = "",
    notice: Notice | None = None,
    held: HeldAlerts | None = _NONE_HELD,
    fact: Mapping[str, Any] | None = None,
    picture: str = "",
) -> None:
    """Emit an alert within its bounds, without secrets. `held`: those it counts; None: it is held itself."""
    run.emit(
        AlertRaised(
            **(fact or run.fact()),
            title=redacted_line(str(title), TITLE_CHARS),
            text=redacted(str(text), TEXT_CHARS),
            severity=severity,
            about=about,
            progress=run.progress,
            notice=notice,
            picture=picture,
            held=held is None,
            same=held.same if held else 0,
            others=held.others if held else 0,
        )
    )


# ── The picture of an alert ──────────────────────────────────────────────────────────────────────────────────────────


def _kept(run: MonitoredRun, store: Store, event_id: str, picture: object) -> tuple[str, str]:
    """Keep a picture for an event; return its name, or else a line that says why it is missing. Nothing is raised."""
    found: bytes | str = reader_text("training.alert_monitor.picture_was_not_made")
    with run.guard("alert_picture", loud=()):
        found = _content_of(picture)
        if isinstance(found, bytes):
            return keep_picture(store, event_id, found), ""
    return "", reader_text("training.alert_monitor.picture_is_missing", why=found)


def _content_of(picture: object) -> bytes | str:
    """Return a picture as PNG or JPEG, or why it cannot be sent. May raise whatever drawing raises."""
    if isinstance(picture, str | PathLike):
        found = _read(Path(picture).expanduser())
    elif callable(draw := getattr(picture, "savefig", None)):  # a figure of matplotlib's, or what holds one
        drawn = BytesIO()
        draw(drawn, format="png")
        found = drawn.getvalue()
    else:
        return reader_text("training.alert_monitor.picture_is_neither", kind=type(picture).__name__)
    if isinstance(found, bytes) and len(found) > LARGEST_BYTES:
        return reader_text("training.alert_monitor.picture_is_too_large", most=LARGEST_BYTES // 2**20)
    if isinstance(found, bytes) and not suffix_of(found):
        return reader_text("training.alert_monitor.picture_is_no_png")
    return found


def _read(path: Path) -> bytes | str:
    try:
        if not path.is_file():  # a pipe would hold up the training
            return reader_text("training.alert_monitor.picture_is_not_there", path=path_text(path))
        with path.open("rb") as file:
            return file.read(LARGEST_BYTES + 1)
    except OSError as error:
        why = system_words(error)
        return reader_text("training.alert_monitor.picture_cannot_be_read", path=path_text(path), why=why)
