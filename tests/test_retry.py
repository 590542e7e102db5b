"""The decision when to try again."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.errors import TemporaryError
from notifybot.retry import RETRY_AFTER_CAP_S, delay_s, parse_retry_after

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def test_the_first_retry_comes_within_a_second() -> None:
    waits = [delay_s([0.0], 0.0, TemporaryError("x"), Random(seed)) for seed in range(200)]

    assert min(waits) >= 0.0
    assert max(waits) <= 1.0


@dataclass
class Tries:
    """What a receiver sees of a process while it is away, and when it is back. Times in seconds."""

    outage_s: float
    seed: int
    failed: list[float] = field(default_factory=list)
    back: float = 0.0  # the first try that succeeds

    def __post_init__(self) -> None:
        rng = Random(self.seed)
        while self.back <= self.outage_s:
            self.failed.append(self.back)
            self.back += delay_s(self.failed, self.back, TemporaryError("x"), rng)


@pytest.mark.parametrize("outage_s", [1, 5, 10, 20, 30, 45, 60, 75, 120, 300, 900, 3600, 7200])
def test_whoever_is_back_is_noticed_within_a_minute(outage_s: float) -> None:
    """However long it was away: each wait is at most a minute, and after a short outage a part of that."""
    silences = [Tries(outage_s, seed).back - outage_s for seed in range(300)]

    assert max(silences) <= 60.0
    assert outage_s > 10 or statistics.median(silences) <= 20.0


@given(outage_s=st.floats(1, 7200), seed=st.integers(0, 10_000))
def test_after_the_first_minute_an_outage_sees_one_try_a_minute(outage_s: float, seed: int) -> None:
    failed = Tries(outage_s, seed).failed

    assert sum(moment < 60.0 for moment in failed) <= 7
    assert all(later - first >= 60.0 - 1e-6 for first, later in pairwise(failed) if first >= 60.0)
    assert len(failed) <= 7 + outage_s / 60.0


def test_those_who_lost_the_same_receiver_do_not_return_at_the_same_moment() -> None:
    """A hundred processes probe once a minute each, and not all in the same seconds of it."""
    phases = [Tries(600.0, seed).back % 60.0 for seed in range(100)]

    assert all(sum(start <= phase < start + 10 for phase in phases) < 50 for start in range(0, 60, 10))


def test_waits_are_spread() -> None:
    waits = [delay_s([0.0, 1.0, 2.0, 3.0], 3.0, TemporaryError("x"), Random(seed)) for seed in range(500)]

    assert statistics.stdev(waits) / statistics.mean(waits) >= 0.3


@given(after=st.floats(0, 1e6), seed=st.integers(0, 1000))
def test_retry_after_is_a_lower_bound_believed_up_to_an_hour(after: float, seed: int) -> None:
    wait = delay_s([0.0], 0.0, TemporaryError("x", retry_after_s=after), Random(seed))

    assert wait >= min(after, RETRY_AFTER_CAP_S)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param(None, None, id="absent"),
        pytest.param("7", 7.0, id="seconds"),
        pytest.param("1.5", 1.5, id="fraction"),
        pytest.param("Mon, 23 Nov 2026 03:01:30 GMT", 90.0, id="date"),
        pytest.param("Mon, 23 Nov 2026 02:00:00 GMT", 0.0, id="past date"),
        pytest.param("86400", 3600.0, id="clamped"),
        pytest.param("-3", 0.0, id="negative"),
        pytest.param("nan", None, id="nan"),
        pytest.param("soon", None, id="garbage"),
        pytest.param("", None, id="empty"),
    ],
)
def test_both_forms_of_retry_after_are_read(header: str | None, expected: float | None) -> None:
    assert parse_retry_after(header, NOW) == expected
