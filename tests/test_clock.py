"""The machine's clocks."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from notifybot.clock import SYSTEM, Clock


def test_a_moment_is_in_utc_and_now() -> None:
    before, moment, after = datetime.now(UTC), SYSTEM.now(), datetime.now(UTC)

    assert moment.tzinfo is UTC
    assert before <= moment <= after


def test_seconds_never_go_back() -> None:
    clock: Clock = SYSTEM
    seconds = [clock.monotonic() for _ in range(100)]

    assert seconds == sorted(seconds)


def test_a_wait_ends_with_its_event_or_its_time() -> None:
    event = threading.Event()

    assert SYSTEM.wait(event, 0.0) is False
    event.set()
    assert SYSTEM.wait(event, None) is True
