"""Whether a notifier has told of an event."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from notifybot.store.engine import Store
from notifybot.store.schema import deliveries

_SENT = select(deliveries.c.id).where(
    deliveries.c.event_id == bindparam("event_id"),
    deliveries.c.notifier == bindparam("notifier"),
    deliveries.c.state == "sent",
)


def was_sent(store: Store, event_id: str, notifier: str) -> bool:
    """True when the receiver has the message about the event, be it within a digest. Raises StoreError."""
    with store.transaction() as connection:
        return connection.execute(_SENT, {"event_id": event_id, "notifier": notifier}).first() is not None
