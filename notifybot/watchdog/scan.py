"""The scan: find late runs and record them with their deliveries, never blaming them for the watchdog's own absence."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from notifybot.errors import reader_text
from notifybot.events import RunLost, RunStalled
from notifybot.redaction import redact
from notifybot.store import heartbeats, runs
from notifybot.store.database import Store
from notifybot.store.runs import RunRow
from notifybot.types import uuid7
from notifybot.watchdog import rules
from notifybot.watchdog.ingest import Route
from notifybot.watchdog.rules import Limits, Lost, Stalled

log = logging.getLogger("notifybot")

SCAN, INGEST, WATCHING = "scan", "ingest", "watching"
_AT_ONCE = 500
_APART = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class _Look:
    """One moment on both clocks: the wall jumps, the monotonic one stops with the process."""

    wall: datetime
    monotonic_s: float


class Checker:
    """Looks for late runs. `scan` is for one thread, `listening` may be called by another."""

    def __init__(self, store: Store, *, limits: Limits, route: Route) -> None:
        self._store = store
        self._limits = limits
        self._route = route
        self._lock = threading.Lock()
        self._looked: _Look | None = None
        self._listened: _Look | None = None
        self._deaf = False
        self._apart: set[str] = set()

    def listening(self) -> None:
        """Note that heartbeats can be received now. After a pause, silence counts from now."""
        with self._lock:
            look = self._now()
            self._deaf = self._deaf or self._pause_s(self._listened, look) > self._limits.outage_s
            self._listened = look

    def scan(self) -> list[RunLost | RunStalled]:
        """Record every run that is lost or stalled now, and return what was recorded. Raises StoreError.

        Each batch is one transaction: the state, the event and its deliveries are all written or none is.
        """
        recorded: list[RunLost | RunStalled] = []
        while True:
            with self._store.transaction() as connection:
                look = self._now()
                since = self._watching_since(connection, look)
                with self._lock:
                    paused_s = self._pause_s(self._listened, look)
                hears = paused_s <= self._limits.outage_s  # else a heartbeat's absence is the watchdog's fault
                late = heartbeats.due(connection, look.wall, limit=_AT_ONCE) if hears else []
                for key in late:
                    recorded += self._judge_alone(connection, key, look.wall, since)
                heartbeats.stamp(connection, SCAN, look.wall)
            self._looked = look
            if len(late) < _AT_ONCE:
                return recorded

    @property
    def set_apart(self) -> int:
        """Number of runs that could not be judged at their last turn."""
        return len(self._apart)

    def age_s(self) -> float | None:
        """Seconds since the last successful scan; None before the first one."""
        looked = self._looked
        return None if looked is None else self._store.clock.monotonic() - looked.monotonic_s

    def _now(self) -> _Look:
        return _Look(self._store.clock.now(), self._store.clock.monotonic())

    def _pause_s(self, last: _Look | None, look: _Look) -> float:
        """Return the seconds since the last look, or by which the wall clock jumped, whichever is more."""
        if last is None:
            return 0.0
        passed_s = look.monotonic_s - last.monotonic_s
        jumped_s = (look.wall - last.wall).total_seconds() - passed_s
        return max(passed_s, abs(jumped_s))

    def _watching_since(self, connection: Connection, look: _Look) -> datetime:
        """Return the moment from which silence counts; it is reset after an outage or a jump of the clock."""
        ticks = heartbeats.last_ticks(connection)
        since = ticks.get(WATCHING)
        with self._lock:
            if self._listened is not None:
                heartbeats.stamp(connection, INGEST, self._listened.wall)
            away = self._deaf or since is None or self._was_away(look, ticks)
            self._deaf = False
        if since is not None and not away:
            return since
        again_at = look.wall + timedelta(seconds=self._limits.silent_floor_s)
        number = heartbeats.postpone_deadlines(connection, again_at)
        heartbeats.stamp(connection, WATCHING, look.wall)
        if since is not None:
            text = reader_text("watchdog.scan.was_away", number=number)
            log.warning("%s", text)
        return look.wall

    def _was_away(self, look: _Look, ticks: dict[str, datetime]) -> bool:
        if self._looked is not None:
            return self._pause_s(self._looked, look) > self._limits.outage_s
        last = min((at for part, at in ticks.items() if part in (SCAN, INGEST)), default=None)
        return last is None or abs((look.wall - last).total_seconds()) > self._limits.outage_s

    def _judge_alone(
        self, connection: Connection, key: str, now: datetime, since: datetime
    ) -> list[RunLost | RunStalled]:
        """Judge one run in isolation: if that fails, its changes are undone and the other runs are still judged."""
        try:
            with connection.begin_nested():
                row = runs.get_in(connection, key)
                recorded = [] if row is None else self._judge(connection, row, now, since)
        except OperationalError:
            raise  # the database is busy or full, which is no run's fault
        except Exception as error:  # noqa: BLE001 - whatever one run's row holds, 499 others are waiting
            self._set_apart(connection, key, now, error)
            return []
        self._apart.discard(key)
        return recorded

    def _set_apart(self, connection: Connection, key: str, now: datetime, error: Exception) -> None:
        """Leave a run alone for a while, and say so once."""
        heartbeats.set_deadline(connection, key, now + _APART)
        if key not in self._apart:
            self._apart.add(key)
            why = redact(f"{type(error).__name__}: {error}")[:200]
            project, _, run_id = key.partition("\x1f")
            text = reader_text("watchdog.scan.cannot_judge", run_id=run_id, project=project, why=why, apart=_APART)
            log.error("%s", text)

    def _judge(self, connection: Connection, row: RunRow, now: datetime, since: datetime) -> list[RunLost | RunStalled]:
        """Decide on one run whose deadline has passed, on what its row says in this very transaction."""
        epochs_s = heartbeats.epochs_s(connection, row.key, row.session)
        verdict = rules.judge(row, now, self._limits, watching_since=since, epochs_s=epochs_s)
        event = _event(row, now, verdict)
        if event is not None:
            runs.record_in(connection, now, event, self._route(event), direct=row.direct)
            heartbeats.count_incident(connection, row.key)
        after = runs.get_in(connection, row.key) or row
        next_look = rules.deadline(after, now, self._limits, watching_since=since, epochs_s=epochs_s)
        heartbeats.set_deadline(connection, row.key, next_look)
        return [] if event is None else [event]


def _event(row: RunRow, now: datetime, verdict: rules.Verdict) -> RunLost | RunStalled | None:
    event_id = uuid7(now.timestamp())
    match verdict:
        case Lost(silent_s, limit_s):
            return RunLost(
                id=event_id, run=row.ref, at=now, silent_s=silent_s, limit_s=limit_s, host=row.host,
                progress=row.progress,
            )  # fmt: skip
        case Stalled(silent_s, limit_s):
            return RunStalled(
                id=event_id, run=row.ref, at=now, silent_s=silent_s, limit_s=limit_s, host=row.host,
                progress=row.progress, stack=row.stack,
            )  # fmt: skip
        case None:
            return None
