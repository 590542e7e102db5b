"""Heartbeats, deadlines and the watchdog's own ticks: SQL that runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, case, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from notifybot.events import EPOCH_FINISHED, EpochFinished
from notifybot.store.outbox_queries import count_pruned
from notifybot.store.runs import RunRow, readable
from notifybot.store.schema import deliveries, events, runs, ticks
from notifybot.store.stored_reason import KEPT
from notifybot.types import DeliveryState, RunRef, Status

_LONGEST_RETRY_S = 300.0
_ALIVE = (Status.RUNNING.value, Status.LOST.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One heartbeat, its moments already on the watchdog's clock. `seq` counts up within a session.

    `progress_at` is when the loop last moved, `next_by` the promise to be heard of again; None where nothing is said.
    `memories` is what the process's own notifiers remember of the run.
    """

    run: RunRef
    seq: int
    beat_s: float
    progress_at: datetime | None = None
    next_by: datetime | None = None
    stack: str = ""
    memories: Mapping[str, Any] = field(default_factory=dict)


def beat(connection: Connection, now: datetime, beat: Beat) -> bool:
    """Write a heartbeat to its run; False when it came too late to count.

    Too late: an older process of the run, a number not above the last one, or a process that said it was over.
    A heartbeat of a newer process may come before its start: that process then reports the run, by its own numbers.
    """
    run = beat.run
    newer = runs.c.session < run.session
    later = (runs.c.session == run.session) & (runs.c.beat_seq < beat.seq) & runs.c.status.in_(_ALIVE)
    values = _stamped(beat, now) | {
        "status": case((runs.c.status.in_(_ALIVE), runs.c.status), else_=Status.RUNNING.value),
        "ended_at": None,
    }
    if beat.progress_at is not None:
        values["progress_at"] = case(
            (runs.c.progress_at > beat.progress_at, runs.c.progress_at), else_=beat.progress_at
        )
    return connection.execute(update(runs).where(runs.c.key == run.key, newer | later).values(**values)).rowcount == 1


def create(connection: Connection, now: datetime, beat: Beat) -> None:
    """Begin the row of a run whose heartbeat came before its start."""
    run = beat.run
    row = {
        "key": run.key, "id": run.id, "name": run.name or run.id, "project": run.project,
        "status": Status.RUNNING.value, "started_at": now, "progress_at": beat.progress_at or now,
    }  # fmt: skip
    connection.execute(runs.insert(), row | _stamped(beat, now))


def _stamped(beat: Beat, now: datetime) -> dict[str, object]:
    return {
        "session": beat.run.session, "alive_at": now, "beat_s": beat.beat_s, "beat_seq": beat.seq,
        "next_by": beat.next_by, "stack": beat.stack,
    }  # fmt: skip


def due(connection: Connection, now: datetime, *, limit: int = 500) -> list[str]:
    """Return the runs whose deadline has passed, the longest overdue first. One look into the index on it.

    Only their keys: reading one's row may fail, and must not keep the others from being looked at.
    """
    query = select(runs.c.key).where(runs.c.deadline_at <= now).order_by(runs.c.deadline_at).limit(limit)
    return list(connection.execute(query).scalars())


def set_deadline(connection: Connection, key: str, moment: datetime | None) -> None:
    """Set the moment of the next look at the run; None: not before it reports again."""
    connection.execute(update(runs).where(runs.c.key == key).values(deadline_at=moment))


def postpone_deadlines(connection: Connection, moment: datetime) -> int:
    """Look at every watched run at `moment` instead of when it was planned; return how many there are."""
    watched = runs.c.deadline_at.is_not(None)
    return connection.execute(update(runs).where(watched).values(deadline_at=moment)).rowcount


def count_incident(connection: Connection, key: str) -> None:
    """Count a message that the run is lost or stalled."""
    connection.execute(update(runs).where(runs.c.key == key).values(incident=runs.c.incident + 1))


def restore_timestamps(connection: Connection, row: RunRow) -> None:
    """Restore `alive_at` and `progress_at` from `row`: a late event from before an incident is no heartbeat."""
    values = {"alive_at": row.alive_at, "progress_at": row.progress_at}
    connection.execute(update(runs).where(runs.c.key == row.key).values(**values))


def epochs_s(connection: Connection, key: str, session: str, *, limit: int = 8) -> list[float]:
    """Return the durations in seconds of the latest epochs of one session, newest first."""
    query = (
        select(events.c.body)
        .where(events.c.run_id == key, events.c.kind == EPOCH_FINISHED)
        .order_by(events.c.at.desc())
        .limit(limit)
    )
    found = readable(connection.execute(query).scalars())
    return [
        each.progress.epoch_s
        for each in found
        if isinstance(each, EpochFinished) and each.run.session == session and each.progress.epoch_s is not None
    ]


def stamp(connection: Connection, part: str, now: datetime) -> None:
    """Stamp that a part of the watchdog ("scan", "ingest") was at work."""
    stamped = insert(ticks).values(part=part, at=now)
    connection.execute(stamped.on_conflict_do_update(index_elements=["part"], set_={"at": stamped.excluded.at}))


def last_ticks(connection: Connection) -> dict[str, datetime]:
    """Return the moment at which each part of the watchdog was last at work."""
    return {row.part: row.at for row in connection.execute(select(ticks))}


def oldest_waiting(connection: Connection, now: datetime) -> datetime | None:
    """Return the moment since which the oldest delivery has waited; None when nothing waits.

    One that is put off for longer than any retry is held by its notifier's budget, not stuck, and does not count; one
    that was held back has waited since the moment from which it may be sent.
    """
    soon = now + timedelta(seconds=_LONGEST_RETRY_S)
    kept = deliveries.c.error.startswith(KEPT, autoescape=True)
    since = case((kept, deliveries.c.due_at), else_=deliveries.c.created_at)
    query = select(func.min(since, type_=deliveries.c.created_at.type)).where(
        deliveries.c.state == DeliveryState.PENDING, deliveries.c.due_at <= soon
    )
    found: datetime | None = connection.execute(query).scalar()
    return found


def forget_before(connection: Connection, moment: datetime, *, limit: int = 500) -> int:
    """Delete runs that were last heard of before `moment`, with their events; return how many.

    Runs with a delivery that still waits are kept. What was delivered stays counted in the ledgers.
    """
    waiting = select(deliveries.c.run_id).where(deliveries.c.state == DeliveryState.PENDING)
    old = func.coalesce(runs.c.alive_at, runs.c.started_at) < moment
    query = select(runs.c.key).where(old, runs.c.key.not_in(waiting)).limit(limit)
    gone = list(connection.execute(query).scalars())
    if gone:
        count_pruned(connection, deliveries.c.run_id.in_(gone))
        connection.execute(delete(runs).where(runs.c.key.in_(gone)))
    return len(gone)
