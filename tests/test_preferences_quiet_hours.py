"""Quiet hours by the clock on the wall: over midnight, and where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.preferences import NEVER, QuietHours, quiet_from

ZONES = ("Asia/Seoul", "UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kathmandu")

CHANGES = (  # of the clocks: New York, Berlin, Lord Howe Island (by half an hour)
    datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC), datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
)  # fmt: skip


def at(text: str, zone: str = "Asia/Seoul", *, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2026-11-23 22:59:59", False),
        ("2026-11-23 23:00", True),
        ("2026-11-24 00:00", True),
        ("2026-11-24 06:59:59.999999", True),
        ("2026-11-24 07:00", False),
    ],
)
def test_a_night_begins_before_midnight_and_ends_after(moment: str, quiet: bool) -> None:
    assert quiet_from("23:00-07:00 Asia/Seoul").covers(at(moment)) is quiet


@pytest.mark.parametrize(
    ("window", "moment", "over"),
    [
        ("23:00-07:00", "2026-11-23 23:30", "2026-11-24 07:00"),
        ("23:00-07:00", "2026-11-24 01:30", "2026-11-24 07:00"),
        ("13:00-14:30", "2026-11-24 13:00", "2026-11-24 14:30"),
        ("20:00-24:00", "2026-11-24 21:00", "2026-11-25 00:00"),
    ],
)
def test_quiet_hours_are_over_at_their_end(window: str, moment: str, over: str) -> None:
    assert quiet_from(f"{window} Asia/Seoul").over_at(at(moment)) == at(over)


def test_an_end_that_the_clock_springs_over_is_the_moment_it_does() -> None:
    """In New York no clock showed 02:30 on 8 March 2026: after 01:59:59 came 03:00."""
    night = quiet_from("23:00-02:30 America/New_York")

    assert night.over_at(at("2026-03-08 01:30", "America/New_York")) == at("2026-03-08 03:00", "America/New_York")


def test_an_hour_that_the_clock_shows_twice_is_quiet_twice() -> None:
    """On 1 November 2026 New York set its clocks from 02:00 back to 01:00."""
    night = quiet_from("23:00-01:30 America/New_York")
    second = at("2026-11-01 01:10", "America/New_York", fold=1)

    assert night.over_at(at("2026-11-01 00:30", "America/New_York")) == at("2026-11-01 01:30", "America/New_York")
    assert not night.covers(at("2026-11-01 01:40", "America/New_York"))
    assert night.covers(second)
    assert night.over_at(second) == at("2026-11-01 01:30", "America/New_York", fold=1)


def test_one_open_hour_that_the_clock_skips_leaves_a_whole_day_quiet() -> None:
    """In New York no clock showed 02:30 on 8 March 2026, and nothing else of that day is open."""
    busy = quiet_from("03:00-02:00 America/New_York")

    assert busy.over_at(at("2026-03-07 15:00", "America/New_York")) == at("2026-03-09 02:00", "America/New_York")


def test_a_clock_that_is_set_back_before_the_start_ends_quiet_hours() -> None:
    """On 1 November 2026 New York's 02:00 became 01:00, which is open until 01:30 comes again."""
    night = quiet_from("01:30-05:00 America/New_York")

    assert night.over_at(at("2026-11-01 01:45", "America/New_York")) == at(
        "2026-11-01 01:00", "America/New_York", fold=1
    )


@pytest.mark.parametrize("zone", ZONES[2:5])
def test_quiet_hours_end_at_the_first_open_minute_that_a_walk_finds(zone: str) -> None:
    """A seeded slice of windows and days around each change of clocks, minute by minute."""
    chance = Random(zone)
    for near in CHANGES:
        for _ in range(6):
            begin, length = chance.randrange(48) * 30, chance.choice([60, 300, 720, 1380])
            start, end = (time(each // 60, each % 60) for each in (begin, (begin + length) % 1440))
            night, moment = (
                QuietHours(start, end, ZoneInfo(zone)),
                near + timedelta(minutes=chance.randrange(-900, 900)),
            )
            if night.covers(moment):
                walked = (moment + timedelta(minutes=each) for each in range(1, 4 * 1440))
                assert night.over_at(moment) == next(each for each in walked if not night.covers(each))


def test_no_quiet_hours_are_never() -> None:
    assert not any(NEVER.covers(at("2026-11-24 00:00") + timedelta(minutes=each)) for each in range(0, 1440, 10))
    assert str(quiet_from("off")) == "off"


MINUTES = st.integers(0, 1439).map(lambda number: time(number // 60, number % 60))


@given(
    start=MINUTES, end=MINUTES, zone=st.sampled_from(ZONES), near=st.sampled_from(CHANGES),
    away=st.timedeltas(timedelta(hours=-4), timedelta(hours=4)) | st.timedeltas(timedelta(0), timedelta(days=400)),
)  # fmt: skip
def test_the_end_is_the_first_moment_that_is_not_quiet(
    start: time, end: time, zone: str, near: datetime, away: timedelta
) -> None:
    """In every zone, on days when clocks change too: it comes within 25 hours, and all before it is quiet."""
    night, moment = QuietHours(start, end, ZoneInfo(zone)), near + away
    if not night.covers(moment):
        return

    over = night.over_at(moment)

    assert moment < over <= moment + timedelta(hours=25)
    assert not night.covers(over)
    between = (moment + (over - moment) * share for share in (0.2, 0.4, 0.6, 0.8, 0.95))
    assert all(night.covers(each) for each in (*between, over - timedelta(microseconds=1)))
