"""Who is told what, how often, and in what order. Pure: no clock, no disk, no network."""

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
ALERT_WAIT_S = 600.0  # between two alerts of one title, where the call does not say
ALERTS_AT_ONCE = 5  # of each severity; then one every ALERT_REFILL_S
ALERT_REFILL_S = 300.0
STALL_EPOCHS, STALL_FLOOR_S, STALL_FIRST_S = 5.0, 600.0, 3600.0
_TITLES = 256
_NUMBER = re.compile(r"[-+]?\d+([.,:]\d+)*(e[-+]?\d+)?", re.IGNORECASE)
_RESERVED_SHARE = 0.4  # of a day's messages, as KakaoTalk's 8 of 20
_ENDINGS = {
    Status.FINISHED: Severity.SUCCESS,
    Status.INTERRUPTED: Severity.WARNING,
    Status.FAILED: Severity.ERROR,
    Status.LOST: Severity.ERROR,
}


class Priority(IntEnum):
    """Order of delivery: the lower number goes first."""

    URGENT = 0  # endings, alerts, lost, stalled, recovered: never folded, never dropped for space
    NORMAL = 1  # start, checkpoint: the newest checkpoint replaces those that wait
    PROGRESS = 2  # epochs: the newest one replaces those that wait


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a notifier may speak, and of what.

    `gap_s`: least seconds between any two sends. `progress_gap_s`: least seconds between two epoch messages of one
    run, and between two of its checkpoints. `folds`: waiting epoch messages collapse into the newest, and so do
    waiting checkpoints. `daily_budget`: messages a day (None: no limit), of which `reserved` are kept for urgent ones,
    half of these for endings and the like alone; days begin at midnight KST, where KakaoTalk counts (facts: quota).
    `wants_checkpoints`: a checkpoint is worth a message of its own. `wants_held`: alerts beyond the limit too, as the
    watchdog keeps what nobody is told. `chosen` is what people want of it beside that.
    """

    gap_s: float = 0.0
    progress_gap_s: float = 0.0
    folds: bool = True
    daily_budget: int | None = None
    reserved: int = 0
    wants_checkpoints: bool = True
    wants_held: bool = False
    chosen: Preferences = UNCHANGED

    def shaped(self, chosen: Preferences) -> Pace:
        """This pace as people want it: news more or less often, but never more messages a day than it allows."""
        every = chosen.every or AUTO
        gap_s = self.progress_gap_s if every.seconds is None else every.seconds
        if chosen.daily is None:
            return replace(self, progress_gap_s=gap_s, chosen=chosen)
        budget = chosen.daily if self.daily_budget is None else min(chosen.daily, self.daily_budget)
        reserved = min(self.reserved or round(budget * _RESERVED_SHARE), budget // 2)
        return replace(self, progress_gap_s=gap_s, daily_budget=budget, reserved=reserved, chosen=chosen)

    @property
    def may_keep_back(self) -> bool:
        """True when some messages may have to wait for quiet hours or a day to end."""
        return self.chosen.quiet is not None or self.daily_budget is not None

    def every(self, event: Event) -> Every:
        """How often events of this kind are told of one run: by epochs where people count these, else by time.

        AUTO: each, as it comes. A pass over the outbox and `notifybot test --explain` both go by this.
        """
        epochs = (self.chosen.every or AUTO).epochs
        if isinstance(event, EpochFinished) and epochs is not None:
            return Every(epochs=epochs)
        return Every(seconds=self.progress_gap_s) if is_news(event) and self.progress_gap_s else AUTO

    def gap_after(self, event: Event) -> float:
        """Seconds to the next message of this kind about the same run; who counts epochs waits for no time."""
        return self.every(event).seconds or 0.0

    def kept_from(self, event: Event) -> int:
        """How many of a day's messages such an event leaves to what matters more.

        Alerts leave half of what news do: a loop of them must not cost people the message that the run has ended.
        """
        if isinstance(event, AlertRaised):
            return (self.reserved + 1) // 2
        return 0 if priority_of(event) is Priority.URGENT else self.reserved


def priority_of(event: Event) -> Priority:
    """How urgent an event is to a person."""
    match event:
        case AlertRaised(held=True):
            return Priority.NORMAL
        case RunEnded() | AlertRaised() | RunStalled() | RunLost() | RunRecovered():
            return Priority.URGENT
        case RunStarted() | CheckpointSaved():
            return Priority.NORMAL
        case EpochFinished():
            return Priority.PROGRESS


def severity_of(event: Event) -> Severity:
    """How much a person should care about an event."""
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
    """True when somebody is to be called, where the settings name them: a run failed, hangs or is lost, an alert says
    error, or a digest holds one of these. Never for what is told about delivery itself.
    """
    match event:
        case AlertRaised():
            return event.severity is Severity.ERROR and not (event.about == "delivery" and event.notice is not None)
        case RunEnded():
            return event.status is Status.FAILED
    return isinstance(event, RunLost | RunStalled)


def is_news(event: Event) -> bool:
    """True when the event tells how a run comes along: the next one of its kind says all that it says."""
    return isinstance(event, EpochFinished | CheckpointSaved)


def carry_best(newest: EpochFinished, folded: EpochFinished) -> EpochFinished:
    """The newest epoch as it is told in place of an older one that was a new best: nobody misses the best."""
    name = folded.new_best
    if name is None or newest.new_best is not None:
        return newest
    before = folded.progress.metrics
    metrics = {key: before[key] for key in (name,) if key in before} | newest.progress.metrics
    return replace(newest, new_best=name, progress=replace(newest.progress, metrics=metrics))


class Unwanted(IntEnum):
    """Why a notifier is not told of an event at all."""

    ROUTE = 1  # the run is not one of its projects or runs
    KIND = 2  # people chose other kinds
    SEVERITY = 3  # it is not severe enough
    CHECKPOINT = 4  # not worth one of the notifier's few messages, unless people choose it
    HELD = 5  # an alert beyond the limit: counted in the next one that is told, or in the ending


def unwanted(pace: Pace, event: Event) -> Unwanted | None:
    """Why a notifier of this pace is not to be told of the event; None when it is.

    How a run ends, falls silent or comes back is severe enough for everybody: only a list of kinds leaves that out.
    """
    chosen = pace.chosen
    if not chosen.concerns(event.run):
        return Unwanted.ROUTE
    if isinstance(event, AlertRaised) and event.held and not pace.wants_held:
        return Unwanted.HELD
    if chosen.events is not None and not names(chosen.events, event):
        return Unwanted.KIND
    fate = priority_of(event) is Priority.URGENT and not isinstance(event, AlertRaised)
    if not fate and severity_of(event).rank < chosen.min_severity.rank:
        return Unwanted.SEVERITY
    if chosen.events is None and isinstance(event, CheckpointSaved) and not pace.wants_checkpoints:
        return Unwanted.CHECKPOINT
    return None


def wants(pace: Pace, event: Event) -> bool:
    """True when a notifier of this pace is to be told of the event at all."""
    return unwanted(pace, event) is None


@dataclass(frozen=True, slots=True)
class HoldBack:
    """Not now: ask again at `until`. Kept back, it is told in one message with all that is, when that may go."""

    until: datetime
    why: Reason
    kept_back: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not at all: count it as dropped."""

    why: Reason


