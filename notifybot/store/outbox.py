"""The outbox: a durable table of deliveries. Work is claimed under a lease, never deleted before it is done.

At any moment, for every notifier: put = sent + pending + dead + dropped.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from notifybot.events import Event, RunEnded, from_json, kind_of
from notifybot.policy import Priority
from notifybot.store.engine import Store
from notifybot.store.schema import deliveries, events, tallies

_PATIENT_TRIES = 3  # answered failures before the next delivery of the same priority gets its chance
_ERROR_CHARS = 500
RUN_ENDED = kind_of(RunEnded)
_CLAIMED = (
    deliveries.c.id, deliveries.c.priority, deliveries.c.attempts, deliveries.c.created_at, deliveries.c.run_id,
    events.c.kind, events.c.body,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one notifier, claimed by us until `lease_until`."""

    id: int
    event: Event
    notifier: str
    priority: Priority
    attempts: int
    created_at: datetime
    lease_until: datetime
    owner: str
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Counts:
    """The ledger of one notifier."""

    put: int
    sent: int
    pending: int
    dead: int
    dropped: int

    @property
    def conserved(self) -> bool:
        """True when nothing that was put has vanished."""
        return self.put == self.sent + self.pending + self.dead + self.dropped


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A delivery that was given up, and why."""

    id: int
    notifier: str
    event_id: str
    kind: str
    run_id: str
    error: str
    done_at: datetime | None


def put(
    connection: Connection, now: datetime, event_id: str, run_id: str, routes: Sequence[tuple[str, Priority]]
) -> None:
    """Add one delivery per route, inside the transaction that records the event."""
    if not routes:
        return
    connection.execute(
        deliveries.insert(),
        [
            {
                "event_id": event_id,
                "run_id": run_id,
                "notifier": key,
                "priority": int(priority),
                "created_at": now,
                "due_at": now,
            }
            for key, priority in routes
        ],
    )
    for key, _ in routes:
        _count(connection, key, "put")


class Outbox:
    """The deliveries of one store, claimed in the name of one process."""

    def __init__(self, store: Store, owner: str | None = None) -> None:
        self.store = store
        self.owner = owner or process_name()

    def claim(self, notifier: str, *, lease_s: float = 60.0, fold: bool = True) -> Delivery | None:
        """Take the most urgent due delivery of a notifier for `lease_s` seconds; None when there is none.

        With `fold`, older epoch messages of the same run that still wait are dropped in favour of the newest.
        """
        now = self.store.clock.now()
        with self.store.transaction() as connection:
            row = connection.execute(_due(notifier, now)).first()
            if row is None:
                return None
            if fold and row.priority == Priority.PROGRESS:
                row = _newest_progress(connection, notifier, row, now)
            elif fold and row.kind == RUN_ENDED:
                _fold(connection, notifier, _waiting_progress(notifier, row.run_id, now, before=row.id), now)
            until = now + timedelta(seconds=lease_s)
            connection.execute(_set(row.id, lease_until=until, lease_owner=self.owner))
            untold = (
                connection.execute(select(tallies.c.dropped_untold).where(tallies.c.notifier == notifier)).scalar() or 0
            )
        return Delivery(
            id=row.id, event=from_json(row.body), notifier=notifier, priority=Priority(row.priority),
            attempts=row.attempts, created_at=row.created_at, lease_until=until, owner=self.owner, skipped=untold,
        )  # fmt: skip

    def mark_sent(self, delivery: Delivery) -> bool:
        """The receiver has it. False when the lease was lost and somebody else took over."""
        return self._finish(delivery, "sent", told=delivery.skipped)

    def mark_dead(self, delivery: Delivery, error: str) -> bool:
        """Never again; kept and listed with its reason."""
        return self._finish(delivery, "dead", error=error)

    def mark_dropped(self, delivery: Delivery, why: str) -> bool:
        """Given up on purpose (a budget); counted."""
        return self._finish(delivery, "dropped", error=why)

    def mark_retry(self, delivery: Delivery, due_at: datetime, error: str, *, counted: bool = True) -> bool:
        """Try again at `due_at`. `counted` is False when the fault was not about this message (no connection)."""
        tries = {"attempts": delivery.attempts + 1} if counted else {}
        with self.store.transaction() as connection:
            return _ours(
                connection,
                delivery,
                lease_until=None,
                lease_owner=None,
                due_at=due_at,
                error=error[:_ERROR_CHARS],
                **tries,
            )

    def release_dead(self) -> int:
        """Free what processes of this machine held when they died; return how many."""
        held = (
            select(deliveries.c.lease_owner)
            .where(deliveries.c.state == "pending", deliveries.c.lease_owner.is_not(None))
            .distinct()
        )
        with self.store.transaction() as connection:
            gone = [owner for owner in connection.execute(held).scalars() if owner and not _lives(owner)]
            if not gone:
                return 0
            freed = update(deliveries).where(deliveries.c.state == "pending", deliveries.c.lease_owner.in_(gone))
            return connection.execute(freed.values(lease_until=None, lease_owner=None)).rowcount

    def next_due(self, notifier: str) -> datetime | None:
        """When this notifier has work again; None when nothing waits."""
        ready = case(
            (
                and_(deliveries.c.lease_until.is_not(None), deliveries.c.lease_until > deliveries.c.due_at),
                deliveries.c.lease_until,
            ),
            else_=deliveries.c.due_at,
        )
        query = select(func.min(ready, type_=deliveries.c.due_at.type)).where(
            deliveries.c.notifier == notifier, deliveries.c.state == "pending"
        )
        with self.store.transaction() as connection:
            found: datetime | None = connection.execute(query).scalar()
        return found

    def counts(self) -> dict[str, Counts]:
        """The ledger of every notifier, read in one transaction."""
        by_state = select(deliveries.c.notifier, deliveries.c.state, func.count()).group_by(
            deliveries.c.notifier, deliveries.c.state
        )
        with self.store.transaction() as connection:
            live = {(key, state): number for key, state, number in connection.execute(by_state)}
            ledgers = connection.execute(select(tallies)).all()
        return {
            row.notifier: Counts(
                put=row.put,
                sent=row.pruned_sent + live.get((row.notifier, "sent"), 0),
                pending=live.get((row.notifier, "pending"), 0),
                dead=row.pruned_dead + live.get((row.notifier, "dead"), 0),
                dropped=row.pruned_dropped + live.get((row.notifier, "dropped"), 0),
            )
            for row in ledgers
        }

    def dead_letters(self, *, limit: int = 100) -> list[DeadLetter]:
        """What was given up, newest first."""
        columns = (
            deliveries.c.id,
            deliveries.c.notifier,
            deliveries.c.event_id,
            events.c.kind,
            deliveries.c.run_id,
            deliveries.c.error,
            deliveries.c.done_at,
        )
        query = (
            select(*columns)
            .join(events)
            .where(deliveries.c.state == "dead")
            .order_by(deliveries.c.id.desc())
            .limit(limit)
        )
        with self.store.transaction() as connection:
            return [DeadLetter(*row) for row in connection.execute(query)]

    def sent_since(self, notifier: str, moment: datetime) -> int:
        """How many messages this notifier delivered since `moment`."""
        query = select(func.count()).where(
            deliveries.c.notifier == notifier, deliveries.c.state == "sent", deliveries.c.done_at >= moment
        )
        with self.store.transaction() as connection:
            return connection.execute(query).scalar() or 0

    def last_progress_at(self, notifier: str, run_id: str) -> datetime | None:
        """When this notifier last delivered an epoch of the run."""
        query = select(func.max(deliveries.c.done_at, type_=deliveries.c.done_at.type)).where(
            deliveries.c.notifier == notifier,
            deliveries.c.run_id == run_id,
            deliveries.c.state == "sent",
            deliveries.c.priority == int(Priority.PROGRESS),
        )
        with self.store.transaction() as connection:
            found: datetime | None = connection.execute(query).scalar()
        return found

    def _finish(self, delivery: Delivery, state: str, *, error: str = "", told: int = 0) -> bool:
        now = self.store.clock.now()
        with self.store.transaction() as connection:
            done = _ours(
                connection,
                delivery,
                state=state,
                done_at=now,
                lease_until=None,
                lease_owner=None,
                error=error[:_ERROR_CHARS],
            )
            if done and told:
                forget = {"dropped_untold": tallies.c.dropped_untold - told}
                connection.execute(update(tallies).where(tallies.c.notifier == delivery.notifier).values(**forget))
            return done


def _due(notifier: str, now: datetime) -> Select[Any]:
    patience = deliveries.c.attempts // _PATIENT_TRIES
    return (
        select(*_CLAIMED)
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


def _newest_progress(connection: Connection, notifier: str, row: Any, now: datetime) -> Any:
    """Drop the waiting epoch messages of the run but the newest, and return that one."""
    waiting = _waiting_progress(notifier, row.run_id, now)
    newest = connection.execute(
        select(*_CLAIMED).join(events).where(waiting).order_by(deliveries.c.id.desc()).limit(1)
    ).one()
    _fold(connection, notifier, and_(waiting, deliveries.c.id != newest.id), now)
    return newest


def _waiting_progress(notifier: str, run_id: str, now: datetime, *, before: int | None = None) -> ColumnElement[bool]:
    waiting = and_(
        deliveries.c.notifier == notifier,
        deliveries.c.run_id == run_id,
        deliveries.c.state == "pending",
        deliveries.c.priority == int(Priority.PROGRESS),
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now),
    )
    return waiting if before is None else and_(waiting, deliveries.c.id < before)


def _fold(connection: Connection, notifier: str, which: ColumnElement[bool], now: datetime) -> None:
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
        _count(connection, notifier, "dropped_untold", number)


def _ours(connection: Connection, delivery: Delivery, **values: Any) -> bool:
    """Change a delivery only while we hold it: a lost lease must not undo what its new owner did."""
    held = and_(
        deliveries.c.id == delivery.id, deliveries.c.state == "pending", deliveries.c.lease_owner == delivery.owner
    )
    return connection.execute(update(deliveries).where(held).values(**values)).rowcount == 1


def _set(delivery_id: int, **values: Any) -> Any:
    return update(deliveries).where(deliveries.c.id == delivery_id).values(**values)


def _count(connection: Connection, notifier: str, column: str, number: int = 1) -> None:
    counted = insert(tallies).values(notifier=notifier, **{column: number})
    bump = {column: tallies.c[column] + number}
    connection.execute(counted.on_conflict_do_update(index_elements=["notifier"], set_=bump))


def process_name() -> str:
    """A name for this process that another one can check: "pid:start time" (start time from /proc where it is)."""
    return f"{os.getpid()}:{_start_of(os.getpid())}"


def _start_of(pid: int) -> str:
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:
        return ""
    return after_name.split()[19]  # field 22 of proc(5): ticks since boot


def _lives(owner: str) -> bool:
    pid, _, start = owner.partition(":")
    if not pid.isdigit():
        return True  # not named by us: its lease will run out
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not start or _start_of(int(pid)) == start
