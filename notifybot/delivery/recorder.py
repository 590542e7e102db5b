"""Recorder of events and their deliveries, which never raises into the caller."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import islice

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
        self.held: deque[Event] = deque()  # what the database has not taken yet
        self._held_limit = held_limit
        self._lock = threading.Lock()
        self._warned = False
        self._full = False  # the disk or the file, when a held event was not taken last
        self._muted: set[tuple[str, str]] = set()
        self._over: dict[tuple[str, str], datetime] = {}  # when sessions ended, which may be sent before their epochs
        self._lost = 0
        self.dropped = 0
        store.room.begin()

    def record(self, event: Event) -> bool:
        """Write an event; True when it is on disk. False: it is held in memory and written as soon as possible."""
        with self._lock:
            if self.held:
                self._hold(event)
                batches = 0 if self._routes else 1  # else a delivery thread makes room
                if not self._write_held(_IN_PASSING, batches=batches) and not isinstance(event, NEWS):
                    self._write_urgent()
                return not self.held or self.held[-1] is not event
            try:
                self._write([event])
            except StoreError as error:
                if not self._warned:
                    self._warned = True
                    why = redact(str(error))
                    log.warning("%s", text(self._language, "delivery.log.kept_in_memory", why=why))
                self._hold(event)
                return False
            return True

    def mute_session(self, run: RunRef) -> None:
        """Send people nothing more about this session of a run: a newer process does. The watchdog still gets it."""
        if (run.id, run.session) not in self._muted:
            self._muted.add((run.id, run.session))
            log.warning("%s", reader_text("delivery.recorder.newer_process_reports", name=run.name))

    def flush(self, patience_s: float = 0.0) -> bool:
        """Write what is held; True when nothing is left. In a full database, room is made first.

        Waits so long for another thread that is recording, and for others that use the database; whoever records
        meanwhile waits as well, so only the end of a process is patient here.
        """
        if not self.held:
            return True
        with self._store.patient(max(patience_s, self._store.patience_s)):
            if not self._lock.acquire(timeout=patience_s):
                return False
            try:
                self._store.tidy()
                while self.held:
                    if not (self._write_held(_AT_ONCE, batches=100) or self._write_held(1, batches=0)):
                        self._write_urgent()
                        return not self.held
                return True
            finally:
                self._lock.release()

    def _write(self, batch: Sequence[Event]) -> None:
        wanted: list[list[tuple[str, Priority]]] = []
        for event in batch:
            session, routes = (event.run.id, event.run.session), self._routes
            if session in self._muted:
                routes = tuple(each for each in routes if each.name == RELAY)
            if session in self._over and isinstance(event, NEWS) and event.at < self._over[session]:
                routes = tuple(
                    each for each in routes if not each.pace.folds
                )  # its ending has replaced those that wait
            wanted.append([(each.key, priority_of(event)) for each in routes if wants(each.pace, event)])
        if any(isinstance(event, NEWS) for event in batch):
            self._store.room.keep()
        first = batch[0]
        alone = len(batch) == 1 and not self._lost
        if alone and isinstance(first, EpochFinished) and record_epoch(self._store, first, wanted[0]):
            return
        now = self._store.clock.now()
        with self._store.transaction() as connection:
            for event, routed in zip(batch, wanted, strict=True):
                runs.record_in(connection, now, event, routed, direct=self._direct)
            if self._lost and self._routes:
                count_lost(connection, [each.key for each in self._routes], self._lost)
            pruning.keep_reserve(connection)
        self._lost = 0
        self._over |= {(each.run.id, each.run.session): each.at for each in batch if isinstance(each, RunEnded)}

    def _write_held(self, at_once: int, *, batches: int) -> bool:
        """Write the oldest held events; False when the database did not take them.

        In a full one, room is made in at most so many `batches` first.
        """
        batch = list(islice(self.held, at_once))
        try:
            self._write(batch)
        except StoreError as error:
            self._full = pruning.is_full(error)
            try:
                if not (self._full and pruning.make_room(self._store, batches=batches)):
                    return False
                self._write(batch)
            except StoreError:
                return False
        for _ in batch:
            self.held.popleft()
        return True

    def _write_urgent(self) -> None:
        """Write the held urgent events before the held news, if the disk is full."""
        if not self._full:
            return
        for event in [each for each in self.held if not isinstance(each, NEWS)]:
            try:
                self._write([event])
            except StoreError:
                return
            self.held = deque(each for each in self.held if each is not event)

    def _hold(self, event: Event) -> None:
        """Keep an event in memory; one too many drops an epoch, else a checkpoint, else the oldest of all."""
        if len(self.held) >= self._held_limit:
            epochs = (each for each in self.held if isinstance(each, EpochFinished))
            self.held.remove(
                next(epochs, None) or next((each for each in self.held if isinstance(each, NEWS)), self.held[0])
            )
            self._lost += 1
            self.dropped += 1
        self.held.append(event)
