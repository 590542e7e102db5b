"""Who is told, how often, in what order."""

from __future__ import annotations

import itertools
import math
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot.events import CheckpointSaved, Event
from notifybot.policy import (
    ALERT_REFILL_S,
    ALERT_WAIT_S,
    ALERTS_AT_ONCE,
    AlertLimit,
    HeldAlerts,
    HoldBack,
    Pace,
    PaceFacts,
    Priority,
    Refuse,
    Unwanted,
    admit,
    day_of,
    next_midnight,
    priority_of,
    severity_of,
    stall_limit_s,
    too_old,
    unwanted,
    wants,
)
from notifybot.preferences import Every, Preferences, quiet_from, tables_from
from notifybot.types import Checkpoint, Progress, Reason, RunRef, Severity, Status, Unit, uuid7
from tests.support.store_events import RUN, alert, ended, epoch, started

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
        (replace(alert(), severity=Severity.INFO, progress=Progress(unit="trial")), Priority.NORMAL),
        (replace(alert(), severity=Severity.WARNING, progress=Progress(unit="trial")), Priority.URGENT),
        (replace(alert(), severity=Severity.SUCCESS, progress=Progress(unit="trial")), Priority.URGENT),
        (started(), Priority.NORMAL),
        (epoch(0), Priority.PROGRESS),
    ],
)
def test_endings_and_alerts_are_urgent_and_epochs_are_not(event: Event, priority: Priority) -> None:
    assert priority_of(event) is priority


def test_an_epoch_within_the_gap_is_held_until_its_end() -> None:
    last = NOW - timedelta(seconds=10)

    verdict = admit(Pace(progress_gap_s=60), epoch(3), PaceFacts(last_news_at=last), now=NOW)

    assert verdict == HoldBack(NOW + timedelta(seconds=50), Reason("held.gap"))


@pytest.mark.parametrize(
    ("event", "sent", "verdict"),
    [
        (epoch(0), 11, type(None)),
        (epoch(0), 12, HoldBack),
        (started(), 12, HoldBack),
        (alert(), 15, type(None)),
        (alert(), 16, HoldBack),
        (ended(), 19, type(None)),
        (ended(), 20, HoldBack),
    ],
)
def test_a_daily_budget_reserves_a_part_for_what_is_urgent(event: Event, sent: int, verdict: type) -> None:
    """The rest of the day's messages is kept back until midnight, to be told together; alerts leave some to endings."""
    decided = admit(Pace(daily_budget=20, reserved=8), event, PaceFacts(today=sent), now=NOW)

    assert isinstance(decided, verdict)
    if isinstance(decided, HoldBack):
        assert decided == HoldBack(next_midnight(NOW), Reason("held.daily_budget"), kept_back=True)


def test_what_a_service_still_takes_counts_where_other_jobs_send_too() -> None:
    """The reserve holds for what is left on the shared account as well."""
    pace = Pace(daily_budget=20, reserved=8)

    assert admit(pace, epoch(0), PaceFacts(today=0, left=9), now=NOW) is None
    assert isinstance(admit(pace, epoch(0), PaceFacts(today=0, left=8), now=NOW), HoldBack)
    assert admit(pace, ended(), PaceFacts(today=0, left=1), now=NOW) is None
    assert isinstance(admit(Pace(), ended(), PaceFacts(left=0), now=NOW), HoldBack)


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
    pace = Pace(wants_checkpoints=False).with_preferences(chosen(**settings))

    assert unwanted(pace, event) is reason
    assert wants(pace, event) is (reason is None)


def test_patterns_respect_case() -> None:
    of_resnet = replace(ended(), run=RunRef("r", "resnet", "default"))

    assert not wants(Pace().with_preferences(chosen(projects=["Default"])), ended())
    assert wants(Pace().with_preferences(chosen(projects=["d?fault"], runs=["res*"])), of_resnet)


def test_quiet_hours_keep_back_all_but_what_they_let_through() -> None:
    pace = Pace().with_preferences(Preferences(quiet=KOREAN_NIGHT))

    assert admit(pace, epoch(1), now=NIGHT) == HoldBack(MORNING, Reason("held.quiet_hours"), kept_back=True)
    assert isinstance(admit(pace, alert(), now=NIGHT), HoldBack)
    assert admit(pace, ended(), now=NIGHT) is None
    assert admit(pace, ended(status=Status.FAILED), now=NIGHT) is None
    assert admit(pace, epoch(1), now=MORNING) is None


def test_endings_wait_for_the_morning_where_people_choose_so() -> None:
    """All but failures, or those as well."""
    failures = Pace().with_preferences(chosen(quiet="23:00-07:00 Asia/Seoul", quiet_lets=["failures"]))
    pace = Pace().with_preferences(chosen(quiet="23:00-07:00 Asia/Seoul", quiet_lets=[]))

    assert isinstance(admit(failures, ended(), now=NIGHT), HoldBack)
    assert admit(failures, ended(status=Status.FAILED), now=NIGHT) is None
    assert isinstance(admit(pace, ended(status=Status.FAILED), now=NIGHT), HoldBack)


