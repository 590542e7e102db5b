"""Threads that repeat the dispatcher's pass: one for each notifier, so that a slow one delays no other.

One more prunes the database, whatever the others wait for, and has pictures drawn in advance.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection

from notifybot.clock import SYSTEM, Clock
from notifybot.delivery.chart_renderer import ChartRenderers
from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.errors import StoreError, reader_text
from notifybot.events import EpochFinished, Event
from notifybot.files import started
from notifybot.i18n import text
from notifybot.redaction import redact
from notifybot.store import pruning
from notifybot.store.database import Store
from notifybot.types import RunRef

log = logging.getLogger("notifybot")

_IDLE_S = 30.0
_DRAWING_S = 1.0  # between looks at a picture that is drawn in advance: its child cannot hand it over otherwise
_PAUSE_S = 0.5  # after the database was busy
_PATIENCE_S = 5.0  # for a busy database: no epoch waits on these threads
_FAULT_MOST_S = 60.0  # between two passes that failed with an unexpected error
_HOPELESS_S = 120.0  # a wait longer than this is one for quiet hours or a spent daily budget
_HELD_S = 5.0  # between looks at what the database did not take
_STUCK_S = 5.0  # between looks at what the recorder holds, while a notifier cannot be reached


class Worker:
    """Daemon threads named "notifybot-NOTIFIER". They own no data: killed at any moment, nothing is lost."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        recorder: Recorder | None = None,
        *,
        clock: Clock = SYSTEM,
        charts: ChartRenderers | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._store = dispatcher.outbox.store
        self._charts = charts
        self._to_draw: EpochFinished | None = None
        self._recorder = recorder
        self._clock = clock
        self._jobs = Maintenance(self._store, clock=clock)
        self._pid = os.getpid()
        self.faults: Counter[tuple[str, str]] = Counter()  # by notifier and kind
        self._stopping = threading.Event()
        self._lanes = {key: _LaneThread(self.work, key) for key in dispatcher.keys}
        self._maintenance = _LaneThread(self.maintain, "maintenance")
        self._threads = [*self._lanes.values(), self._maintenance]

    def start(self) -> None:
        """Start the threads. Starting twice is fine. Where no thread is to be had, messages wait for the next start."""
        begun = [lane.start() for lane in self._threads]
        if self._lanes and not all(begun):
            log.warning("%s", text(self._dispatcher.language, "delivery.log.no_thread"))

    def wake(self, event: Event | None = None) -> None:
        """Say that there may be work, as there is with a new `event`. Cheap; callable from any thread."""
        for key, lane in self._lanes.items():
            if event is None or not self._dispatcher.would_wait(key, event):
                lane.woken.set()
        if isinstance(event, EpochFinished) and self._charts is not None and self._charts.is_due(event):
            self._to_draw = event
            self._maintenance.woken.set()
        if not self._lanes or self._store.room.wal_needs_checkpoint:
            self._maintenance.woken.set()

    def flush(self, timeout_s: float) -> bool:
        """Wait until all that can be sent now is sent; False when `timeout_s` seconds were not enough.

        A notifier that cannot be reached is not waited for. Starts no thread.
        """
        return self._flush(timeout_s, [key for key in self._lanes if not self._dispatcher.stuck(key)])

    def finish(self, timeout_s: float) -> bool:
        """`flush` before the process ends: what could not be reached is tried once more, as it may be back by now.

        Endings overtake alerts that they would have to wait for. The number of given-up messages is logged after that.
        """
        for key in self._lanes:
            self.retry_now(key)
        try:
            sent = self._flush(timeout_s, list(self._lanes), ends=True)
        finally:  # also after a Ctrl-C
            if os.getpid() == self._pid:
                self._dispatcher.write_notes()
        if os.getpid() == self._pid:
            self._dispatcher.sum_up()
        return sent

    def has_logged(self, run: RunRef, code: str) -> bool:
        """True when the log says that a message of the run was given up for a reason of that code."""
        return self._dispatcher.has_logged(run, code)

    def retry_now(self, key: str) -> None:
        """Retry now a notifier that could not be reached. Cheap; callable from any thread."""
        if (lane := self._lanes.get(key)) is not None and self._dispatcher.stuck(key):
            self._dispatcher.retry_now(key)
            lane.hurried.set()

    def _flush(self, timeout_s: float, keys: Collection[str], *, ends: bool = False) -> bool:
        if os.getpid() != self._pid:
            return True
        ends_at_s = self._clock.monotonic() + timeout_s
        if self._recorder is not None:
            self._recorder.flush(timeout_s / 4)
        if ends:
            self._dispatcher.put_endings_first()
        if not self._maintenance.alive:
            self._keep_house()
        for key in keys:
            self._lanes[key].idle.clear()
        self.wake()
        lanes = [lane for lane in self._lanes.values() if lane.alive]
        sent = all(self._clock.wait(lane.idle, max(0.0, ends_at_s - self._clock.monotonic())) for lane in lanes)
        if self._recorder is not None:  # what could not be written before is lost at exit
            self._recorder.flush(max(0.0, ends_at_s - self._clock.monotonic()))
        return sent

    def stop(self, timeout_s: float) -> None:
        """End the threads; one that is in the middle of a send is left to end by itself. Stopping twice is fine."""
        if os.getpid() != self._pid:
            return
        self._stopping.set()
        self.wake()
        ends_at_s = self._clock.monotonic() + timeout_s
        self._maintenance.woken.set()
        for lane in self._threads:
            lane.hurried.set()
        for lane in self._threads:
            lane.join(max(0.0, ends_at_s - self._clock.monotonic()))
        self._dispatcher.write_notes()
        if not any(lane.alive for lane in self._threads):
            self._dispatcher.close()

    def work(self, key: str, lane: _LaneThread) -> None:
        """Run one notifier's thread: pass after pass, also after one that failed."""
        with self._store.patient(_PATIENCE_S):
            while not self._stopping.is_set():
                lane.woken.clear()
                lane.hurried.clear()
                pause_s, stuck = self._pass(key, lane), self._dispatcher.stuck(key)
                if pause_s is None or pause_s > _HOPELESS_S or stuck:
                    lane.idle.set()  # nothing can be sent now, also for those who wait
                if pause_s is None:
                    self._clock.wait(lane.woken, _IDLE_S)
                elif pause_s > 0 and stuck:
                    self._clock.wait(lane.hurried, min(pause_s, _STUCK_S))
                elif pause_s > 0:  # within a short gap between messages or tries only the end wakes it, not new work
                    self._clock.wait(self._stopping if pause_s < 1.0 else lane.woken, pause_s)

    def _pass(self, key: str, lane: _LaneThread) -> float | None:
        """Send until nothing is due; return the seconds until the next pass, None when nothing waits."""
        try:
            held = self._recorder is not None and self._recorder.held and not self._recorder.flush()
            while not self._stopping.is_set():
                done = self._dispatcher.run_once(key)
                if self._store.room.wal_needs_checkpoint:
                    self._maintenance.woken.set()
                if done in (Outcome.IDLE, Outcome.HELD, Outcome.RETRY):
                    break
            wait_s = self._dispatcher.wait_s(key)
            if wait_s is None:  # a lane within its gap is not asked for more, so no pass finds nothing
                self._dispatcher.rest(key)
        except StoreError as error:
            if not self._stopping.is_set():  # else it was closed during a send, whose result is noted beside it
                self._log_fault(key, "database", "delivery.log.no_database", str(error))
            return _PAUSE_S
        except Exception as error:  # a mistake of ours in one pass must not silence a notifier for good
            lane.faults += 1
            log.debug("a pass for %s failed", key, exc_info=error)
            why = f"{type(error).__name__}: {error}"
            self._log_fault(key, type(error).__name__, "delivery.log.mistake_of_ours", why)
            return min(_PAUSE_S * 2.0 ** min(lane.faults - 1, 10), _FAULT_MOST_S)
        lane.faults = 0
        if held:
            return _HELD_S if wait_s is None else min(_HELD_S, wait_s)
        return wait_s

    def _log_fault(self, key: str, kind: str, line: str, why: str) -> None:
        """Count a fault of this process that kept a notifier from sending, and log the first of each kind."""
        self.faults[key, kind] += 1
        if self.faults[key, kind] == 1:
            name = key.partition(":")[0]
            log.warning("%s", text(self._dispatcher.language, line, name=name, why=redact(why)))

    def maintain(self, _: str, thread: _LaneThread) -> None:
        """Run the housekeeping thread, so that the database does not grow while notifiers hang, or if there is none."""
        while not self._stopping.is_set():
            thread.woken.clear()
            if not self._lanes and self._recorder is not None:
                self._recorder.flush()
            self._keep_house()
            event, self._to_draw = self._to_draw, None
            drawing = self._charts is not None and self._charts.draw_in_advance(event)
            self._clock.wait(thread.woken, _DRAWING_S if drawing else _IDLE_S)
        if self._charts is not None:
            self._charts.close()

    def _keep_house(self) -> None:
        self._store.tidy()
        try:
            self._jobs.run_if_due()
        except StoreError as error:
            log.debug("housekeeping was put off: %s", error)


