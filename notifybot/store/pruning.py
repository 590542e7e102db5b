"""Pruning of the database: old rows are deleted in time, and without room, metrics are given up first.

A start, an ending, an alert, a loss or a stall is never given up for space. Whatever is taken away stays counted in
its notifier's ledger, so that put = sent + pending + dead + dropped holds for ever.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import Connection, Select, and_, delete, exists, func, not_, select, update
from sqlalchemy.exc import DBAPIError

from notifybot.errors import StoreError, reader_text
from notifybot.policy import Priority
from notifybot.store import heartbeats
from notifybot.store.database import Store
from notifybot.store.disk_reserve import FullError, not_taken
from notifybot.store.outbox_queries import CHECKPOINT, EPOCH, count_pruned, counting, dropped
from notifybot.store.schema import deliveries, events, runs
from notifybot.store.stored_reason import noted
from notifybot.types import DeliveryState, Status

KEEP_FOR = timedelta(days=7)
FORGET_AFTER = timedelta(days=90)
KEEP_EVENTS = 1000
_FREE_SHARE = (  # of the file's cap, 0 to 1
    "SELECT 1.0 - 1.0 * (page_count - freelist_count) / max_page_count "
    "FROM pragma_max_page_count, pragma_page_count, pragma_freelist_count"
)
_BATCH = 500  # rows a transaction: short, since an epoch's end may be waiting for the lock
_ROOM = 1 / 16  # of the file's cap: free after making room
_NARROW = 1 / 32  # below this share, room is made before it is needed
_RESERVE = 1 / 64  # records leave this share free: leases and marks need pages too, else nothing could be sent any more
_RESUME_FROM = 100  # latest epochs of a run: a resumed process reads its progress from them
_ENDED = [status.value for status in Status if status.ended]
_NEWS = (EPOCH, CHECKPOINT)
_AWAITED = exists().where(deliveries.c.event_id == events.c.id, deliveries.c.state == DeliveryState.PENDING)
_WAITING_RUNS = select(deliveries.c.run_id).where(deliveries.c.state == DeliveryState.PENDING)
_UNREPORTED = counting("dropped_untold")


def keep_reserve(connection: Connection) -> None:
    """Call at the end of a transaction with new records. Raises FullError when they would leave too little room."""
    driver: Any = connection.connection.driver_connection  # ten times as fast: an epoch's end waits for it
    if driver.execute(_FREE_SHARE).fetchone()[0] < _RESERVE:
        raise FullError(not_taken(reader_text("store.pruning.database_is_full")))


def is_full(error: StoreError) -> bool:
    """True when a record was not taken for want of space: of the file's own cap, or on the disk."""
    cause = error.__cause__
    origin = cause.orig if isinstance(cause, DBAPIError) else cause
    at_cap = getattr(origin, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return at_cap or isinstance(error, FullError)


def is_narrow(store: Store, share: float = _NARROW) -> bool:
    """True when less than a small share of the file's cap is left. Raises StoreError."""
    with store.transaction() as connection:
        free: float = connection.exec_driver_sql(_FREE_SHARE).scalar_one()
    return free < share


def make_room(store: Store, *, batches: int = 100) -> bool:
    """Free a part of the file's cap; True when anything was freed. Raises StoreError, as on a disk that is full.

    In this order, oldest first: finished epochs and checkpoints of runs that are over, then those of all runs, then
    messages about epochs that still wait, but the newest of each run and notifier. The next success reports their
    number.
    """
    steps: Sequence[Callable[[Connection, datetime], int]] = (
        partial(_forget_news, keep=1, of_ended=True),
        partial(_forget_news, keep=_RESUME_FROM),
        _drop_waiting,
        partial(_forget_news, keep=1),
    )
    if not is_narrow(store, _ROOM):
        return False  # the disk itself is full: deleting would need it too
    freed = 0
    for step in steps:
        while batches > 0:
            with store.transaction() as connection:
                number = step(connection, store.clock.now())
                roomy = connection.exec_driver_sql(_FREE_SHARE).scalar_one() >= _ROOM
            freed += number
            if roomy:
                return freed > 0
            if not number:
                break
            batches -= 1
    return freed > 0


def prune(store: Store) -> int:
    """Delete old rows; return how many. Raises StoreError.

    Kept are 7 days of deliveries, the last 1,000 events of a run and all younger than 7 days, and every run that was
    heard of within 90 days. A run of which a delivery still waits is not touched.
    """
    gone, more = 0, True
    while more:
        with store.transaction() as connection:
            now = store.clock.now()
            number = heartbeats.forget_before(connection, now - FORGET_AFTER, limit=_BATCH)
            number += _forget_finished(connection, now - KEEP_FOR)
            number += _forget_old_news(connection, now - KEEP_FOR)
        gone, more = gone + number, number > 0
    return gone


def _forget_news(connection: Connection, _: datetime, *, keep: int, of_ended: bool = False) -> int:
    """Delete the oldest epochs and checkpoints that no delivery needs, but the latest `keep` of each run and kind."""
    age = func.row_number().over(partition_by=(events.c.run_id, events.c.kind), order_by=events.c.at.desc())
    ranked = select(events.c.id, events.c.at, age.label("age")).where(events.c.kind.in_(_NEWS), not_(_AWAITED))
    if of_ended:
        ranked = ranked.join(runs, runs.c.key == events.c.run_id).where(runs.c.status.in_(_ENDED))
    found = ranked.subquery()
    return _delete(connection, select(found.c.id).where(found.c.age > keep).order_by(found.c.at).limit(_BATCH))


def _drop_waiting(connection: Connection, now: datetime) -> int:
    """Give up the oldest waiting epoch messages, but the newest of each run and notifier."""
    free = and_(deliveries.c.state == DeliveryState.PENDING, deliveries.c.priority == int(Priority.PROGRESS))
    free = and_(free, deliveries.c.lease_until.is_(None) | (deliveries.c.lease_until <= now))
    age = func.row_number().over(
        partition_by=(deliveries.c.run_id, deliveries.c.notifier), order_by=deliveries.c.id.desc()
    )
    ranked = select(deliveries.c.id, deliveries.c.notifier, age.label("age")).where(free).subquery()
    oldest = select(ranked.c.id, ranked.c.notifier).where(ranked.c.age > 1).order_by(ranked.c.id).limit(_BATCH)
    rows = connection.execute(oldest).all()
    for notifier in {row.notifier for row in rows}:
        ids = [row.id for row in rows if row.notifier == notifier]
        given_up = update(deliveries).where(deliveries.c.id.in_(ids)).values(**dropped(now, noted("no_space")))
        connection.execute(given_up)
        connection.execute(_UNREPORTED, {"key": notifier, "number": len(ids)})
    return len(rows)


def _forget_finished(connection: Connection, before: datetime) -> int:
    """Delete deliveries that were sent or dropped before a moment. Dead letters stay as long as their run."""
    query = (
        select(deliveries.c.id)
        .where(deliveries.c.state.in_((DeliveryState.SENT, DeliveryState.DROPPED)), deliveries.c.done_at < before)
        .where(deliveries.c.run_id.not_in(_WAITING_RUNS))
        .limit(_BATCH)
    )
    ids = list(connection.execute(query).scalars())
    count_pruned(connection, deliveries.c.id.in_(ids))
    connection.execute(delete(deliveries).where(deliveries.c.id.in_(ids)))
    return len(ids)


def _forget_old_news(connection: Connection, before: datetime) -> int:
    long = select(events.c.run_id).group_by(events.c.run_id).having(func.count() > KEEP_EVENTS)
    gone = 0
    for run_id in connection.execute(long.where(events.c.run_id.not_in(_WAITING_RUNS))).scalars().all():
        latest = select(events.c.at).where(events.c.run_id == run_id).order_by(events.c.at.desc())
        since = connection.execute(latest.offset(KEEP_EVENTS - 1).limit(1)).scalar()
        old = and_(events.c.run_id == run_id, events.c.kind.in_(_NEWS), events.c.at < min(since or before, before))
        gone += _delete(connection, select(events.c.id).where(old).order_by(events.c.at).limit(_BATCH))
    return gone


def _delete(connection: Connection, which: Select[tuple[str]]) -> int:
    ids = list(connection.execute(which).scalars())
    if ids:
        count_pruned(connection, deliveries.c.event_id.in_(ids))
        connection.execute(delete(events).where(events.c.id.in_(ids)))  # and its deliveries, by the foreign key
    return len(ids)
