"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.rendering.format import (
    about,
    count,
    duration,
    memory,
    number,
    size,
    sparkline,
)
from notifybot.types import Language

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.87123, "0.8712"),
        (0.4, "0.4"),
        (3.0, "3"),
        (123.456, "123.5"),
        (9999.96, "10000"),
        (123_456.0, "123456"),
        (12_345_678.0, "1.235e7"),
        (1.23456e-5, "1.235e−5"),
        (-0.5, "−0.5"),
        (-0.0, "0"),
        (NAN, "NaN"),
        (INF, "∞"),
        (-INF, "−∞"),
        (5e-324, "4.941e−324"),
    ],
)
def test_number(value: float, expected: str) -> None:
    assert number(value) == expected


@given(st.floats(-1e307, 1e307))
def test_a_number_read_back_is_the_value_within_four_digits(value: float) -> None:
    assert float(number(value).replace("−", "-")) == pytest.approx(value, rel=6e-4, abs=0)
    assert len(number(value)) <= 12


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (0, "0 s", "0초"),
        (0.04, "0.04 s", "0.04초"),
        (3.24, "3.2 s", "3.2초"),
        (12.4, "12 s", "12초"),
        (59.7, "1 min", "1분"),
        (90, "1 min 30 s", "1분 30초"),
        (120, "2 min", "2분"),
        (1234, "21 min", "21분"),
        (4320, "1 h 12 min", "1시간 12분"),
        (86_400 + 3 * 3600 + 60, "1 d 3 h", "1일 3시간"),
        (-5, "0 s", "0초"),
        (1.7e308, "", ""),
        (INF, "", ""),
        (-INF, "", ""),
        (NAN, "", ""),
    ],
)
def test_duration(seconds: float, english: str, korean: str) -> None:
    assert duration(seconds, Language.EN) == english
    assert duration(seconds, Language.KO) == korean


@given(st.floats(0, 1e12), st.sampled_from(Language))
def test_a_duration_is_never_empty_and_at_most_two_units(seconds: float, language: Language) -> None:
    assert duration(seconds, language)
    assert sum(char.isdigit() and not after.isdigit() for char, after in _pairs(duration(seconds, language))) <= 3


def _pairs(text: str) -> list[tuple[str, str]]:
    return list(zip(text, text[1:] + " ", strict=True))


def test_an_estimate_is_rounded_to_minutes() -> None:
    assert about(317, Language.EN) == "5 min"
    assert about(317, Language.KO) == "5분"
    assert about(42.3, Language.EN) == "42 s"
    assert [about(each, Language.EN) for each in (INF, -INF, NAN, 1.79e308)] == ["", "", "", ""]


def test_sizes_are_decimal() -> None:
    assert [size(each) for each in (0, 512, 1000, 999_999, 44_700_000)] == ["0 B", "512 B", "1 kB", "1 MB", "44.7 MB"]


def test_memory_is_told_as_colab_tells_it() -> None:
    """13,290,480 kB is what Colab's panel calls 12.7 GB."""
    assert memory(13_290_480 * 1024) == "12.7 GB"
    assert memory(80 * 2**30) == "80 GB"


def test_large_counts_are_told_in_short() -> None:
    numbers = (0, 950, 1_234, 11_689_512, 999_960, 7_000_000_000)

    assert [count(each, Language.EN) for each in numbers] == ["0", "950", "1.2 k", "11.7 M", "1 M", "7 B"]
    assert [count(each, Language.KO) for each in numbers] == [
        "0개", "950개", "1,234개", "1,169만 개", "100만 개", "70억 개",
    ]  # fmt: skip
    assert [count(each, Language.KO) for each in (9_999, 12_345, 99_999_999, 1_240_000_000_000)] == [
        "9,999개", "1.2만 개", "1억 개", "1.2조 개",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ((), ""),
        ((0.0, 1.0), "▁█"),
        ((5.0, 5.0, 5.0), "▄▄▄"),
        ((0.0, NAN, 1.0), "▁·█"),
        ((0.0, INF, 1.0, -INF), "▁██▁"),
        ((NAN, NAN), "··"),
        (tuple(float(x) for x in range(32)), "▁▁▂▂▃▃▄▄▅▅▆▆▇▇██"),
        ((1e308, -1e308), "█▁"),
    ],
)
def test_sparkline(history: tuple[float, ...], expected: str) -> None:
    assert sparkline(history) == expected


@given(st.lists(st.floats(), max_size=100))
def test_a_sparkline_of_anything_is_at_most_sixteen_characters(history: list[float]) -> None:
    assert len(sparkline(history)) == min(len(history), 16)
