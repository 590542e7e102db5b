"""Console output from a thread of its own, so that a full pipe cannot block the training loop."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from contextlib import suppress
from typing import Any

from notifybot.events import EpochFinished, Event
from notifybot.files import at_fork, started
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.console import ConsoleNotifier, print_between_bars
from notifybot.rendering import Renderer
from notifybot.training.guard import Guard

log = logging.getLogger("notifybot")

_WAIT_S = 0.5  # a start, an alert or an end should stand above what the program prints next
_writing = threading.Lock()  # a child forked within a write would inherit tqdm's lock taken
_forking = threading.local()  # `holds`: this thread took `_writing` for its fork; several threads may fork at once


class ConsoleThread:
    """Prints every event on the console in order, from a thread of its own. Waits for all events but epochs.

    Without a console, nothing is printed.
    """

    def __init__(self, console: ConsoleNotifier | None, renderer: Renderer, guard: Guard) -> None:
        self._console = console
        self._renderer = renderer
        self._guard = guard
        self._lines: queue.SimpleQueue[Event | threading.Event | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False

    def say(self, event: Event) -> None:
        """Print an event; return when it is printed, after half a second at most, and at once for an epoch."""
        if self._console is None:
            return
        if not self._closed and self._thread is None:
            thread = threading.Thread(target=self._work, name="notifybot-console", daemon=True)
            self._thread = thread if started(thread) else None
        if self._closed or self._thread is None:  # an alert after the end, or no thread could be started
            self._write(event)
            return
        self._lines.put(event)
        if not isinstance(event, EpochFinished):
            said = threading.Event()
            self._lines.put(said)
            said.wait(_WAIT_S)

    def close(self) -> None:
        """End the thread after its remaining lines; wait for it at most half a second."""
        self._closed = True
        if self._thread is not None:
            self._lines.put(None)
            self._thread.join(_WAIT_S)

    def _work(self) -> None:
        while (line := self._lines.get()) is not None:
            if isinstance(line, threading.Event):
                line.set()
            else:
                with _writing, self._guard("console"):
                    self._write(line)

    def _write(self, event: Event) -> None:
        if self._console is None:
            return
        message = (
            self._renderer.render_summary(event) if isinstance(event, EpochFinished) else self._renderer.render(event)
        )
        self._console.send(Envelope(event, message, _NO_MEMORY))


class LogLines(logging.Handler):
    """Writes warnings of our logger between bars, where the program has not set up logging itself.

    Python's own last resort would write them into the bar, and leave what a full disk refused in the stream's buffer.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line. A stream that is closed, full or missing costs it."""
        stream = sys.stderr
        others = [each for each in log.handlers if each is not self]
        if stream is None or others or (log.propagate and log.parent is not None and log.parent.hasHandlers()):
            return
        with suppress(OSError, ValueError):
            print_between_bars(self.format(record), stream)

    def attach(self) -> None:
        """Write from now on; what a stream, handler or filter of the program's raises stays out. Twice is fine."""
        log.addHandler(self)
        log.handle = _handle  # type: ignore[method-assign]


def _handle(record: logging.LogRecord) -> None:
    with suppress(Exception):
        logging.Logger.handle(log, record)


LOG_LINES = LogLines()


class _NoMemory:
    """The console remembers nothing."""

    def get(self, scope: str) -> dict[str, Any]:
        return {}

    def put(self, scope: str, value: dict[str, Any]) -> None:
        return

    def put_with_mark(self, scope: str, value: dict[str, Any]) -> None:
        return


_NO_MEMORY = _NoMemory()


def _before_fork() -> None:
    _forking.holds = _writing.acquire(timeout=0.05)  # bounded: a writer on a full pipe may hold it for ever


def _after_fork_in_parent() -> None:
    if getattr(_forking, "holds", False):
        _writing.release()


def _after_fork_in_child() -> None:
    global _writing
    _writing = threading.Lock()


at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
