"""The SQL behind the outbox: which delivery is next, and which are folded away."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from notifybot.policy import Priority
from notifybot.store.schema import deliveries, events, tallies

CLAIMED = (
    deliveries.c.id, deliveries.c.priority, deliveries.c.attempts, deliveries.c.created_at, deliveries.c.run_id,
    events.c.kind, events.c.body,
)  # fmt: skip
_PATIENT_TRIES = 3  # answered failures before the next delivery of the same priority gets its chance


def due(notifier: str, now: datetime) -> Select[Any]:
    patience = deliveries.c.attempts // _PATIENT_TRIES
    return (
        select(*CLAIMED)
        .join(events)
        .where(
            deliveries.c.notifier == notifier,
            deliveries.c.state == "pending",
            deliveries.c.due_at <= now,
            or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now),
        )
        .order_by(deliveries.c.priority, patience, deliveries.c.id)
        .limit(1)
    )


def newest_progress(connection: Connection, notifier: str, row: Any, now: datetime) -> Any:
    """Drop the waiting epoch messages of the run but the newest, and return that one."""
    waiting = waiting_progress(notifier, row.run_id, now)
    newest = connection.execute(
        select(*CLAIMED).join(events).where(waiting).order_by(deliveries.c.id.desc()).limit(1)
    ).one()
    fold_away(connection, notifier, and_(waiting, deliveries.c.id != newest.id), now)
    return newest


def waiting_progress(notifier: str, run_id: str, now: datetime, *, before: int | None = None) -> ColumnElement[bool]:
    waiting = and_(
        deliveries.c.notifier == notifier,
        deliveries.c.run_id == run_id,
        deliveries.c.state == "pending",
        deliveries.c.priority == int(Priority.PROGRESS),
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now),
    )
    return waiting if before is None else and_(waiting, deliveries.c.id < before)


def fold_away(connection: Connection, notifier: str, which: ColumnElement[bool], now: datetime) -> None:
    """Count deliveries as dropped: a newer message says all that they would have said."""
    done = {
        "state": "dropped",
        "done_at": now,
        "lease_until": None,
        "lease_owner": None,
        "error": "folded into a newer one",
    }
    number = connection.execute(update(deliveries).where(which).values(**done)).rowcount
    if number:
        connection.execute(_FOLDED, {"key": notifier, "number": number})


def counting(column: str) -> Any:
    """The statement that adds `number` to a column of notifier `key`'s ledger; made once, run often."""
    counted = insert(tallies).values({"notifier": bindparam("key"), column: bindparam("number")})
    bump = {column: tallies.c[column] + counted.excluded[column]}
    return counted.on_conflict_do_update(index_elements=["notifier"], set_=bump)


_FOLDED = counting("dropped_untold")
