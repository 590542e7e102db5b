"""Rules that judge a run lost or stalled. Pure: times in, a verdict out.

Two independent timers. *Silence*: no heartbeat for several promised beats, so the process, its machine or its network
is gone. *Standstill*: the loop does not move, and a heartbeat after the limit proves that the process still lives, so
it hangs.

A promise (`next_by`: "you will hear from me by then") excuses a standstill until it is due. It excuses silence too,
but only when the latest heartbeat carried it: a process that is about to be suspended says so last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from notifybot.policy import STALL_EPOCHS, STALL_FIRST_S, STALL_FLOOR_S, believable_s, stall_limit_s
from notifybot.store.runs import RunRow
from notifybot.types import Status


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of the watchdog. Durations are seconds.

    Silence is `missed_beats` promised beats, at least `silent_floor_s`. A standstill is `stall_epochs` typical epochs
    of the same run, at least `stall_floor_s`; before its first epoch is done (data is fetched, kernels are compiled)
    `stall_first_s`. A promise may be overrun by `promise_grace_s` and reaches at most `promise_max_s` ahead.
    """

    missed_beats: float = 4.0
    silent_floor_s: float = 60.0
    stall_epochs: float = STALL_EPOCHS
    stall_floor_s: float = STALL_FLOOR_S
    stall_first_s: float = STALL_FIRST_S
    promise_grace_s: float = 30.0
    promise_max_s: float = 86_400.0
    scan_every_s: float = 1.0
    outage_floor_s: float = 10.0

    @property
    def outage_s(self) -> float:
        """Shortest pause between two looks that counts as an absence of the watchdog itself."""
        return max(3 * self.scan_every_s, self.outage_floor_s)


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing was heard for `silent_s` seconds."""

    silent_s: float
    limit_s: float


@dataclass(frozen=True, slots=True)
class Stalled:
    """Heartbeats arrive, but the loop has not moved for `silent_s` seconds."""

    silent_s: float
    limit_s: float


Verdict = Lost | Stalled | None


def judge(
    row: RunRow,
    now: datetime,
    limits: Limits,
    *,
    watching_since: datetime | None = None,
    epochs_s: Sequence[float] | None = None,
) -> Verdict:
    """Return whether a run must be reported lost or stalled now; None: leave it alone.

    Silence from before `watching_since` is not held against a run: nobody was there to hear it. `epochs_s` are the
    durations of the latest epochs of its present session; None where they were not looked up.
    """
    lost_at = _lost_at(row, now, limits, watching_since)
    if lost_at is not None and now >= lost_at:
        return Lost(_age_s(row.alive_at, now, watching_since), silent_limit_s(row, limits))
    stalled_at = _stalled_at(row, now, limits, watching_since, epochs_s)
    if stalled_at is not None and now >= stalled_at:
        return Stalled(_age_s(row.progress_at, now, watching_since), _stall_limit_s(row, limits, epochs_s))
    return None


def deadline(
    row: RunRow,
    now: datetime,
    limits: Limits,
    *,
    watching_since: datetime | None = None,
    epochs_s: Sequence[float] | None = None,
) -> datetime | None:
    """Return when the run must be looked at next; None: not before its next report."""
    moments = (_lost_at(row, now, limits, watching_since), _stalled_at(row, now, limits, watching_since, epochs_s))
    return min((moment for moment in moments if moment is not None), default=None)


def silent_limit_s(row: RunRow, limits: Limits) -> float:
    """Return the seconds of silence that a run is allowed."""
    return max(limits.missed_beats * believable_s(row.beat_s), limits.silent_floor_s)


def _stall_limit_s(row: RunRow, limits: Limits, epochs_s: Sequence[float] | None) -> float:
    bounds = {"epochs": limits.stall_epochs, "floor_s": limits.stall_floor_s, "first_s": limits.stall_first_s}
    return stall_limit_s(row.progress, epochs_s, **bounds)


def _lost_at(row: RunRow, now: datetime, limits: Limits, since: datetime | None) -> datetime | None:
    if row.status is not Status.RUNNING:
        return None
    promised = _promise(row, limits)
    if row.beat_s is None and promised is None:
        return None  # it promised neither heartbeats nor a moment, so silence cannot make it late
    heard_at = _heard(row.alive_at or row.started_at, now, since)
    silent_at = heard_at + timedelta(seconds=silent_limit_s(row, limits))
    return silent_at if promised is None else max(silent_at, promised)


def _stalled_at(
    row: RunRow, now: datetime, limits: Limits, since: datetime | None, epochs_s: Sequence[float] | None
) -> datetime | None:
    if row.status is not Status.RUNNING or row.stalled or row.beat_s is None:
        return None
    moved_at = _heard(row.progress_at or row.started_at, now, since)
    due = moved_at + timedelta(seconds=_stall_limit_s(row, limits, epochs_s))
    promised = _promise(row, limits)
    due = due if promised is None else max(due, promised)
    heard_after = row.alive_at is not None and row.alive_at >= due
    return due if heard_after else None  # a process that is also silent is lost, not stalled


def _promise(row: RunRow, limits: Limits) -> datetime | None:
    return None if row.next_by is None else row.next_by + timedelta(seconds=limits.promise_grace_s)


def _heard(moment: datetime, now: datetime, since: datetime | None) -> datetime:
    """The moment a timer counts from. One in the future was stamped before the clock was set back."""
    if since is not None and not since <= moment <= now:
        return min(since, now)
    return moment


def _age_s(moment: datetime | None, now: datetime, since: datetime | None) -> float:
    known = moment if moment is not None and moment <= now else since or now
    return max((now - known).total_seconds(), 0.0)
