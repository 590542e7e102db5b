"""Delivery policy: which notifier gets which event, how often and in what order. Pure: no clock, disk or network."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from enum import IntEnum
from statistics import median
from threading import RLock

from notifybot.events import (
    LONGEST_S,
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
from notifybot.preferences import AUTO, UNCHANGED, Every, Preferences, names
from notifybot.types import Progress, Reason, Severity, Status

KST = timezone(timedelta(hours=9), "KST")
OTHERS_LIVE_FOR = timedelta(hours=24)  # urgent deliveries have no age limit
ALERT_WAIT_S = 600.0  # between two alerts of one title, unless the call gives another wait
ALERTS_AT_ONCE = 5  # of each severity; then one every ALERT_REFILL_S
ALERT_REFILL_S = 300.0
STALL_EPOCHS, STALL_FLOOR_S, STALL_FIRST_S = 5.0, 600.0, 3600.0
_TITLES = 256
_NUMBER = re.compile(r"[-+]?\d+([.,:]\d+)*(e[-+]?\d+)?", re.IGNORECASE)
_RESERVED_SHARE = 0.4  # share of a day's messages, as KakaoTalk's 8 of 20
_ENDINGS = {
    Status.FINISHED: Severity.SUCCESS,
    Status.INTERRUPTED: Severity.WARNING,
    Status.FAILED: Severity.ERROR,
    Status.LOST: Severity.ERROR,
}


NEWS = (EpochFinished, CheckpointSaved)
"""Events that the next one of their kind makes superfluous."""


class Priority(IntEnum):
    """Order of delivery: the lower number goes first."""

    URGENT = 0  # endings, alerts, lost, stalled, recovered: never folded, never dropped for space
    NORMAL = 1  # start, checkpoint, a search's trial: the newest checkpoint replaces those that wait
    PROGRESS = 2  # epochs: the newest one replaces those that wait


@dataclass(frozen=True, slots=True)
class Pace:
    """Pace of a notifier: its limits on frequency, number and kinds of messages.

    `gap_s`: least seconds between any two sends. `progress_gap_s`: least seconds between two epoch messages of one
    run, and between two of its checkpoints. `folds`: waiting epoch messages collapse into the newest, and so do
    waiting checkpoints. `daily_budget`: messages a day (None: no limit), of which `reserved` are kept for urgent ones,
    half of these for endings and the like alone; days begin at midnight KST, as KakaoTalk counts them.
    `wants_checkpoints`: a checkpoint is worth a message of its own. `wants_held`: alerts beyond the limit too, as the
    watchdog records alerts for which no message is sent. `chosen` are the user's preferences for this notifier.
    """

    gap_s: float = 0.0
    progress_gap_s: float = 0.0
    folds: bool = True
    daily_budget: int | None = None
    reserved: int = 0
    wants_checkpoints: bool = True
    wants_held: bool = False
    chosen: Preferences = UNCHANGED

    def with_preferences(self, chosen: Preferences) -> Pace:
        """Return this pace with the user's preferences: other gaps for news, no more messages a day than it allows."""
        every = chosen.every or AUTO
        gap_s = self.progress_gap_s if every.seconds is None else every.seconds
        if chosen.daily is None:
            return replace(self, progress_gap_s=gap_s, chosen=chosen)
        budget = chosen.daily if self.daily_budget is None else min(chosen.daily, self.daily_budget)
        reserved = min(self.reserved or round(budget * _RESERVED_SHARE), budget // 2)
        return replace(self, progress_gap_s=gap_s, daily_budget=budget, reserved=reserved, chosen=chosen)

    def every(self, event: Event) -> Every:
        """Return the interval between messages of this kind about one run: in epochs if chosen so, else in seconds.

        A number of epochs says nothing of a run that counts steps, nor the reverse: such a run is told of as often as
        the notifier does by itself. AUTO: every event, as it comes. A pass over the outbox and `notifybot test
        --explain` both go by this.
        """
        chosen = self.chosen.every or AUTO
        if isinstance(event, EpochFinished) and chosen.epochs is not None and chosen.unit == event.progress.unit:
            return chosen
        return Every(seconds=self.progress_gap_s) if self.progress_gap_s and isinstance(event, NEWS) else AUTO

    def kept_from(self, event: Event) -> int:
        """Return how many of a day's messages such an event must leave to more urgent ones.

        Alerts leave half as many as news: a loop of them must not use up the message that the run has ended.
        """
        if isinstance(event, AlertRaised):
            return (self.reserved + 1) // 2
        return 0 if priority_of(event) is Priority.URGENT else self.reserved


def priority_of(event: Event) -> Priority:
    """Return the priority of an event."""
    match event:
        case AlertRaised(held=True) | AlertRaised(severity=Severity.INFO, progress=Progress(unit="trial")):
            return Priority.NORMAL  # ten quick trials must not keep the search's result and its end beyond the exit
        case RunEnded() | AlertRaised() | RunStalled() | RunLost() | RunRecovered():
            return Priority.URGENT
        case RunStarted() | CheckpointSaved():
            return Priority.NORMAL
        case EpochFinished():
            return Priority.PROGRESS


def severity_of(event: Event) -> Severity:
    """Return the severity of an event."""
    match event:
        case AlertRaised():
            return event.severity
        case RunEnded():
            return _ENDINGS.get(event.status, Severity.INFO)
        case RunLost():
            return Severity.ERROR
        case RunStalled():
            return Severity.WARNING
        case RunRecovered():
            return Severity.SUCCESS
        case EpochFinished():
            return Severity.SUCCESS if event.new_best else Severity.INFO
        case RunStarted() | CheckpointSaved():
            return Severity.INFO


def calls_people(event: Event) -> bool:
    """True when a message should mention the people named in the settings: a run failed, hangs or is lost, or an alert
    is an error. Never for a notice about delivery itself.
    """
    match event:
        case AlertRaised():
            return event.severity is Severity.ERROR and not (event.about == "delivery" and event.notice is not None)
        case RunEnded():
            return event.status is Status.FAILED
    return isinstance(event, RunLost | RunStalled)


def carry_best(newest: EpochFinished, folded: EpochFinished) -> EpochFinished:
    """Return the newest epoch for a message that also replaces `folded`, keeping the new best that one had."""
    name = folded.new_best
    if name is None or newest.new_best is not None:
        return newest
    before = folded.progress.metrics
    metrics = {key: before[key] for key in (name,) if key in before} | newest.progress.metrics
    return replace(newest, new_best=name, progress=replace(newest.progress, metrics=metrics))


class Unwanted(IntEnum):
    """Reason why an event is not sent to a notifier at all."""

    ROUTE = 1  # the run is not one of its projects or runs
    KIND = 2  # the user chose other kinds
    SEVERITY = 3  # it is not severe enough
    CHECKPOINT = 4  # not worth one of the notifier's few messages, unless the user chose it
    HELD = 5  # an alert beyond the limit: counted in the next one that is sent, or in the ending
    JOINED = 6  # the start of a session in a run whose start was sent


def unwanted(pace: Pace, event: Event) -> Unwanted | None:
    """Return the reason why an event is not sent to a notifier of this pace; None if it is.

    A run's ending, loss, stall or recovery passes every `min_severity`: only a list of kinds can exclude it.
    """
    chosen = pace.chosen
    if (chosen.projects or chosen.runs) and any(route.fitting is None for route in chosen.routes(event.run)):
        return Unwanted.ROUTE
    if isinstance(event, AlertRaised) and event.held and not pace.wants_held:
        return Unwanted.HELD
    if isinstance(event, RunStarted) and event.joins and not pace.wants_held:
        return Unwanted.JOINED
    if chosen.events is not None and not names(chosen.events, event):
        return Unwanted.KIND
    fate = isinstance(event, RunEnded | RunLost | RunStalled | RunRecovered)
    if chosen.min_severity is not Severity.INFO and not fate and severity_of(event).rank < chosen.min_severity.rank:
        return Unwanted.SEVERITY
    if chosen.events is None and isinstance(event, CheckpointSaved) and not pace.wants_checkpoints:
        return Unwanted.CHECKPOINT
    return None


def wants(pace: Pace, event: Event) -> bool:
    """True when the event is sent to a notifier of this pace."""
    return unwanted(pace, event) is None


@dataclass(frozen=True, slots=True)
class HoldBack:
    """Held back: ask again at `until`. With `kept_back` it then goes in one digest with all others kept back."""

    until: datetime
    why: Reason
    kept_back: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Refused for good: count the delivery as dropped."""

    why: Reason


@dataclass(frozen=True, slots=True)
class PaceFacts:
    """Facts about a notifier's earlier messages on which its pace depends.

    `last_news_at`: time of its last message of the same kind about the same run. `last_done`: finished epochs in its
    last epoch message about the run. `today`: its messages since midnight KST. `left`: messages that the service still
    takes today, if known. `kept_back`: the delivery was kept back before.
    """

    last_news_at: datetime | None = None
    last_done: int = 0
    today: int = 0
    left: int | None = None
    kept_back: bool = False


NOTHING = PaceFacts()


def admit(pace: Pace, event: Event, facts: PaceFacts = NOTHING, *, now: datetime) -> HoldBack | Refuse | None:
    """Decide whether a due delivery may go out now; None means yes."""
    quiet = pace.chosen.quiet
    if quiet is not None and quiet.covers(now) and not names(pace.chosen.quiet_lets, event):
        return HoldBack(quiet.over_at(now), Reason("held.quiet_hours"), kept_back=True)
    if not facts.kept_back:
        every = pace.every(event)
        step = every.epochs or 1
        if step > 1 and event.progress.done // step == facts.last_done // step:
            return Refuse(Reason(f"held.every_{every.unit}s", values={f"{every.unit}s": str(step)}))
        if facts.last_news_at is not None:
            next_at = facts.last_news_at + timedelta(seconds=every.seconds or 0.0)
            if next_at > now:
                return HoldBack(next_at, Reason("held.gap"))
    left = [] if pace.daily_budget is None else [pace.daily_budget - facts.today]
    left += [] if facts.left is None else [facts.left]
    if left and min(left) <= pace.kept_from(event):
        return HoldBack(next_midnight(now), Reason("held.daily_budget"), kept_back=True)
    return None


@dataclass(frozen=True, slots=True)
class HeldAlerts:
    """Numbers of alerts held since the last one sent: `same` of its title, `others` of titles never sent."""

    same: int = 0
    others: int = 0


@dataclass(slots=True)
class _Title:
    sent_s: float
    held: int = 0


class AlertLimit:
    """Rate limit for the alerts of one run's code, which may raise them in a loop. Its memory is bounded.

    A title passes once in `ALERT_WAIT_S` seconds (numbers aside: "loss 0.31" and "loss 0.29" are one title), and of
    each severity `ALERTS_AT_ONCE` pass at once, then one per `ALERT_REFILL_S` seconds: a flood of warnings leaves room
    for errors. Held alerts are counted until a message gives their number. Callable from any thread and, as its lock is
    reentrant, from a signal handler.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._titles: dict[str, _Title] = {}
        self._room: dict[Severity, tuple[float, float]] = {}
        self._others = 0

    @property
    def held(self) -> int:
        """Number of held alerts that no message has counted yet."""
        with self._lock:
            return self._others + sum(each.held for each in self._titles.values())

    def admit(self, title: str, severity: Severity, now_s: float, wait_s: float | None = None) -> HeldAlerts | None:
        """Return the numbers held since the last alert if this one is to be sent; None if it is held.

        `wait_s`: the least seconds between two of exactly this title. 0: every one, as far as its severity has room.
        """
        key = _NUMBER.sub("0", title) if wait_s is None else title
        with self._lock:
            known = self._titles.get(key)
            early = known is not None and now_s - known.sent_s < (ALERT_WAIT_S if wait_s is None else wait_s)
            if early or not self._takes(severity, now_s):
                if known is None:
                    self._others += 1
                else:
                    known.held += 1
                return None
            held = HeldAlerts(known.held if known else 0, self._others)
            self._others = 0
            self._titles.pop(key, None)
            self._titles[key] = _Title(now_s)  # reinserted last: the first entry is the oldest
            if len(self._titles) > _TITLES:
                self._others += self._titles.pop(next(iter(self._titles))).held
            return held

    def _takes(self, severity: Severity, now_s: float) -> bool:
        room, at_s = self._room.get(severity, (float(ALERTS_AT_ONCE), now_s))
        room = min(room + (now_s - at_s) / ALERT_REFILL_S, float(ALERTS_AT_ONCE))
        takes = room >= 1
        self._room[severity] = (room - takes, now_s)
        return takes


def stall_limit_s(
    progress: Progress,
    epochs_s: Iterable[float] | None = None,
    *,
    epochs: float = STALL_EPOCHS,
    floor_s: float = STALL_FLOOR_S,
    first_s: float = STALL_FIRST_S,
) -> float:
    """Return the seconds that a run's loop may stand still: `epochs` typical epochs, at least `floor_s`.

    Typical is the longer of the last epoch and the median of the latest ones, so that one quick epoch causes no alarm.
    Before a first epoch is done (data is fetched, kernels are compiled) it is `first_s`. `epochs_s`: durations of the
    latest epochs of the present session, None if unknown. A resumed session fetches its data again, so its first epoch
    gets as much time as that of a new run.
    """
    known = None if epochs_s is None else [each for each in epochs_s if believable_s(each)]
    if progress.done == 0 or known == []:
        return first_s
    typical_s = max(believable_s(progress.epoch_s), median(known or [0.0]))
    return max(epochs * typical_s, floor_s) if typical_s else first_s


def believable_s(seconds: float | None) -> float:
    """Return a valid duration, or 0 for any other: older versions stored durations without checking them."""
    return seconds if seconds is not None and 0 <= seconds <= LONGEST_S else 0.0


def too_old(priority: Priority, created_at: datetime, now: datetime) -> bool:
    """True when a delivery that cannot get through should be given up."""
    return priority is not Priority.URGENT and now - created_at > OTHERS_LIVE_FOR


def day_of(moment: datetime) -> str:
    """The calendar day of a moment in Korea, such as "2026-11-23"."""
    return moment.astimezone(KST).date().isoformat()


def day_start(moment: datetime) -> datetime:
    """The latest midnight in Korea before `moment`, in the moment's own time zone."""
    local = moment.astimezone(KST)
    return local.replace(hour=0, minute=0, second=0, microsecond=0).astimezone(moment.tzinfo)


def next_midnight(moment: datetime) -> datetime:
    """The next midnight in Korea after `moment`, in the moment's own time zone."""
    return day_start(moment) + timedelta(days=1)
