"""The threads on which trackers live: one each, so that a slow start or a failure of one never reaches another."""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.errors import reader_text
from notifybot.events import EpochFinished, Event
from notifybot.files import started
from notifybot.i18n import Localized, localized
from notifybot.redaction import redact
from notifybot.trackers.base import HasUrl, SettlesLater, Tracker, TrackerContext
from notifybot.trackers.jsonl import JsonlTracker
from notifybot.trackers.tensorboard import TensorBoardTracker
from notifybot.trackers.wandb import Tell, WandbTracker
from notifybot.types import Language, Status

_log = logging.getLogger("notifybot")

Opener = Callable[[TrackerContext, Tell, threading.Event], Tracker]
"""Opens a tracker. The threading.Event ends any wait of the tracker's: it is set when the run is about to end."""

GIVE_UP_AFTER = 3


OPENERS: dict[str, Opener] = {
    "jsonl": lambda context, tell, wake: JsonlTracker.open(context),
    "tensorboard": lambda context, tell, wake: TensorBoardTracker.open(context),
    "wandb": lambda context, tell, wake: WandbTracker.open(context, tell=tell, wake=wake),
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
            told = _Told(name, config.lang, self._on_trouble)
            lane = _Worker(name, self._openers[name], own, told, self._on_recorded, self._on_page, self._clock)
            if started(threading.Thread(target=lane.run, name=f"notifybot-trackers-{name}", daemon=True)):
                self._lanes[name] = lane
            else:  # the run's next start replays the events
                told.failure(RuntimeError(reader_text("trackers.worker.no_more_threads")))

    @property
    def failures(self) -> dict[str, int]:
        """Number of events that each tracker failed to take, its start and end counted as one each."""
        return {name: lane.failures for name, lane in self._lanes.items()}

    def put(self, event: Event) -> None:
        """Hand an event to every tracker. Ignored after `close`."""
        if not self._closing and os.getpid() == self._pid:
            for lane in self._lanes.values():
                lane.queue.put(event)

    def go_back(self, first: int) -> None:
        """Have every tracker void the epochs labelled `first` and above, before what is put from now on."""
        if self._ours and not self._closing:
            self._give(_Back(first))

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
        if not self._closing:
            marks = [_Mark() for _ in self._lanes]
            for lane, mark in zip(self._lanes.values(), marks, strict=True):
                lane.queue.put(mark)
            return self._await((mark.passed for mark in marks), timeout_s)
        return self._await((lane.ended for lane in self._lanes.values()), timeout_s)

    @property
    def late(self) -> list[str]:
        """The trackers that have not ended, though the run has."""
        return [name for name, lane in self._lanes.items() if self._closing and not lane.ended.is_set()]

    def close(self, status: Status, timeout_s: float) -> bool:
        """Close the trackers after the events put so far; False when some had not ended after `timeout_s`.

        Those are left to their daemon threads. Closing again only waits again.
        """
        if not self._ours:
            return True
        self._end(status)
        self._hurry()
        return self.flush(timeout_s)

    def finish(self, status: Status, timeout_s: float) -> bool:
        """As `close`, but let trackers that wait for something of their own, such as a server, go on waiting."""
        if not self._ours:
            return True
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
            self._give(status)

    def _hurry(self) -> None:
        for lane in self._lanes.values():
            lane.wake.set()

    def _give(self, item: Event | Status | _Back) -> None:
        for lane in self._lanes.values():
            lane.queue.put(item)

    def _await(self, flags: Iterable[threading.Event], timeout_s: float) -> bool:
        deadline = self._clock.monotonic() + timeout_s
        waited = [self._clock.wait(flag, max(0.0, deadline - self._clock.monotonic())) for flag in flags]
        return all(waited)


def _valid(missed: Iterable[Event], purge_from: int | None) -> tuple[Event, ...]:
    return tuple(event for event in missed if not _void(event, purge_from))


def _void(event: Event, purge_from: int | None) -> bool:
    if purge_from is None or not isinstance(event, EpochFinished):
        return False
    return event.progress.epoch is not None and event.progress.epoch >= purge_from


@dataclass(frozen=True)
class _Mark:
    """Queue entry after the events that it is to prove taken."""

    passed: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class _Back:
    """Queue entry before the epochs that are put once more."""

    first: int


@dataclass
class _Told:
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
        told: _Told,
        on_recorded: Callable[[str, str], None],
        on_page: Callable[[str, str], None],
        clock: Clock,
    ) -> None:
        self.name = name
        self.queue: queue.SimpleQueue[Event | Status | _Mark | _Back] = queue.SimpleQueue()
        self.tracker: Tracker | None = None
        self.wake = threading.Event()
        self.opened = threading.Event()
        self.ended = threading.Event()
        self.failures = 0
        self._in_a_row = 0
        self._misses = False  # the mark stays before an event that was not taken, so that it is replayed
        self._opener = opener
        self._context = context
        self._told = told
        self._on_recorded = on_recorded
        self._on_page = on_page
        self._clock = clock
        self._settling: deque[tuple[float, str]] = deque()

    def run(self) -> None:
        """Open, take what comes, and end with the first Status."""
        try:
            self._guard(self._open)
            self.opened.set()
            for event in self._context.replay:
                self._take(event)
            self._serve()
        finally:
            self.opened.set()
            self.ended.set()

    def _serve(self) -> None:
        while True:
            try:
                item = self.queue.get(timeout=self._next_settled_s())
            except queue.Empty:
                self._confirm()
                continue
            if isinstance(item, Status):
                return self._close(item)
            if isinstance(item, _Mark):
                item.passed.set()
            elif isinstance(item, _Back):
                self._go_back(item.first)
            else:
                self._take(item)

    def _open(self) -> None:
        self.tracker = self._opener(self._context, self._told.notice, self.wake)
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
            settle_s = tracker.settle_s if isinstance(tracker, SettlesLater) else 0.0
            self._settling.append((self._clock.monotonic() + settle_s, event.id))
            self._confirm()

    def _go_back(self, first: int) -> None:
        tracker = self.tracker
        if tracker is not None and self._in_a_row < GIVE_UP_AFTER:
            self._guard(lambda: tracker.go_back(first))

    def _close(self, status: Status) -> None:
        tracker = self.tracker
        if tracker is not None and self._guard(lambda: tracker.close(status)):
            self._confirm(everything=True)

    def _next_settled_s(self) -> float | None:
        return max(0.01, self._settling[0][0] - self._clock.monotonic()) if self._settling else None

    def _confirm(self, everything: bool = False) -> None:
        now = self._clock.monotonic()
        while self._settling and (everything or self._settling[0][0] <= now):
            self._on_recorded(self.name, self._settling.popleft()[1])

    def _guard(self, action: Callable[[], None]) -> bool:
        """Run a tracker's code; True when it did not raise."""
        try:
            action()
        except Exception as error:  # noqa: BLE001  # a tracker is foreign code and may raise anything
            self.failures += 1
            self._in_a_row += 1
            if threading.main_thread().is_alive():
                self._told.failure(error)
            else:  # at interpreter exit, imports and threads fail; missing events are replayed next time
                _log.info("tracker %s did not get ready before the process ended: %s", self.name, error)
            return False
        self._in_a_row = 0
        return True
