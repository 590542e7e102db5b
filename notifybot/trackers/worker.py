"""The threads on which trackers live: one each, so that a slow start or a failure of one never reaches another."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.errors import reader_text
from notifybot.events import EpochFinished, Event
from notifybot.files import started
from notifybot.i18n import Localized, localized
from notifybot.redaction import redact
from notifybot.trackers.base import HasUrl, Tracker, TrackerContext, WritesLater
from notifybot.trackers.jsonl import JsonlTracker
from notifybot.trackers.tensorboard import TensorBoardTracker
from notifybot.trackers.wandb import WandbTracker, Warn
from notifybot.types import Language, Status

_log = logging.getLogger("notifybot")

Opener = Callable[[TrackerContext, Warn, threading.Event], Tracker]
"""Opens a tracker. The threading.Event ends any wait of the tracker's: it is set when the run is about to end."""

GIVE_UP_AFTER = 3


OPENERS: dict[str, Opener] = {
    "jsonl": lambda context, warn, wake: JsonlTracker.open(context),
    "tensorboard": lambda context, warn, wake: TensorBoardTracker.open(context),
    "wandb": lambda context, warn, wake: WandbTracker.open(context, warn=warn, wake=wake),
}


class TrackerWorkers:
    """Hands events to trackers without ever raising into, or waiting on, the thread that calls `put`.

    `on_trouble(name, text)` is called once per tracker that fails, and once when W&B goes offline, with a text for
    people in the configured language. `on_recorded(name, event_id)` is called for each event, in order, once it and
    all before it would survive a kill of this process: `start` is to replay the events after the last one.
    `on_page(name, url)` is called once for a tracker with a web page, with its address. All three are called on the
    trackers' threads. In a forked child every method does nothing.
    """

    def __init__(
        self,
        *,
        on_trouble: Callable[[str, str], None] = lambda name, text: None,
        on_recorded: Callable[[str, str], None] = lambda name, event_id: None,
        on_page: Callable[[str, str], None] = lambda name, url: None,
        openers: Mapping[str, Opener] = OPENERS,
        clock: Clock = SYSTEM,
    ) -> None:
        self._on_trouble = on_trouble
        self._on_recorded = on_recorded
        self._on_page = on_page
        self._openers = openers
        self._clock = clock
        self._lanes: dict[str, _Worker] = {}
        self._closing = False
        self._pid = os.getpid()

    def start(
        self,
        context: TrackerContext,
        names: Sequence[str],
        config: Config,
        *,
        replay: Mapping[str, Sequence[Event]] | None = None,
    ) -> None:
        """Begin to open the trackers, and return at once.

        `replay` gives the missed events tracker by tracker where they differ; `context.replay` is for all others.
        They must be without a gap, from the first missed one on. Epochs from `context.purge_from` on are left out.
        """
        for name in names:
            missed = (replay or {}).get(name, context.replay)
            own = replace(context, replay=_valid(missed, context.purge_from))
            troubles = _Troubles(name, config.lang, self._on_trouble)
            lane = _Worker(name, self._openers[name], own, troubles, self._on_recorded, self._on_page, self._clock)
            if started(threading.Thread(target=lane.run, name=f"notifybot-trackers-{name}", daemon=True)):
                self._lanes[name] = lane
            else:  # the run's next start replays the events
                troubles.failure(RuntimeError(reader_text("trackers.worker.no_more_threads")))

    @property
    def failures(self) -> dict[str, int]:
        """Number of events that each tracker failed to take, its start and end counted as one each."""
        return {name: lane.failures for name, lane in self._lanes.items()}

    def put(self, event: Event) -> None:
        """Hand an event to every tracker. Ignored after `close`."""
        if not self._closing and os.getpid() == self._pid:  # at the end of each epoch, on the loop's thread
            for lane in self._lanes.values():
                lane.queue.put(event)

    def go_back(self, first: int) -> None:
        """Have every tracker void the epochs labelled `first` and above, before what is put from now on."""
        if self._ours and not self._closing:
            for lane in self._lanes.values():
                lane.queue.put(_Back(first))

    def get(self, name: str, timeout_s: float) -> Tracker | None:
        """Wait until a tracker is open. None: it is not used, could not be opened, or still is not."""
        lane = self._lanes.get(name)
        if lane is None or not self._ours:
            return None
        self._clock.wait(lane.opened, timeout_s)
        return lane.tracker

    def flush(self, timeout_s: float) -> bool:
        """Wait until the trackers have taken all events put so far; False when some had not after `timeout_s`."""
        if not self._ours:
            return True
        closing = self._closing
        flags = [lane.ended if closing else threading.Event() for lane in self._lanes.values()]
        if not closing:
            for lane, mark in zip(self._lanes.values(), flags, strict=True):
                lane.queue.put(mark)
        deadline = self._clock.monotonic() + timeout_s
        waited = [self._clock.wait(flag, max(0.0, deadline - self._clock.monotonic())) for flag in flags]
        return all(waited)

    @property
    def late(self) -> list[str]:
        """The trackers that have not ended, though the run has."""
        return [name for name, lane in self._lanes.items() if self._closing and not lane.ended.is_set()]

    def close(self, status: Status, timeout_s: float) -> bool:
        """Close the trackers after the events put so far; False when some had not ended after `timeout_s`.

        Those are left to their daemon threads. Closing again only waits again.
        """
        if self._ours:
            self._end(status)
            self._hurry()
        return self.flush(timeout_s)

    def finish(self, status: Status, timeout_s: float) -> bool:
        """As `close`, but let trackers that wait for something of their own, such as a server, go on waiting."""
        if self._ours:
            self._end(status)
        return self.flush(timeout_s)

    def linger(self, timeout_s: float) -> bool:
        """Wait for late trackers; in the last third of the time those that wait for something give that up."""
        if not self._ours or self.flush(timeout_s * 2 / 3):
            return True
        self._hurry()
        return self.flush(timeout_s / 3)

    @property
    def _ours(self) -> bool:
        return os.getpid() == self._pid

    def _end(self, status: Status) -> None:
        if not self._closing:
            self._closing = True
            for lane in self._lanes.values():
                lane.queue.put(status)

    def _hurry(self) -> None:
        for lane in self._lanes.values():
            lane.wake.set()


