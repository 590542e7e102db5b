"""A wall clock that was set back: what was put off until a moment must not wait that much longer."""

from __future__ import annotations

import threading
from datetime import timedelta

from sqlalchemy import select, update

from notifybot.store.database import Store
from notifybot.store.schema import deliveries

_NOISE_S = 5.0  # the two clocks drift, and NTP turns the one a little


class ClockWatch:
    """Compares the wall clock with the one that never jumps, each time it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._seen = (store.clock.now(), store.clock.monotonic())

    def look(self) -> None:
        """Bring forward what waits, by as much as the wall clock was set back. Raises StoreError."""
        with self._lock:
            now, now_s = self._store.clock.now(), self._store.clock.monotonic()
            moved_s = (now - self._seen[0]).total_seconds() - (now_s - self._seen[1])
            if moved_s < -_NOISE_S:
                bring_forward(self._store, timedelta(seconds=-moved_s))
            self._seen = (now, now_s)


def bring_forward(store: Store, by: timedelta) -> int:
    """Make every delivery that is put off due so much earlier; return how many. Raises StoreError.

    A little too early is harmless: whoever sends asks the pace again.
    """
    put_off = select(deliveries.c.id, deliveries.c.due_at, deliveries.c.lease_until).where(
        deliveries.c.state == "pending", deliveries.c.due_at > store.clock.now()
    )
    with store.transaction() as connection:
        rows = list(connection.execute(put_off))
        for row in rows:
            lease = None if row.lease_until is None else row.lease_until - by
            change = update(deliveries).where(deliveries.c.id == row.id)
            connection.execute(change.values(due_at=row.due_at - by, lease_until=lease))
    return len(rows)
