"""Who is told, how often, in what order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from notifybot.events import CheckpointSaved, Event
from notifybot.model import Checkpoint, RunRef, Severity, Status, uuid7
from notifybot.policy import (
    Hold,
    Pace,
    Priority,
    Refuse,
    Told,
    Unwanted,
    admit,
    day_of,
    next_midnight,
    priority_of,
    severity_of,
    too_old,
    unwanted,
    wants,
)
from notifybot.preferences import Every, Preferences, quiet_from, tables_from
from tests.store_events import RUN, alert, ended, epoch, started

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
NIGHT = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)  # 01:00 in Korea
KOREAN_NIGHT = quiet_from("23:00-07:00 Asia/Seoul")
MORNING = datetime(2026, 11, 22, 22, 0, tzinfo=UTC)


def checkpoint() -> CheckpointSaved:
    return CheckpointSaved(id=uuid7(), run=RUN, at=NOW, checkpoint=Checkpoint("last.pt"))


def chosen(**settings: object) -> Preferences:
    """What a table of the settings file chooses."""
    return tables_from({"slack": settings}).of("slack")


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

    verdict = admit(Pace(progress_gap_s=60), epoch(3), Told(last_news_at=last), now=NOW)

    assert verdict == Hold(NOW + timedelta(seconds=50), "one message of this kind per gap")


@pytest.mark.parametrize(
    ("event", "sent", "verdict"),
    [
        (epoch(0), 11, type(None)),
        (epoch(0), 12, Hold),
        (started(), 12, Hold),
        (alert(), 15, type(None)),
        (alert(), 16, Hold),
        (ended(), 19, type(None)),
        (ended(), 20, Hold),
    ],
)
def test_a_daily_budget_reserves_a_part_for_what_is_urgent(event: Event, sent: int, verdict: type) -> None:
    """The rest of the day's messages is kept back until midnight, to be told together; alerts leave some to endings."""
    decided = admit(Pace(daily_budget=20, reserved=8), event, Told(today=sent), now=NOW)

    assert isinstance(decided, verdict)
    if isinstance(decided, Hold):
        assert decided == Hold(next_midnight(NOW), "daily budget", kept_back=True)


def test_what_a_service_still_takes_counts_where_other_jobs_send_too() -> None:
    """The reserve holds for what is left on the shared account as well."""
    pace = Pace(daily_budget=20, reserved=8)

    assert admit(pace, epoch(0), Told(today=0, left=9), now=NOW) is None
    assert isinstance(admit(pace, epoch(0), Told(today=0, left=8), now=NOW), Hold)
    assert admit(pace, ended(), Told(today=0, left=1), now=NOW) is None
    assert isinstance(admit(Pace(), ended(), Told(left=0), now=NOW), Hold)


def test_days_begin_at_midnight_in_korea() -> None:
    late = datetime(2026, 11, 23, 15, 30, tzinfo=UTC)

    assert (day_of(NOW), day_of(late)) == ("2026-11-23", "2026-11-24")
    assert next_midnight(NOW) == datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def test_who_does_not_want_checkpoints_still_hears_the_rest() -> None:
    assert wants(Pace(wants_checkpoints=False), ended())


def test_urgent_deliveries_never_grow_too_old() -> None:
    assert not too_old(Priority.URGENT, NOW - timedelta(days=30), NOW)
    assert too_old(Priority.PROGRESS, NOW - timedelta(hours=25), NOW)


# ── What people choose ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "event", "reason"),
    [
        pytest.param({}, epoch(0), None, id="nothing chosen"),
        pytest.param({"projects": ["vision-*", "default"]}, epoch(0), None, id="one pattern fits"),
        pytest.param({"projects": "vision-*"}, ended(), Unwanted.ROUTE, id="another project"),
        pytest.param({"runs": ["vit*"]}, ended(), Unwanted.ROUTE, id="another run"),
        pytest.param({"events": ["endings"]}, epoch(0), Unwanted.KIND, id="another kind"),
        pytest.param({"events": ["run_ended:failed"]}, ended(), Unwanted.KIND, id="another status"),
        pytest.param({"events": "failures"}, ended(status=Status.FAILED), None, id="a group of kinds"),
        pytest.param({"events": "all"}, checkpoint(), None, id="a checkpoint when all is chosen"),
        pytest.param({}, checkpoint(), Unwanted.CHECKPOINT, id="a checkpoint by itself"),
        pytest.param({"min_severity": "warning"}, started(), Unwanted.SEVERITY, id="a start is for information"),
        pytest.param({"min_severity": "error"}, alert(), Unwanted.SEVERITY, id="an alert says how severe it is"),
        pytest.param({"min_severity": "error"}, ended(), None, id="an ending is severe enough"),
    ],
)
def test_kinds_severity_and_routes_choose(settings: dict[str, object], event: Event, reason: Unwanted | None) -> None:
    """KakaoTalk's pace, which wants no checkpoints, with what people chose."""
    pace = Pace(wants_checkpoints=False).shaped(chosen(**settings))

    assert unwanted(pace, event) is reason
    assert wants(pace, event) is (reason is None)


