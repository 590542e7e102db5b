"""Recording an event and its deliveries without ever raising into the caller."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence

from notifybot.errors import StoreError
from notifybot.events import EpochFinished, Event
from notifybot.notifiers.base import Notifier
from notifybot.policy import Priority, priority_of, wants
from notifybot.store import runs
from notifybot.store.engine import Store

log = logging.getLogger("notifybot")

_HELD_LIMIT = 10_000


class Recorder:
    """Writes events to the store; what it cannot take now is held in memory, in order, and written later."""

    def __init__(self, store: Store, routes: Sequence[Notifier], *, direct: bool) -> None:
        self._store = store
        self._routes = tuple(routes)
        self._direct = direct
        self._held: deque[Event] = deque()
        self._lock = threading.Lock()
        self._warned = False
        self.dropped = 0

    def record(self, event: Event) -> bool:
        """Write an event; True when it is on disk. False: it is held in memory and written as soon as possible."""
        with self._lock:
            if self._held and not self._write_held():
                self._hold(event)
                return False
            try:
                self._write(event)
            except StoreError as error:
                self._warn(error)
                self._hold(event)
                return False
            return True

    def settle(self) -> bool:
        """Write what is held; True when nothing is left. Never waits for another thread that is recording."""
        if not self._held:
            return True
        if not self._lock.acquire(blocking=False):
            return False
        try:
            return self._write_held()
        finally:
            self._lock.release()

    def _write(self, event: Event) -> None:
        priority = priority_of(event)
        wanted: list[tuple[str, Priority]] = [(each.key, priority) for each in self._routes if wants(each.pace, event)]
        runs.record(self._store, event, wanted, direct=self._direct)

    def _write_held(self) -> bool:
        while self._held:
            try:
                self._write(self._held[0])
            except StoreError:
                return False
            self._held.popleft()
        return True

    def _hold(self, event: Event) -> None:
        if len(self._held) >= _HELD_LIMIT:  # metrics go first; endings and alerts stay
            oldest = next((each for each in self._held if isinstance(each, EpochFinished)), None)
            if oldest is not None:
                self._held.remove(oldest)
            else:
                self._held.popleft()
            self.dropped += 1
        self._held.append(event)

    def _warn(self, error: StoreError) -> None:
        if not self._warned:
            self._warned = True
            log.warning("%s: kept in memory until it does", error)
