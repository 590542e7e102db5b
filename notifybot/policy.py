"""Who is told what, how often, and in what order. Pure: no clock, no disk, no network."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from enum import IntEnum

from notifybot.events import (
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

KST = timezone(timedelta(hours=9), "KST")
OTHERS_LIVE_FOR = timedelta(hours=24)  # urgent deliveries have no age limit


class Priority(IntEnum):
    """Order of delivery: the lower number goes first."""

    URGENT = 0  # endings, alerts, lost, stalled, recovered: never folded, never dropped for space
    NORMAL = 1  # start, checkpoint: the newest checkpoint replaces those that wait
    PROGRESS = 2  # epochs: the newest one replaces those that wait


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a notifier may speak.

    `gap_s`: least seconds between any two sends. `progress_gap_s`: least seconds between two epoch messages of one
    run, and between two of its checkpoints. `folds`: waiting epoch messages collapse into the newest, and so do
    waiting checkpoints. `daily_budget`: messages a day (None: no limit), of which `reserved` are kept for urgent ones;
    days begin at midnight KST, where KakaoTalk counts (facts: quota). `wants_checkpoints`: a checkpoint is worth a
    message of its own.
    """

    gap_s: float = 0.0
    progress_gap_s: float = 0.0
    folds: bool = True
    daily_budget: int | None = None
    reserved: int = 0
    wants_checkpoints: bool = True


def priority_of(event: Event) -> Priority:
    """How urgent an event is to a person."""
    match event:
        case RunEnded() | AlertRaised() | RunStalled() | RunLost() | RunRecovered():
            return Priority.URGENT
        case RunStarted() | CheckpointSaved():
            return Priority.NORMAL
        case EpochFinished():
            return Priority.PROGRESS


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


def wants(pace: Pace, event: Event) -> bool:
    """True when a notifier of this pace is to be told of the event at all."""
    return pace.wants_checkpoints or not isinstance(event, CheckpointSaved)


@dataclass(frozen=True, slots=True)
class Hold:
    """Not now: ask again at `until`."""

    until: datetime
    why: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """Not at all: count it as dropped."""

    why: str


def admit(
    pace: Pace, priority: Priority, *, now: datetime, last_news_at: datetime | None, sent_today: int
) -> Hold | Refuse | None:
    """Decide whether a due delivery may go out now; None means yes.

    `last_news_at` is when this notifier last told news of the same kind of the same run, None for what keeps no gap;
    `sent_today` counts its messages since midnight KST.
    """
    if last_news_at is not None and pace.progress_gap_s:
        next_at = last_news_at + timedelta(seconds=pace.progress_gap_s)
        if next_at > now:
            return Hold(next_at, "one message of this kind per gap")
    if pace.daily_budget is None:
        return None
    if priority is not Priority.URGENT and sent_today >= pace.daily_budget - pace.reserved:
        return Refuse("daily budget")
    if sent_today >= pace.daily_budget:
        return Hold(next_midnight(now), "daily budget")
    return None


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