def _valid(missed: Iterable[Event], purge_from: int | None) -> tuple[Event, ...]:
    """Return the events without the epochs from `purge_from` on: those are void."""
    valid = []
    for event in missed:
        epoch = event.progress.epoch if isinstance(event, EpochFinished) else None
        if purge_from is None or epoch is None or epoch < purge_from:
            valid.append(event)
    return tuple(valid)


@dataclass(frozen=True)
class _Back:
    """Queue entry before the epochs that are put once more."""

    first: int


@dataclass
class _Troubles:
    """Reports one tracker's troubles to people; its failure only once, however often it fails."""

    name: str
    language: Language
    on_trouble: Callable[[str, str], None]
    failed: bool = False

    def notice(self, notice: Localized) -> None:
        line = notice.in_(self.language)
        _log.warning("%s: %s", self.name, line)
        self.on_trouble(self.name, line)

    def failure(self, error: Exception) -> None:
        if self.failed:
            return
        self.failed = True
        cause = f"{type(error).__name__}: {redact(' '.join(str(error).split()))[:300]}"
        self.notice(localized("trackers.worker.failed", name=self.name, cause=cause))


class _Worker:
    """One tracker, its thread's loop and its queue."""

    def __init__(
        self,
        name: str,
        opener: Opener,
        context: TrackerContext,
        troubles: _Troubles,
        on_recorded: Callable[[str, str], None],
        on_page: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self.name = name
        self.queue: queue.SimpleQueue[Event | Status | threading.Event | _Back] = queue.SimpleQueue()
        self.tracker: Tracker | None = None
        self.wake = threading.Event()
        self.opened = threading.Event()
        self.ended = threading.Event()
        self.failures = 0
        self._in_a_row = 0
        self._misses = False  # the mark stays before an event that was not taken, so that it is replayed
        self._opener = opener
        self._context = context
        self._troubles = troubles
        self._on_recorded = on_recorded
        self._on_page = on_page
        self._clock = clock
        self._unwritten: deque[tuple[float, str]] = deque()  # ids of events, with when they are on disk

    def run(self) -> None:
        """Open, take what comes, and end with the first Status."""
        try:
            self._guard(self._open)
            self.opened.set()
            for event in self._context.replay:
                self._take(event)
            while self._serve_next():
                pass
        finally:
            self.opened.set()
            self.ended.set()

    def _serve_next(self) -> bool:
        """Take the next entry of the queue, or confirm what is on disk by then; False after the last one."""
        wait_s = max(0.01, self._unwritten[0][0] - self._clock.monotonic()) if self._unwritten else None
        try:
            item = self.queue.get(timeout=wait_s)
        except queue.Empty:
            self._confirm()
            return True
        tracker = self.tracker
        if isinstance(item, Status):
            if tracker is not None and self._guard(lambda: tracker.close(item)):
                self._confirm(everything=True)
            return False
        if isinstance(item, threading.Event):  # all before it is taken
            item.set()
        elif not isinstance(item, _Back):
            self._take(item)
        elif tracker is not None and self._in_a_row < GIVE_UP_AFTER:
            self._guard(lambda: tracker.go_back(item.first))
        return True

    def _open(self) -> None:
        self.tracker = self._opener(self._context, self._troubles.notice, self.wake)
        page = self.tracker.url if isinstance(self.tracker, HasUrl) else None
        if page:
            self._on_page(self.name, page)

    def _take(self, event: Event) -> None:
        tracker = self.tracker
        if tracker is None or self._in_a_row >= GIVE_UP_AFTER:
            self.failures += 1
            self._misses = True
        elif not self._guard(lambda: tracker.record(event)):
            self._misses = True
        elif not self._misses:
            later_s = tracker.written_after_s if isinstance(tracker, WritesLater) else 0.0
            self._unwritten.append((self._clock.monotonic() + later_s, event.id))
            self._confirm()

    def _confirm(self, everything: bool = False) -> None:
        now = self._clock.monotonic()
        while self._unwritten and (everything or self._unwritten[0][0] <= now):
            self._on_recorded(self.name, self._unwritten.popleft()[1])

    def _guard(self, action: Callable[[], None]) -> bool:
        """Run a tracker's code; True when it did not raise."""
        try:
            action()
        except Exception as error:  # noqa: BLE001  # a tracker is foreign code and may raise anything
            self.failures += 1
            self._in_a_row += 1
            if threading.main_thread().is_alive():
                self._troubles.failure(error)
            else:  # at interpreter exit, imports and threads fail; missing events are replayed next time
                _log.info("tracker %s did not get ready before the process ended: %s", self.name, error)
            return False
        self._in_a_row = 0
        return True
