"""A lock that whoever has waited longest gets next, so that a busy thread does not keep the others out.

`threading.RLock` may be taken again by the thread that has just released it, for seconds on end. Here one has to pass a
turnstile to wait for it: whoever stands there is the next. No deadlock can come of the two: those in the turnstile wait
for the lock only, and its holder never waits for the turnstile. Both are reentrant, so that a signal's handler may
run anywhere in here and take the lock as well.
"""

from __future__ import annotations

import threading

from notifybot.clock import SYSTEM

_FOREVER_S = 365 * 86_400.0


class FairLock:
    """Reentrant. At most one thread overtakes those that wait, and only on its way into the turnstile."""

    def __init__(self) -> None:
        self._turnstile = threading.RLock()
        self._lock = threading.RLock()
        self._here = threading.local()  # how often this thread holds the lock

    def acquire(self, *, timeout: float) -> bool:
        """Take the lock, at most after so many seconds; False when it was not to be had."""
        if self._depth:
            return self._taken(timeout)
        ends_at_s = SYSTEM.monotonic() + timeout
        if not self._turnstile.acquire(timeout=timeout):
            return False
        try:
            return self._taken(max(ends_at_s - SYSTEM.monotonic(), 0.0))
        finally:
            self._turnstile.release()

    def release(self) -> None:
        """Give it back, once for each time that it was taken."""
        self._lock.release()  # first: a signal between the two may overtake others, but never waits for what we hold
        self._here.depth = self._depth - 1

    def __enter__(self) -> None:
        self.acquire(timeout=_FOREVER_S)

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_held_here(self) -> bool:
        """True in the thread that has it."""
        return self._depth > 0

    @property
    def _depth(self) -> int:
        depth: int = getattr(self._here, "depth", 0)
        return depth

    def _taken(self, timeout_s: float) -> bool:
        taken = self._lock.acquire(timeout=timeout_s)
        if taken:
            self._here.depth = self._depth + 1
        return taken
