"""Dead letters: lists single deliveries for a person, and sends given-up ones again or drops them for good.

Each decision keeps the ledger true: put = sent + pending + dead + dropped, for every notifier, before and after.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, exists, or_, select, update

from notifybot.events import Event, from_json
from notifybot.store.database import Store
from notifybot.store.outbox_queries import batches, counting, dropped
from notifybot.store.schema import deliveries, events, tallies
from notifybot.store.stored_reason import from_text, noted
from notifybot.types import DeliveryState, Reason

_PUT = counting("put")
_IS_DEAD = deliveries.c.state == DeliveryState.DEAD
_ALL = select(
    deliveries.c.id, deliveries.c.notifier, deliveries.c.state, deliveries.c.attempts, deliveries.c.created_at,
    deliveries.c.due_at, deliveries.c.done_at, deliveries.c.error, events.c.id.label("event_id"), events.c.kind,
    events.c.run_id.label("run_key"), events.c.body,
).join(events)  # fmt: skip


@dataclass(frozen=True, slots=True)
class DeliveryRecord:
    """Delivery of an event to one notifier, and its result.

    `attempts` counts the tries, except those that found no connection. `error` is the stored form of the reason,
    `reason` the same, read. `event` is None where another version of notifybot wrote it, and
    this one cannot read it; `kind`, `event_id` and `run_key` are known all the same.
    """

    id: int
    notifier: str
    state: DeliveryState
    attempts: int
    created_at: datetime
    due_at: datetime
    done_at: datetime | None
    error: str
    event_id: str
    kind: str
    run_key: str
    event: Event | None

    @property
    def reason(self) -> Reason:
        return from_text(self.error)


def find_all(
    store: Store, state: DeliveryState = DeliveryState.DEAD, *, limit: int | None = 100
) -> list[DeliveryRecord]:
    """Return the deliveries in a state, newest first, all of them without a limit. Raises StoreError."""
    query = _ALL.where(deliveries.c.state == state.value).order_by(deliveries.c.id.desc()).limit(limit)
    with store.transaction() as connection:
        return [_record(row) for row in connection.execute(query)]


def find(store: Store, message_id: int) -> DeliveryRecord | None:
    """Return the delivery of this id, in whatever state. Raises StoreError."""
    with store.transaction() as connection:
        row = connection.execute(_ALL.where(deliveries.c.id == message_id)).first()
    return _record(row) if row is not None else None


def retry(store: Store, ids: Collection[int], successors: Mapping[str, str] | None = None) -> list[int]:
    """Put dead letters back, due at once with a fresh budget of tries and time; return the ids that were put back.

    The event keeps its id, by which a receiver tells a repeat. `successors` names for a notifier's key the key that
    took its place (a new token makes a new key), and the message goes there, unless that one has the event already.
    Raises StoreError.
    """
    now, query = store.clock.now(), select(deliveries.c.id, deliveries.c.notifier, deliveries.c.event_id)
    with store.transaction() as connection:
        rows = [
            row
            for some in batches(sorted(ids))
            for row in connection.execute(query.where(deliveries.c.id.in_(some), _IS_DEAD).order_by(deliveries.c.id))
        ]
        return [row.id for row in rows if _requeue(connection, now, row, successors or {})]


def drop(store: Store, ids: Collection[int]) -> list[int]:
    """Give up dead letters, and messages that wait, for good; return the ids that were dropped. Raises StoreError."""
    now = store.clock.now()
    idle = or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now)  # one being sent cannot be stopped
    gone = or_(_IS_DEAD, and_(deliveries.c.state == DeliveryState.PENDING, idle))
    query = select(deliveries.c.id).where(deliveries.c.id.in_(list(ids)), gone).order_by(deliveries.c.id)
    with store.transaction() as connection:
        found = connection.execute(query).scalars().all()
        values = dropped(now, noted("dropped_by_hand"))
        connection.execute(update(deliveries).where(deliveries.c.id.in_(found)).values(**values))
    return list(found)


def _requeue(connection: Connection, now: datetime, row: Any, successors: Mapping[str, str]) -> bool:
    key = successors.get(row.notifier, row.notifier)
    if key != row.notifier:
        has_it = exists().where(deliveries.c.event_id == row.event_id, deliveries.c.notifier == key)
        if connection.execute(select(has_it)).scalar():
            return False
        connection.execute(update(tallies).where(tallies.c.notifier == row.notifier).values(put=tallies.c.put - 1))
        connection.execute(_PUT, {"key": key, "number": 1})
    fresh = update(deliveries).where(deliveries.c.id == row.id).values(
        notifier=key, state=DeliveryState.PENDING, attempts=0, rounds=0, created_at=now, due_at=now, done_at=None,
        error="",
    )  # fmt: skip
    connection.execute(fresh)
    return True


def _record(row: Any) -> DeliveryRecord:
    event: Event | None = None
    with suppress(ValueError):  # another version wrote the event
        event = from_json(row.body)
    return DeliveryRecord(
        id=row.id, notifier=row.notifier, state=DeliveryState(row.state), attempts=row.attempts,
        created_at=row.created_at, due_at=row.due_at, done_at=row.done_at, error=row.error,
        event_id=row.event_id, kind=row.kind, run_key=row.run_key, event=event,
    )  # fmt: skip


def replacement_key(store: Store, key: str, now: Collection[str]) -> str | None:
    """Of the notifiers there are `now`, the one that stands where `key` stood; None where that is not certain.

    A new token or address makes a new key of the same name. One that got events together with `key` stood beside it,
    as one of several Apprise URLs does, and takes over nothing; of several new ones none can be told from the others,
    and a message for one must not go to another. Raises StoreError.
    """
    name = key.partition(":")[0]
    alike = {each for each in now if each.partition(":")[0] == name and each != key}
    if not alike:
        return None
    its_events = select(deliveries.c.event_id).where(deliveries.c.notifier == key)
    beside = select(deliveries.c.notifier).where(
        deliveries.c.notifier.in_(sorted(alike)), deliveries.c.event_id.in_(its_events)
    )
    with store.transaction() as connection:
        alike -= set(connection.execute(beside.distinct()).scalars())
    return alike.pop() if len(alike) == 1 else None
