"""Clock protocol and the system's clock: the only source of time, so that tests can move it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from functools import partial
from typing import Protocol


class Clock(Protocol):
    """Source of time for the whole package."""

    def now(self) -> datetime:
        """The wall clock as an aware moment in UTC, for records and deadlines that outlive the process."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump, for durations."""
        ...

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        """Wait until `event` is set or `timeout_s` seconds passed; True when it was set."""
        ...


class SystemClock:
    """The machine's clocks."""

    now = staticmethod(partial(datetime.now, UTC))
    monotonic = staticmethod(time.monotonic)

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        return event.wait(timeout_s)


SYSTEM = SystemClock()