class _LaneThread:
    def __init__(self, live: Callable[[str, _LaneThread], None], key: str) -> None:
        self.woken = threading.Event()
        self.hurried = threading.Event()  # even where it cannot be reached
        self.idle = threading.Event()
        self.faults = 0  # passes in a row that failed with an unexpected error
        name = f"notifybot-{key.partition(':')[0]}"
        self._thread = threading.Thread(target=live, args=(key, self), name=name, daemon=True)
        self._started = False

    def start(self) -> bool:
        self._started = self._started or started(self._thread)
        return self._started

    @property
    def alive(self) -> bool:
        return self._started and self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        if self._started:
            self._thread.join(timeout_s)


_LOOK_EVERY_S = 60.0
_PRUNE_EVERY_S = 3600.0


class Maintenance:
    """Prunes the database. Callable often, from any thread: it works once a minute at most, and never in parallel."""

    def __init__(self, store: Store, *, clock: Clock = SYSTEM) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._look_at_s = clock.monotonic()
        self._prune_at_s = clock.monotonic() + _LOOK_EVERY_S  # not while a run is being started
        self._warned = False

    def run_if_due(self) -> None:
        """Do what is due. Raises StoreError."""
        now_s = self._clock.monotonic()
        if now_s < self._look_at_s or not self._lock.acquire(blocking=False):
            return
        try:
            self._look_at_s = now_s + _LOOK_EVERY_S
            if pruning.is_narrow(self._store):
                if not self._warned:
                    self._warned = True
                    log.warning("%s", reader_text("delivery.worker.database_nearly_full", path=self._store.path))
                pruning.make_room(self._store)
            if now_s >= self._prune_at_s:
                self._prune_at_s = now_s + _PRUNE_EVERY_S
                pruning.prune(self._store)
        finally:
            self._lock.release()
