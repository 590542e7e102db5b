"""Alerts beside a run: its rules, asked at the end of each epoch and at each look at the machine."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, Protocol

from notifybot.alerts import DEFAULT, AlertRule, rules_of
from notifybot.alerts.base import Reading, Rule
from notifybot.alerts.incidents import Incidents, incidents_of
from notifybot.alerts.rules import OF_THE_MACHINE, LowDisk, NonFinite
from notifybot.clock import SYSTEM, Clock
from notifybot.events import AlertRaised, Event
from notifybot.rendering.alert_text import Told, cleared, raised, unlogged
from notifybot.rendering.text import redacted, redacted_line
from notifybot.training.guard import Guard
from notifybot.training.machine_sampler import PeriodicSampler, Sampler
from notifybot.training.progress import MonitoredMetric
from notifybot.training.run_info import TEXT_CHARS, TITLE_CHARS
from notifybot.types import Language, Progress


class MonitoredRun(Protocol):
    """A run as its alerts see it."""

    guard: Guard

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
        self._sampler = _sampler([post.rule for post in self._at_looks], folders)
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
        self._ask(self._at_epochs, Reading(values, progress.epoch_s, progress))
        if self._waiting is not None:
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
                    self._raise(raised(news.raised, self._language))
                if news.cleared:
                    self._raise(cleared(news.cleared, self._language))

    def _raise(self, alert: Told | None) -> None:
        """Not by `Run.alert`: to the watchdog an alert of a thread would look as if the loop had moved."""
        run = self._run
        if run is None or alert is None or not run.active:
            return
        run.emit(
            AlertRaised(
                **run.fact(),
                title=redacted_line(str(alert.words.title), TITLE_CHARS),
                text=redacted(str(alert.words.text), TEXT_CHARS),
                severity=alert.severity,
                progress=run.progress,
            )
        )


def _post(rule: AlertRule, watch: MonitoredMetric) -> RuleState:
    kind = type(rule).__name__ if isinstance(rule, Rule) else getattr(rule, "__name__", type(rule).__name__)
    return RuleState(rule, incidents_of(rule, watch.direction_for), f"alert_rule {redacted_line(str(kind), 80)}")


def _sampler(rules: Iterable[AlertRule], folders: Iterable[str | PathLike[str]]) -> Sampler:
    disks = [rule for rule in rules if isinstance(rule, LowDisk)]
    ours = [fspath(folder) for folder in folders] if any(not rule.paths for rule in disks) else []
    named = [path for rule in disks for path in rule.paths]
    return Sampler(ours=ours, named=named, gpus=any(not isinstance(rule, LowDisk) for rule in rules))
