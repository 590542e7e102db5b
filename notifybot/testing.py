"""Fakes for our tests and yours: a clock that tests move, a notifier that records, a memory in a dict."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from notifybot.notifiers.base import Envelope
from notifybot.policy import Pace


class FakeClock:
    """A clock that stands still until `advance`. Waiting on it moves it."""

    def __init__(self, start: datetime | None = None) -> None:
        self._now = start or datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        if not event.is_set() and timeout_s is not None:
            self.advance(timeout_s)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as an administrator or NTP would."""
        self._now += timedelta(seconds=seconds)


class DictMemory:
    """A notifier's memory that lasts as long as the object."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, Any]] = {}

    def get(self, scope: str) -> dict[str, Any]:
        return dict(self.values.get(scope, {}))

    def put(self, scope: str, value: dict[str, Any]) -> None:
        self.values[scope] = dict(value)

    def put_with_mark(self, scope: str, value: dict[str, Any]) -> None:
        self.put(scope, value)


class RecordingNotifier:
    """Remembers the envelopes it was handed. `failures` are raised first, one a call."""

    def __init__(self, name: str = "recording", pace: Pace | None = None, failures: Sequence[Exception] = ()) -> None:
        self.name = name
        self.key = f"{name}:00000000"
        self.pace = pace or Pace()
        self.failures = list(failures)
        self.sent: list[Envelope] = []
        self.tries = 0
        self.closed = False

    def send(self, envelope: Envelope) -> None:
        self.tries += 1
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(envelope)

    def close(self) -> None:
        self.closed = True

    @property
    def kinds(self) -> list[str]:
        """The kinds of the events sent so far, in order."""
        return [each.event.kind for each in self.sent]
