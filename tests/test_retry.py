"""The decision when to try again."""

from __future__ import annotations

import statistics
from datetime import UTC, datetime
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.errors import TemporaryError
from notifybot.retry import RETRY_AFTER_CAP_S, TRIES_AN_HOUR, delay_s, parse_retry_after

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


def test_the_first_retry_comes_within_a_second() -> None:
    waits = [delay_s([0.0], 0.0, TemporaryError("x"), Random(seed)) for seed in range(200)]

    assert min(waits) >= 0.0
    assert max(waits) <= 1.0


@given(seed=st.integers(0, 10_000))
def test_an_hour_of_outage_sees_at_most_twelve_tries(seed: int) -> None:
    rng, now, failures = Random(seed), 0.0, [0.0]
    while now < 6 * 3600:
        now += delay_s(failures, now, TemporaryError("x"), rng)
        failures.append(now)

    for first, later in zip(failures, failures[TRIES_AN_HOUR:], strict=False):
        assert later - first >= 3600 - 1e-6


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