@dataclass(frozen=True, slots=True)
class PaceFacts:
    """What a notifier has told before a delivery is due, as far as its pace depends on it.

    `last_news_at`: when it last told news of the same kind of the same run. `last_done`: how many epochs the last one
    of the run that it told had finished. `today`: its messages since midnight KST. `left`: how many more the service
    takes today, where it can say. `kept_back`: the delivery has waited for that.
    """

    last_news_at: datetime | None = None
    last_done: int = 0
    today: int = 0
    left: int | None = None
    kept_back: bool = False


NOTHING = PaceFacts()


def admit(pace: Pace, event: Event, told: PaceFacts = NOTHING, *, now: datetime) -> HoldBack | Refuse | None:
    """Decide whether a due delivery may go out now; None means yes."""
    quiet = pace.chosen.quiet
    if quiet is not None and quiet.covers(now) and not names(pace.chosen.quiet_lets, event):
        return HoldBack(quiet.over_at(now), Reason("held.quiet_hours"), kept_back=True)
    early = None if told.kept_back else _in_step(pace, event, told, now)
    return early or _within_budget(pace, event, told, now)


def _in_step(pace: Pace, event: Event, told: PaceFacts, now: datetime) -> HoldBack | Refuse | None:
    step = pace.every(event).epochs or 1
    if step > 1 and event.progress.done // step == told.last_done // step:
        return Refuse(Reason("held.every_epochs", values={"epochs": str(step)}))
    if told.last_news_at is not None:
        next_at = told.last_news_at + timedelta(seconds=pace.gap_after(event))
        if next_at > now:
            return HoldBack(next_at, Reason("held.gap"))
    return None