@pytest.mark.parametrize(
    ("last_done", "number", "told"),
    [(0, 3, False), (0, 4, True), (5, 8, False), (5, 9, True), (3, 5, True), (5, 12, True), (20, 1, True)],
)
def test_every_few_epochs_one_is_told(last_done: int, number: int, told: bool) -> None:
    """Every fifth, or the first after it; a run that began anew is told at its first step too."""
    pace = Pace(progress_gap_s=60).with_preferences(Preferences(every=Every(epochs=5)))

    verdict = admit(pace, epoch(number), PaceFacts(last_done=last_done, last_news_at=NOW), now=NOW)

    assert verdict == (None if told else Refuse(Reason("held.every_epochs", values={"epochs": "5"})))


@pytest.mark.parametrize(
    ("every", "unit", "expected"),
    [
        ("500 steps", "step", Every(epochs=500, unit="step")),
        ("5 trials", "trial", Every(epochs=5, unit="trial")),
        ("5 epochs", "step", Every(seconds=60)),
        ("500 steps", "epoch", Every(seconds=60)),
        ("10 min", "step", Every(seconds=600)),
    ],
)
def test_a_number_of_epochs_or_steps_is_for_runs_that_count_them(every: str, unit: Unit, expected: Every) -> None:
    pace = Pace(progress_gap_s=60).with_preferences(chosen(every=every))
    event = epoch(1)

    assert expected == pace.every(replace(event, progress=replace(event.progress, unit=unit)))


@pytest.mark.parametrize(
    ("last_done", "done", "told"), [(0, 499, False), (0, 523, True), (523, 999, False), (523, 1000, True)]
)
def test_reports_of_steps_come_at_any_number_and_one_in_each_stretch_is_told(
    last_done: int, done: int, told: bool
) -> None:
    pace = Pace(progress_gap_s=60).with_preferences(chosen(every="500 steps"))
    event = replace(epoch(1), progress=Progress(epoch=done, done=done, unit="step"))

    verdict = admit(pace, event, PaceFacts(last_done=last_done), now=NOW)

    assert verdict == (None if told else Refuse(Reason("held.every_steps", values={"steps": "500"})))


def test_what_was_kept_back_is_told_out_of_step() -> None:
    """In the morning the newest epoch is worth telling, whichever it is."""
    pace = Pace(progress_gap_s=60).with_preferences(Preferences(every=Every(epochs=5)))

    assert admit(pace, epoch(2), PaceFacts(last_news_at=NOW, kept_back=True), now=NOW) is None


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
    pace = own.with_preferences(chosen(**settings))

    assert (pace.daily_budget, pace.reserved) == budget


def test_epochs_are_told_as_often_as_people_choose() -> None:
    pace = Pace(progress_gap_s=60)

    assert pace.with_preferences(chosen(every="10 min")).every(epoch(1)) == Every(seconds=600)
    assert pace.with_preferences(chosen(every="auto")).every(epoch(1)) == Every(seconds=60)
    assert pace.with_preferences(chosen(every="5 epochs")).every(epoch(1)) == Every(epochs=5)
    assert pace.with_preferences(chosen(every="5 epochs")).every(checkpoint()) == Every(seconds=60)


def test_a_new_best_is_worth_more_than_any_epoch() -> None:
    """So that `min_severity = "success"` tells of the best epochs only."""
    assert severity_of(epoch(1)) is Severity.INFO
    assert severity_of(replace(epoch(1), new_best="loss")) is Severity.SUCCESS


def test_a_title_is_told_once_in_a_while_whatever_numbers_are_in_it_and_the_others_are_counted() -> None:
    limit = AlertLimit()

    told = [limit.admit(f"loss {0.31 - step / 1000} is high", Severity.WARNING, float(step)) for step in range(30)]
    later = limit.admit("loss 1e-05 is high", Severity.WARNING, ALERT_WAIT_S)

    assert [HeldAlerts(), *[None] * 29] == told
    assert HeldAlerts(same=29) == later
    assert limit.held == 0


@pytest.mark.parametrize(
    ("first", "second", "one"),
    [
        ("loss 0.31", "loss 0.29", True),
        ("loss 1e-5", "loss -3.2E+10", True),
        ("fold 3/10", "fold 10/10", True),
        ("step 1,000 at 12:30", "step 20,000 at 12:31", True),
        ("손실 ３", "손실 12", True),
        ("loss 0.31", "loss nan", False),
        ("loss 0.31", "acc 0.31", False),
    ],
)
def test_titles_are_one_where_only_numbers_differ(first: str, second: str, one: bool) -> None:
    limit = AlertLimit()
    limit.admit(first, Severity.INFO, 0.0)

    assert one is (limit.admit(second, Severity.INFO, 1.0) is None)


