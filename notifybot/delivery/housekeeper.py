"""Housekeeping of the local database: room before it is needed, and old records away once an hour."""

from __future__ import annotations

import logging
import threading

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import said
from notifybot.store import pruning
from notifybot.store.database import Store

log = logging.getLogger("notifybot")

_LOOK_EVERY_S = 60.0
_PRUNE_EVERY_S = 3600.0


class Housekeeper:
    """Called by whoever passes by, from any thread; works at most once a minute, and never twice at the same time."""

    def __init__(self, store: Store, *, clock: Clock = SYSTEM) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._look_at_s = clock.monotonic()
        self._prune_at_s = clock.monotonic() + _LOOK_EVERY_S  # not while a run is being started
        self._warned = False

    def pass_by(self) -> None:
        """Do what is due. Raises StoreError."""
        now_s = self._clock.monotonic()
        if now_s < self._look_at_s or not self._lock.acquire(blocking=False):
            return
        try:
            self._look_at_s = now_s + _LOOK_EVERY_S
            if pruning.is_narrow(self._store):
                self.make_room()
            if now_s >= self._prune_at_s:
                self._prune_at_s = now_s + _PRUNE_EVERY_S
                pruning.prune(self._store)
        finally:
            self._lock.release()

    def make_room(self) -> bool:
        """Free a part of the database; True when anything was freed. Raises StoreError."""
        if not self._warned:
            self._warned = True
            text = said(
                f"the database {self._store.path} is nearly full: the oldest metrics are given up",
                f"데이터베이스 {self._store.path}이(가) 거의 가득 차서 가장 오래된 지표부터 지웁니다",
            )
            log.warning("%s", text)
        return pruning.make_room(self._store)
