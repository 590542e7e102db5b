"""Taking in what processes report: events, idempotent by their id, and heartbeats. One transaction each request."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from sqlalchemy import Connection

from notifybot.errors import NotifybotError
from notifybot.events import AlertRaised, EpochFinished, Event, RunEnded, RunRecovered, RunStarted
from notifybot.i18n import text
from notifybot.policy import Priority
from notifybot.store import heartbeats, notifier_state, pruning, runs
from notifybot.store.database import Store
from notifybot.store.heartbeats import Beat
from notifybot.store.runs import RunRow
from notifybot.types import Language, Status, run_key, uuid7
from notifybot.watchdog import rules, tokens
from notifybot.watchdog.rules import Limits
from notifybot.watchdog.schemas import Batch

Route = Callable[[Event], Sequence[tuple[str, Priority]]]
"""Returns the receivers of an event: notifier keys, with the event's priority for each."""


class AccessDenied(NotifybotError):
    """The token gives no access to this. React: the same answer for every reason, so that it reveals nothing."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """Counts of a request's new events and of those recorded before.

    `superseded` names the sessions among them whose run a newer process has taken over.
    """

    accepted: int
    known: int
    superseded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """A run's state after a heartbeat: a status, "stalled", or "superseded" by a newer process.

    `recorded`: a message about it is to be sent.
    """

    state: str
    recorded: bool = False


class Ingest:
    """Records what processes report. `route` names the notifiers for an event that its process does not send itself.

    `own_keys` are the watchdog's own notifiers: only their memories are taken over from a process's notifiers.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: Limits,
        route: Route,
        own_keys: Collection[str] = (),
        language: Language = Language.EN,
    ) -> None:
        self._store = store
        self._limits = limits
        self._route = route
        self._own_keys = frozenset(own_keys)
        self._language = language

    def accept_events(self, token: str | None, batch: Batch) -> Ingested:
        """Record events and their deliveries: all of them or none. Raises AccessDenied, StoreError.

        A token belongs to one project: its events and its runs' ids count for that project, whatever they say.
        """
        new, superseded = 0, dict[str, str]()
        with self._store.transaction() as connection:
            project = _project_of(connection, token)
            now = self._store.clock.now()
            for event in batch.events:
                mine = replace(event, run=replace(event.run, project=project))
                before = runs.get_in(connection, mine.run.key)
                if before is not None and mine.run.session < before.session:  # a newer process has taken over
                    superseded[mine.run.session] = mine.run.id
                    new += self._take_late(connection, now, before, mine, direct=batch.direct)
                else:
                    new += self._take(connection, now, before, mine, direct=batch.direct)
            self._remember(connection, now, project, batch.memories, without=superseded.values())
            pruning.keep_reserve(connection)
        return Ingested(new, len(batch.events) - new, tuple(superseded))

    def accept_heartbeat(self, token: str | None, beat: Beat) -> Heard:
        """Record a heartbeat. One of a run never heard of begins it; its start may come later.

        Raises AccessDenied, StoreError.
        """
        with self._store.transaction() as connection:
            project = _project_of(connection, token)
            now = self._store.clock.now()
            beat = replace(beat, run=replace(beat.run, project=project))
            row, recorded = runs.get_in(connection, beat.run.key), False
            if row is not None and beat.run.session < row.session:  # a newer process has taken over
                said_at = now if lives_on(row, now) else None
                return Heard("superseded", self._report_rival(connection, now, row, beat.run.session, said_at))
            if row is None:
                heartbeats.create(connection, now, beat)
            elif heartbeats.beat(connection, now, beat):
                recorded = self._recover_by_beat(connection, now, row)
            self._remember(connection, now, project, {beat.run.id: beat.memories})
            return Heard(self._plan(connection, now, beat.run.key), recorded)

    def _take(
        self, connection: Connection, now: datetime, before: RunRow | None, event: Event, *, direct: bool
    ) -> bool:
        receivers = () if direct and not _amends(before, event) else self._route(event)
        if not runs.record_in(connection, now, event, receivers, direct=direct):
            return False
        if before is not None and _is_down(before):
            self._after_incident(connection, now, before, event)
        self._plan(connection, now, event.run.key)
        return True

    def _take_late(self, connection: Connection, now: datetime, row: RunRow, event: Event, *, direct: bool) -> bool:
        """Record an event of a superseded process in the history, without changing the run's state.

        An event from before the newer process began is sent as usual. A later one is not; an alert says instead
        that two processes report the same run.
        """
        since = was_made_since(row, event.at)
        receivers = () if direct or since else self._route(event)
        new = runs.record_in(connection, now, event, receivers, direct=direct)
        self._report_rival(connection, now, row, event.run.session, event.at if since else None)
        return new

    def _report_rival(
        self, connection: Connection, now: datetime, row: RunRow, session: str, said_at: datetime | None
    ) -> bool:
        """Send an alert, once for each older process that goes on; return False when it was sent before."""
        if said_at is None:
            return False
        alert = superseded_alert(row, session, now, self._language)
        return runs.record_in(connection, now, alert, self._route(alert), direct=row.direct)

    def _remember(
        self,
        connection: Connection,
        now: datetime,
        project: str,
        carried: Mapping[str, Mapping[str, Any]],
        *,
        without: Collection[str] = (),
    ) -> None:
        for run_id, values in carried.items():
            key = run_key(project, run_id)
            if values and run_id not in without and runs.get_in(connection, key) is not None:
                notifier_state.import_in(connection, now, key, values, owners=self._own_keys)

    def _after_incident(self, connection: Connection, now: datetime, before: RunRow, event: Event) -> None:
        """Handle an event of a run reported lost or stalled: it is back or over, or the event predates the report."""
        if event.run.session < before.session or isinstance(event, RunEnded):
            return  # an ending itself says that the run is no longer lost, and `_amends` has it sent
        if _shows_life(before, event):
            self._recover(connection, now, before)
        else:
            heartbeats.restore_timestamps(connection, before)

    def _recover_by_beat(self, connection: Connection, now: datetime, before: RunRow) -> bool:
        after = runs.get_in(connection, before.key)
        if after is None or not _is_down(before):
            return False
        moves = rules.judge(replace(after, status=Status.RUNNING, stalled=False), now, self._limits) is None
        back = before.status is Status.LOST or moves
        if back:
            self._recover(connection, now, before)
        return back

    def _recover(self, connection: Connection, now: datetime, before: RunRow) -> None:
        after = runs.get_in(connection, before.key) or before
        lost = before.status is Status.LOST
        last = before.alive_at if lost else before.progress_at
        event = RunRecovered(
            id=uuid7(now.timestamp()),
            run=after.ref,
            at=now,
            was="lost" if lost else "stalled",
            away_s=max((now - (last or before.started_at)).total_seconds(), 0.0),
            progress=after.progress,
        )
        runs.record_in(connection, now, event, self._route(event), direct=after.direct)

    def _plan(self, connection: Connection, now: datetime, key: str) -> str:
        """Set the run's next deadline for the scan, and return the run's state."""
        row = runs.get_in(connection, key)
        if row is None:
            return ""
        heartbeats.set_deadline(connection, key, rules.deadline(row, now, self._limits))
        return "stalled" if row.stalled and row.status is Status.RUNNING else row.status.value


