"""Deliveries held back for quiet hours or a spent daily budget, and claimed together to be sent as one message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, or_, select, update

from notifybot.events import EpochFinished, Event, from_json
from notifybot.policy import Priority
from notifybot.preferences import ALERT
from notifybot.store.outbox import Delivery, Outbox
from notifybot.store.outbox_queries import CHECKPOINT, EPOCH, FOLDED, batches
from notifybot.store.schema import deliveries, events
from notifybot.store.stored_reason import KEPT, noted
from notifybot.types import DeliveryState, RunRef

MOST_URGENT = 50  # the latest are listed with their title
IN_DIGEST = noted("in_digest")
_ROWS = select(deliveries.c.id, deliveries.c.run_id, deliveries.c.priority, events.c.kind).join(events)


@dataclass(frozen=True, slots=True)
class HeldBatch:
    """Deliveries that one message covers, its own included. `ids` are the others, leased with it.

    `counts` holds each kind's number, epochs folded into newer ones among them. `urgent` are the latest endings, alerts
    and the like, oldest first, and `more_urgent` counts those before; `epoch` is the newest epoch, `runs` are all that
    it is about, and `states` holds for each run the newest event with its state.
    """

    ids: tuple[int, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    urgent: tuple[Event, ...] = ()
    more_urgent: int = 0
    epoch: EpochFinished | None = None
    runs: tuple[RunRef, ...] = ()
    states: tuple[Event, ...] = ()


NONE = HeldBatch()


def hold_delivery(outbox: Outbox, delivery: Delivery, until: datetime, why: str, *, counted: bool = False) -> bool:
    """Hold a delivery until a moment, to be sent then together with all others that are held. Raises StoreError."""
    return outbox.mark_retry(delivery, until, KEPT + why, counted=counted)


def gather(outbox: Outbox, delivery: Delivery, *, fold: bool) -> HeldBatch:
    """Lease all other held deliveries of the notifier that are due, for as long as `delivery` itself.

    Raises StoreError.
    """
    now = outbox.store.clock.now()
    due = (
        deliveries.c.notifier == delivery.notifier,
        deliveries.c.state == DeliveryState.PENDING,
        deliveries.c.id != delivery.id,
        deliveries.c.due_at <= now,
        or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now),
        deliveries.c.error.startswith(KEPT, autoescape=True),
    )
    with outbox.store.transaction() as connection:
        others = connection.execute(_ROWS.where(*due)).all()
        if not others:
            return NONE
        own = connection.execute(_ROWS.where(deliveries.c.id == delivery.id)).one()
        ids = tuple(row.id for row in others)
        _change(connection, ids, lease_until=delivery.lease_until, lease_owner=delivery.owner)
        rows = sorted((own, *others), key=lambda row: row.id)
        return _read(connection, delivery, rows, ids, fold=fold)


def mark_sent(outbox: Outbox, kept: HeldBatch) -> None:
    """Mark them sent: the receiver has their message. Each counts as sent, but not as a message. Raises StoreError."""
    _finish(outbox, kept, DeliveryState.SENT, IN_DIGEST)


def mark_dead(outbox: Outbox, kept: HeldBatch, why: str) -> None:
    """Mark them dead: the receiver will never take their message. Raises StoreError."""
    _finish(outbox, kept, DeliveryState.DEAD, why)


def release(outbox: Outbox, kept: HeldBatch) -> None:
    """Release their leases: they wait on, as their message did not get through. Raises StoreError."""
    with outbox.store.transaction() as connection:
        _change(connection, kept.ids, lease_until=None, lease_owner=None)


def _read(
    connection: Connection, delivery: Delivery, rows: Sequence[Any], ids: tuple[int, ...], *, fold: bool
) -> HeldBatch:
    counts = Counter(row.kind for row in rows)
    epochs = [row for row in rows if row.kind == EPOCH]
    if fold:
        counts[EPOCH] += sum(
            connection.execute(FOLDED, {"of": delivery.notifier, "about": row.run_id, "than": row.id}).scalar() or 0
            for row in epochs
        )
    all_urgent = [row for row in rows if row.priority == int(Priority.URGENT)]
    urgent = all_urgent[-MOST_URGENT:]
    newest = {row.run_id: row for row in rows}  # any of a run's events names it
    states = {row.run_id: row for row in rows if row.kind not in (ALERT, CHECKPOINT)}
    bodies = _bodies(connection, {row.id for row in (*urgent, *epochs[-1:], *newest.values(), *states.values())})
    epoch = bodies[epochs[-1].id] if epochs else None
    return HeldBatch(
        ids,
        {kind: number for kind, number in counts.items() if number},
        tuple(bodies[row.id] for row in urgent),
        len(all_urgent) - len(urgent),
        epoch if isinstance(epoch, EpochFinished) else None,
        tuple(bodies[row.id].run for row in newest.values()),
        tuple(bodies[row.id] for row in states.values()),
    )


def _bodies(connection: Connection, ids: set[int]) -> dict[int, Event]:
    found: dict[int, Event] = {}
    for some in batches(sorted(ids)):
        query = select(deliveries.c.id, events.c.body).join(events).where(deliveries.c.id.in_(some))
        found |= {row.id: from_json(row.body) for row in connection.execute(query)}
    return found


def _finish(outbox: Outbox, kept: HeldBatch, state: DeliveryState, why: str) -> None:
    end = {"state": state, "done_at": outbox.store.clock.now(), "error": why, "attempts": deliveries.c.attempts + 1}
    with outbox.store.transaction() as connection:
        _change(connection, kept.ids, lease_until=None, lease_owner=None, **end)


def _change(connection: Connection, ids: Sequence[int], **values: Any) -> None:
    for some in batches(ids):
        pending = (deliveries.c.id.in_(some), deliveries.c.state == DeliveryState.PENDING)
        connection.execute(update(deliveries).where(*pending).values(**values))
