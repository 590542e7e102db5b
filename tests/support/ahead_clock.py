"""A true clock that a test may put forward: threads and notifiers' paces go by it as by the machine's."""

from __future__ import annotations

from notifybot.clock import SYSTEM, SystemClock


class AheadClock(SystemClock):
    """The machine's clock, some seconds ahead."""

    ahead_s = 0.0

    def monotonic(self) -> float:
        return SYSTEM.monotonic() + self.ahead_s