def _within_budget(pace: Pace, event: Event, told: PaceFacts, now: datetime) -> HoldBack | None:
    ours = None if pace.daily_budget is None else pace.daily_budget - told.today
    left = min((each for each in (ours, told.left) if each is not None), default=None)
    if left is None or left > pace.kept_from(event):
        return None
    return HoldBack(next_midnight(now), Reason("held.daily_budget"), kept_back=True)


@dataclass(frozen=True, slots=True)
class Untold:
    """Alerts held since the last one that was told: `same` of its title, and `others` of titles never told."""

    same: int = 0
    others: int = 0


@dataclass(slots=True)
class _Title:
    told_s: float
    held: int = 0


class AlertLimit:
    """Which of the alerts that one run's code raises people are told of, be they raised in a loop. Bounded itself.

    A title is told once in a while (digits aside: "loss 0.31" and "loss 0.29" are one), and of each severity only so
    many at a time, whatever their titles, so that a flood of warnings leaves errors their room. What is held is counted
    until it is told as a number. From any thread, a signal's handler within a call of its own thread included.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._titles: dict[str, _Title] = {}
        self._room: dict[Severity, tuple[float, float]] = {}
        self._others = 0

    @property
    def held(self) -> int:
        """How many alerts nobody was told of, not even as a number."""
        with self._lock:
            return self._others + sum(each.held for each in self._titles.values())

    def admit(self, title: str, severity: Severity, now_s: float, wait_s: float | None = None) -> Untold | None:
        """Return what was held since the last one where this alert is to be told; None where it is held.

        `wait_s`: the least seconds between two of exactly this title. 0: each, as far as its severity has room.
        """
        key = _NUMBER.sub("0", title) if wait_s is None else title
        with self._lock:
            known = self._titles.get(key)
            early = known is not None and now_s - known.told_s < (ALERT_WAIT_S if wait_s is None else wait_s)
            if early or not self._takes(severity, now_s):
                self._hold(known)
                return None
            untold = Untold(known.held if known else 0, self._others)
            self._others = 0
            self._titles.pop(key, None)
            self._titles[key] = _Title(now_s)  # at the end: the first is the one that was told longest ago
            if len(self._titles) > _TITLES:
                self._others += self._titles.pop(next(iter(self._titles))).held
            return untold

    def _hold(self, known: _Title | None) -> None:
        if known is None:
            self._others += 1
        else:
            known.held += 1

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
    """How long a run's loop may stand still: so many of its own epochs, at least `floor_s`.

    The longer of the last epoch and the median of the latest ones is typical: one quick epoch accuses nobody. Before a
    first epoch is done (data is fetched, kernels are compiled) it is `first_s`. `epochs_s` are the durations of the
    latest epochs of the present session, None where they are unknown: a resumed session fetches its data anew, so its
    first epoch is waited for as patiently as that of a new run.
    """
    known = None if epochs_s is None else [each for each in epochs_s if believable_s(each)]
    if progress.done == 0 or known == []:
        return first_s
    typical_s = max(believable_s(progress.epoch_s), median(known or [0.0]))
    return max(epochs * typical_s, floor_s) if typical_s else first_s


def believable_s(seconds: float | None) -> float:
    """A duration to reckon with, or 0: what was stored before such were refused at the door may be anything."""
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