def test_a_wait_that_was_asked_for_holds_for_exactly_this_title() -> None:
    limit = AlertLimit()

    told = [limit.admit("fold 1", Severity.INFO, at, 60.0) for at in (0.0, 59.0, 60.0)]
    other = limit.admit("fold 2", Severity.INFO, 60.0, 60.0)

    assert [HeldAlerts(), None, HeldAlerts(same=1)] == told
    assert HeldAlerts() == other


def test_many_titles_at_once_are_told_a_few_times_and_leave_room_for_errors() -> None:
    """Thirty differently named warnings in a minute, none of which asks to wait."""
    limit = AlertLimit()

    told = [limit.admit(f"layer {chr(97 + at)} is dead", Severity.WARNING, 2.0 * at, 0.0) for at in range(26)]
    error = limit.admit("loss is NaN", Severity.ERROR, 60.0)
    later = limit.admit("all is well", Severity.WARNING, 60.0 + ALERT_REFILL_S)

    assert sum(each is not None for each in told) == ALERTS_AT_ONCE
    assert HeldAlerts(others=26 - ALERTS_AT_ONCE) == error
    assert HeldAlerts() == later


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*"abcdefgh", *(f"metric {chr(name)}" for name in range(0x4E00, 0x4E00 + 400))]),
            st.sampled_from(Severity),
            st.floats(0, 900),
            st.sampled_from([None, 0.0, 30.0]),
        ),
        max_size=600,
    )
)
def test_no_alert_is_lost_and_no_flood_is_told(raised: list[tuple[str, Severity, float, float | None]]) -> None:
    limit, now_s = AlertLimit(), 0.0
    told = []

    for title, severity, later_s, wait_s in raised:
        now_s += later_s
        if (untold := limit.admit(title, severity, now_s, wait_s)) is not None:
            told.append(untold)

    assert len(raised) == len(told) + sum(each.same + each.others for each in told) + limit.held
    assert len(told) <= len(Severity) * (ALERTS_AT_ONCE + now_s / ALERT_REFILL_S)
    assert len(limit._titles) <= 256


def test_what_is_held_can_be_counted_while_others_raise_alerts() -> None:
    """The ending counts them, whatever a training's other threads do meanwhile: it must not be lost for that."""
    limit, done = AlertLimit(), threading.Event()

    def raise_alerts() -> None:
        for at in itertools.count():
            limit.admit(f"fold {chr(0x4E00 + at % 5000)}", Severity.INFO, ALERT_REFILL_S * at)
            if done.is_set():
                return

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    other = threading.Thread(target=raise_alerts)
    other.start()
    try:
        counted = [limit.held for _ in range(3000)]
    finally:
        done.set()
        other.join()
        sys.setswitchinterval(usual)

    assert len(counted) == 3000


def test_an_alert_that_is_held_is_kept_and_told_to_nobody() -> None:
    held = replace(alert(), held=True)

    assert Unwanted.HELD is unwanted(Pace(), held)
    assert wants(Pace(wants_held=True), held)
    assert Priority.NORMAL is priority_of(held), "the ending goes first"


@pytest.mark.parametrize(
    ("progress", "epochs_s", "limit_s"),
    [
        pytest.param(Progress(), None, 3600, id="an hour before the first epoch is done"),
        pytest.param(Progress(done=0, epoch_s=20.0), [20.0], 3600, id="none of this run is done"),
        pytest.param(Progress(done=3, epoch_s=60.0), None, 600, id="short epochs: the floor"),
        pytest.param(Progress(done=3, epoch_s=400.0), None, 2000, id="five times the last epoch"),
        pytest.param(Progress(done=40, epoch_s=1800.0), [400.0, 390.0, 2.0], 9000, id="a last one longer than most"),
        pytest.param(Progress(done=3, epoch_s=2.0), [400.0, 390.0, 2.0], 1950, id="one quick epoch accuses nobody"),
        pytest.param(Progress(done=3, epoch_s=400.0), [], 3600, id="resumed: the patience of a new run"),
        pytest.param(Progress(done=3), None, 3600, id="nothing known"),
        pytest.param(Progress(done=1, epoch_s=0.0), None, 3600, id="no time at all"),
        pytest.param(Progress(done=3, epoch_s=math.nan), [math.inf, -1.0], 3600, id="nonsense is not believed"),
        pytest.param(Progress(done=3, epoch_s=math.inf), None, 3600, id="endless is not believed"),
    ],
)
def test_how_long_a_loop_may_stand_still_adapts_to_its_own_epochs(
    progress: Progress, epochs_s: Sequence[float] | None, limit_s: float
) -> None:
    assert stall_limit_s(progress, epochs_s) == limit_s
