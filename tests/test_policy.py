"""Who is told, how often, in what order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notifybot.events import Event
from notifybot.policy import Hold, Pace, Priority, Refuse, admit, day_of, next_midnight, priority_of, too_old, wants
from tests.store_events import alert, ended, epoch, started

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("event", "priority"),
    [
        (ended(), Priority.URGENT),
        (alert(), Priority.URGENT),
        (started(), Priority.NORMAL),
        (epoch(0), Priority.PROGRESS),
    ],
)
def test_endings_and_alerts_are_urgent_and_epochs_are_not(event: Event, priority: Priority) -> None:
    assert priority_of(event) is priority


def test_an_epoch_within_the_gap_is_held_until_its_end() -> None:
    last = NOW - timedelta(seconds=10)

    verdict = admit(Pace(progress_gap_s=60), Priority.PROGRESS, now=NOW, last_news_at=last, sent_today=0)

    assert verdict == Hold(NOW + timedelta(seconds=50), "one message of this kind per gap")


@pytest.mark.parametrize(
    ("priority", "sent", "verdict"),
    [
        (Priority.PROGRESS, 11, type(None)),
        (Priority.PROGRESS, 12, Refuse),
        (Priority.NORMAL, 12, Refuse),
        (Priority.URGENT, 19, type(None)),
        (Priority.URGENT, 20, Hold),
    ],
)
def test_a_daily_budget_reserves_a_part_for_what_is_urgent(priority: Priority, sent: int, verdict: type) -> None:
    pace = Pace(daily_budget=20, reserved=8)

    assert isinstance(admit(pace, priority, now=NOW, last_news_at=None, sent_today=sent), verdict)


def test_days_begin_at_midnight_in_korea() -> None:
    late = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)

    assert (day_of(NOW), day_of(late)) == ("2026-11-23", "2026-11-24")
    assert next_midnight(NOW) == datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def test_who_does_not_want_checkpoints_still_hears_the_rest() -> None:
    assert wants(Pace(wants_checkpoints=False), ended())


def test_urgent_deliveries_never_grow_too_old() -> None:
    assert not too_old(Priority.URGENT, NOW - timedelta(days=30), NOW)
    assert too_old(Priority.PROGRESS, NOW - timedelta(hours=25), NOW)
