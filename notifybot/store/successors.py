"""Which notifier took the place of one that the settings no longer have."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from notifybot.store.database import Store
from notifybot.store.schema import deliveries


def successor_of(store: Store, key: str, now: Collection[str]) -> str | None:
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
