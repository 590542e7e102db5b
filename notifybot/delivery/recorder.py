"""Recorder of events and their deliveries, which never raises into the caller."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

from sqlalchemy import Connection

from notifybot.errors import StoreError, reader_text
from notifybot.events import EpochFinished, Event, RunEnded
from notifybot.i18n import text
from notifybot.notifiers.base import Notifier
from notifybot.policy import NEWS, Priority, priority_of, wants
from notifybot.redaction import redact
from notifybot.store import pruning, runs
from notifybot.store.database import Store
from notifybot.store.outbox import count_lost
from notifybot.store.record_epoch import record_epoch
from notifybot.types import Language, RunRef

log = logging.getLogger("notifybot")

HELD_LIMIT = 10_000
RELAY = "watchdog"  # the name of `relay.WatchdogRelay`, whose client is imported only where it is configured
_AT_ONCE = 100  # held events in one transaction: one fsync for all of them
_IN_PASSING = 10  # fewer on the caller's thread, which trains


class Recorder:
    """Writes events to the store; what it cannot take now is held in memory, in order, and written later.

    At most `held_limit` events are held. Then epochs are dropped, the oldest first, and after them checkpoints; the
    number lost is reported with the next success. On a full disk, urgent events overtake the news: room is
    reserved for them (see `store.disk_reserve`).
    """

    def __init__(
        self,
        store: Store,
        routes: Sequence[Notifier],
        *,
        direct: bool,
        held_limit: int = HELD_LIMIT,
        language: Language = Language.EN,
    ) -> None:
        self._store = store
        self._routes = tuple(routes)
        self._direct = direct
        self._language = language
        self._held: deque[Event] = deque()
        self._held_limit = held_limit
        self._lock = threading.Lock()
        self._warned = False
        self._full = False  # the disk or the file, when a held event was not taken last
        self._muted: set[tuple[str, str]] = set()
        self._over: dict[tuple[str, str], datetime] = {}  # when sessions ended, which may be told before their epochs
        self._lost = 0
        self.dropped = 0
        store.room.begin()

    def record(self, event: Event) -> bool:
        """Write an event; True when it is on disk. False: it is held in memory and written as soon as possible."""
        with self._lock:
            if self._held:
                self._hold(event)
                batches = 0 if self._routes else 1  # else a delivery thread makes room
                if not self._write_held(_IN_PASSING, batches=batches) and not isinstance(event, NEWS):
                    self._write_urgent()
                return not self._held or self._held[-1] is not event
            try:
                self._write([event])
            except StoreError as error:
                self._warn(error)
                self._hold(event)
                return False
            return True

    def mute_session(self, run: RunRef) -> None:
        """Send people nothing more about this session of a run: a newer process does. The watchdog still gets it."""
        if (run.id, run.session) not in self._muted:
            self._muted.add((run.id, run.session))
            text = reader_text("delivery.recorder.newer_process_reports", name=run.name)
            log.warning("%s", text)

    def settle(self, patience_s: float = 0.0) -> bool:
        """Write what is held; True when nothing is left. In a full database, room is made first.

        Waits so long for another thread that is recording, and for others that use the database; whoever records
        meanwhile waits as well, so only the end of a process is patient here.
        """
        if not self._held:
            return True
        with self._store.patient(max(patience_s, self._store.patience_s)):
            return self._settled(patience_s)

    def _settled(self, patience_s: float) -> bool:
        if not self._lock.acquire(timeout=patience_s):
            return False
        try:
            self._store.tidy()
            while self._held:
                if not (self._write_held(_AT_ONCE, batches=100) or self._write_held(1, batches=0)):
                    self._write_urgent()
                    return not self._held
            return True
        finally:
            self._lock.release()

    def _write(self, batch: Sequence[Event]) -> None:
        first = batch[0]
        if any(isinstance(event, NEWS) for event in batch):
            self._store.room.keep()
        alone = len(batch) == 1 and not self._lost
        if alone and isinstance(first, EpochFinished) and record_epoch(self._store, first, self._wanted(first)):
            return
        now = self._store.clock.now()
        with self._store.transaction() as connection:
            for event in batch:
                runs.record_in(connection, now, event, self._wanted(event), direct=self._direct)
            self._record_lost_events(connection)
            pruning.keep_reserve(connection)
        self._lost = 0
        self._over |= {(each.run.id, each.run.session): each.at for each in batch if isinstance(each, RunEnded)}

    def _wanted(self, event: Event) -> list[tuple[str, Priority]]:
        priority, session = priority_of(event), (event.run.id, event.run.session)
        routes = [each for each in self._routes if each.name == RELAY] if session in self._muted else self._routes
        if isinstance(event, NEWS) and session in self._over and event.at < self._over[session]:
            routes = [each for each in routes if not each.pace.folds]  # its ending has replaced those that wait
        return [(each.key, priority) for each in routes if wants(each.pace, event)]

    def _record_lost_events(self, connection: Connection) -> None:
        if self._lost and self._routes:
            count_lost(connection, [each.key for each in self._routes], self._lost)

    def _write_held(self, at_once: int, *, batches: int) -> bool:
        """Write the oldest held events; False when the database did not take them.

        In a full one, room is made in at most so many `batches` first.
        """
        batch = list(islice(self._held, at_once))
        try:
            self._write(batch)
        except StoreError as error:
            self._full = pruning.is_full(error)
            if not (self._full and self._written_after_making_room(batch, batches)):
                return False
        for _ in batch:
            self._held.popleft()
        return True

    def _write_urgent(self) -> None:
        """Write the held urgent events before the held news, if the disk is full."""
        if not self._full:
            return
        for event in [each for each in self._held if not isinstance(each, NEWS)]:
            try:
                self._write([event])
            except StoreError:
                return
            self._held = deque(each for each in self._held if each is not event)

    def _written_after_making_room(self, batch: Sequence[Event], batches: int) -> bool:
        try:
            if not pruning.make_room(self._store, batches=batches):
                return False
            self._write(batch)
        except StoreError:
            return False
        return True

    def _hold(self, event: Event) -> None:
        if len(self._held) >= self._held_limit:
            self._give_way()
            self._lost += 1
            self.dropped += 1
        self._held.append(event)

    def _give_way(self) -> None:
        """Drop a held event: epochs first, then checkpoints; starts, endings and alerts if nothing else is left."""
        for kinds in ((EpochFinished,), NEWS):
            oldest = next((number for number, each in enumerate(self._held) if isinstance(each, kinds)), None)
            if oldest is not None:
                del self._held[oldest]
                return
        self._held.popleft()

    def _warn(self, error: StoreError) -> None:
        if not self._warned:
            self._warned = True
            log.warning("%s", text(self._language, "delivery.log.kept_in_memory", why=redact(str(error))))