def test_patterns_respect_case() -> None:
    assert not chosen(projects=["Default"]).concerns(RUN)
    assert chosen(projects=["d?fault"], runs=["res*"]).concerns(RunRef("r", "resnet", "default"))


def test_quiet_hours_keep_back_all_but_what_they_let_through() -> None:
    pace = Pace().shaped(Preferences(quiet=KOREAN_NIGHT))

    assert admit(pace, epoch(1), now=NIGHT) == Hold(MORNING, "quiet hours", kept_back=True)
    assert isinstance(admit(pace, alert(), now=NIGHT), Hold)
    assert admit(pace, ended(), now=NIGHT) is None
    assert admit(pace, ended(status=Status.FAILED), now=NIGHT) is None
    assert admit(pace, epoch(1), now=MORNING) is None


def test_endings_wait_for_the_morning_where_people_choose_so() -> None:
    """All but failures, or those as well."""
    failures = Pace().shaped(chosen(quiet="23:00-07:00 Asia/Seoul", quiet_lets=["failures"]))
    pace = Pace().shaped(chosen(quiet="23:00-07:00 Asia/Seoul", quiet_lets=[]))

    assert isinstance(admit(failures, ended(), now=NIGHT), Hold)
    assert admit(failures, ended(status=Status.FAILED), now=NIGHT) is None
    assert isinstance(admit(pace, ended(status=Status.FAILED), now=NIGHT), Hold)


@pytest.mark.parametrize(
    ("last_done", "number", "told"),
    [(0, 3, False), (0, 4, True), (5, 8, False), (5, 9, True), (3, 5, True), (5, 12, True), (20, 1, True)],
)
def test_every_few_epochs_one_is_told(last_done: int, number: int, told: bool) -> None:
    """Every fifth, or the first after it; a run that began anew is told at its first step too."""
    pace = Pace(progress_gap_s=60).shaped(Preferences(every=Every(epochs=5)))

    verdict = admit(pace, epoch(number), Told(last_done=last_done, last_news_at=NOW), now=NOW)

    assert verdict == (None if told else Refuse("told every 5 epochs"))


def test_what_was_kept_back_is_told_out_of_step() -> None:
    """In the morning the newest epoch is worth telling, whichever it is."""
    pace = Pace(progress_gap_s=60).shaped(Preferences(every=Every(epochs=5)))

    assert admit(pace, epoch(2), Told(last_news_at=NOW, kept_back=True), now=NOW) is None


@pytest.mark.parametrize(
    ("own", "settings", "budget"),
    [
        (Pace(), {"daily": 50}, (50, 20)),
        (Pace(daily_budget=20, reserved=8), {"daily": 50}, (20, 8)),
        (Pace(daily_budget=20, reserved=8), {"daily": 5}, (5, 2)),
        (Pace(), {"daily": 1}, (1, 0)),
        (Pace(daily_budget=20, reserved=8), {}, (20, 8)),
    ],
)
def test_a_chosen_budget_never_exceeds_the_services(
    own: Pace, settings: dict[str, object], budget: tuple[int, int]
) -> None:
    """And it always leaves a message for epochs, and where there are two or more, one for what is urgent."""
    pace = own.shaped(chosen(**settings))

    assert (pace.daily_budget, pace.reserved) == budget


def test_epochs_are_told_as_often_as_people_choose() -> None:
    assert Pace(progress_gap_s=60).shaped(chosen(every="10 min")).gap_after(epoch(1)) == 600
    assert Pace(progress_gap_s=60).shaped(chosen(every="auto")).gap_after(epoch(1)) == 60
    assert Pace(progress_gap_s=60).shaped(chosen(every="5 epochs")).gap_after(epoch(1)) == 0
    assert Pace(progress_gap_s=60).shaped(chosen(every="5 epochs")).gap_after(checkpoint()) == 60


def test_a_new_best_is_worth_more_than_any_epoch() -> None:
    """So that `min_severity = "success"` tells of the best epochs only."""
    assert severity_of(epoch(1)) is Severity.INFO
    assert severity_of(replace(epoch(1), new_best="loss")) is Severity.SUCCESS