def _project_of(connection: Connection, token: str | None) -> str:
    project = tokens.verify_in(connection, token)
    if project is None:
        raise AccessDenied("this token gives no access")
    return project


def _is_down(row: RunRow) -> bool:
    return row.status is Status.LOST or (row.status is Status.RUNNING and row.stalled)


def _amends(before: RunRow | None, event: Event) -> bool:
    """True for the late ending of a run that was reported lost: whoever reported that has to correct it."""
    return before is not None and before.status is Status.LOST and isinstance(event, RunEnded)


def _shows_life(before: RunRow, event: Event) -> bool:
    """True for an event made after the incident was reported. Older ones may wait in an outbox until the next start."""
    if isinstance(event, RunStarted) and event.run.session > before.session:
        return True
    made_since = before.told_at is None or event.at > before.told_at
    return made_since and (before.status is Status.LOST or isinstance(event, EpochFinished))


_HANDOVER = timedelta(seconds=15)  # the old process's last heartbeat may arrive after the next process began


def was_made_since(row: RunRow, moment: datetime) -> bool:
    """True when `moment` lies after the start of the run's current process, so that two processes report.

    Also True if its session does not show when it began.
    """
    began = _began(row.session)
    return began is None or moment > began + _HANDOVER


def lives_on(row: RunRow, now: datetime) -> bool:
    """True when a heartbeat that comes in now proves that the older process is still there."""
    began = _began(row.session)
    return began is None or abs(now - began) > _HANDOVER  # far in the future: a wrong clock, not a handover


def superseded_alert(row: RunRow, session: str, now: datetime, language: Language) -> AlertRaised:
    """Return the alert about a superseded process. Its id is fixed for each older process, so that it is sent once.

    It carries the older session: it must not count as activity of the newer one.
    """
    event_id = str(uuid5(NAMESPACE_OID, f"notifybot:superseded:{row.key}:{session}"))
    run = replace(row.ref, session=session)
    title, body = (text(language, f"watchdog.superseded.{each}") for each in ("title", "text"))
    return AlertRaised(id=event_id, run=run, at=now, title=title, text=body, progress=row.progress)


def _began(session: str) -> datetime | None:
    """Return when a session began, read from its UUIDv7; None for any other name."""
    try:
        found = UUID(session)
        return datetime.fromtimestamp((found.int >> 80) / 1000, UTC) if found.version == 7 else None
    except (ValueError, OverflowError):  # no UUID, or one with a year beyond Python's range
        return None
