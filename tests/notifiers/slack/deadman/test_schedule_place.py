"""Where and when an alarm stands: without a root message, out of quiet hours, and with what is known by then."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from notifybot.config import Config
from notifybot.notifiers.slack.bot import SlackBot
from notifybot.notifiers.slack.deadman.schedule import (
    Alarm,
    AlarmState,
    Denied,
    Listed,
    Margins,
    ScheduleAlarm,
    Wait,
    after,
    decide,
    is_due,
    reschedule_soon,
)
from notifybot.notifiers.slack.deadman.schedule import List as ReadList
from notifybot.notifiers.slack.deadman.switch import DeadMan, dead_man
from notifybot.notifiers.slack.deadman.text import mark_of
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.policy import Pace, wants
from notifybot.preferences import quiet_from, tables_from
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_scheduled import AHEAD_MOST_S
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Checkpoint, Host, Progress
from tests.support.deadman_rig import DELETE, LIST, RUN, SCHEDULE, Rig
from tests.support.slack_messages import lost

ROOT_WAIT_S = 3.0


def without_root(sandbox: Sandbox, clock: FakeClock, channel: str = CHANNEL, **more: Any) -> Rig:
    """A run of which nothing stands in the channel, as in quiet hours."""
    return Rig(sandbox, clock, place=RunThread(), channel=channel, **more)


# ── Without a root message ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("channel", [CHANNEL, f"#{CHANNEL}", "C0TRAINING"], ids=["name", "hash", "id"])
def test_a_run_that_was_not_told_of_is_guarded_all_the_same(sandbox: Sandbox, clock: FakeClock, channel: str) -> None:
    """Its alarm waits for the channel; chat.scheduleMessage takes a name and answers with the id that deletes need."""
    rig = without_root(sandbox, clock, channel)
    rig.run_for(1800)
    assert len(rig.pending) == 1
    assert sandbox.slack.messages == []

    clock.advance(901)

    (alarm,) = sandbox.slack.messages
    assert mark_of(RUN) in alarm.text
    assert (alarm.channel, alarm.thread_ts) == ("C0TRAINING", None)


def test_an_alarm_moves_into_the_thread_when_there_is_one(sandbox: Sandbox, clock: FakeClock) -> None:
    """Soon, not with the next beat: made before the one in the channel is broken."""
    rig = without_root(sandbox, clock)
    rig.run_for(30)
    rig.place = rig.root()
    rig.run_for(20)

    (alarm,) = sandbox.slack.schedule.pending
    assert alarm.payload["thread_ts"] == rig.place.root_ts
    assert rig.calls()[-3:] == [LIST, SCHEDULE, DELETE]


def test_the_end_of_a_run_without_a_root_takes_its_alarm_back(sandbox: Sandbox, clock: FakeClock) -> None:
    rig = without_root(sandbox, clock)
    rig.run_for(600)
    rig.switch.cancel()
    rig.settle()
    clock.advance(86_400)

    assert rig.switch.state.clear
    assert sandbox.slack.messages == []


def test_a_new_session_finds_what_a_dead_one_left_in_the_channel(sandbox: Sandbox, clock: FakeClock) -> None:
    """Although it ends at once and has but the channel's name: the list without a channel holds all of the app's."""
    without_root(sandbox, clock).run_for(30)
    second = without_root(sandbox, clock)
    second.switch.cancel()
    second.settle()

    assert second.pending == []


def test_a_false_alarm_in_the_channel_is_taken_back_there(sandbox: Sandbox, clock: FakeClock) -> None:
    rig = without_root(sandbox, clock)
    rig.run_for(30)
    clock.advance(1200)
    rig.run_for(60)

    assert [each.thread_ts for each in sandbox.slack.messages] == [None, None]
    assert "recovered" in sandbox.slack.messages[1].text


def test_where_a_name_is_not_taken_the_root_tells_the_id(sandbox: Sandbox, clock: FakeClock) -> None:
    """Nothing is given up for it: the alarm waits for the root, as it had to."""
    sandbox.slack.refuse(SCHEDULE, "channel_not_found")
    rig = without_root(sandbox, clock)
    rig.run_for(60)
    assert rig.pending == []
    assert rig.calls(SCHEDULE) == [SCHEDULE]

    rig.place = rig.root()
    rig.run_for(20)

    assert len(rig.pending) == 1


_QUIET = "09:00-21:00 Asia/Seoul"  # the clock begins at noon there
_CHOICES: list[list[dict[str, Any]]] = [
    [
        {},
        *({"events": each} for each in (["all"], ["endings"], ["failures"], ["run_lost"], ["run_lost", "run_ended"])),
        {"events": ["run_started", "epoch_finished"]},
    ],
    [{}, {"quiet": _QUIET}, {"quiet": _QUIET, "quiet_lets": []}, {"quiet": _QUIET, "quiet_lets": ["run_lost"]}],
    [{}, {"runs": ["res*"]}, {"projects": ["bert-*"]}],
    [{}, {"every": "10 epochs", "daily": 1, "lang": "ko", "min_severity": "error"}],
]


def test_the_switch_is_armed_under_every_choice_that_wants_to_hear_of_losses(clock: FakeClock) -> None:
    """And under no other: what people chose decides, not whether the start was told."""
    unlike = []
    with Sandbox(clock=clock) as sandbox:
        for choices in product(*_CHOICES):
            table = {key: value for each in choices for key, value in each.items()}
            switch = chosen(sandbox, clock, table)
            armed = switch is not None and is_armed(switch, clock)
            sandbox.slack.schedule.all.clear()
            if armed is not wants(pace_of(table), replace(lost(), run=RUN)):
                unlike.append(table)

    assert unlike == []


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        ({"error": "#alerts"}, "C0ALERTS"),
        ({"projects": {RUN.project: "#other"}}, "C0OTHER"),
        ({"error": "#alerts", "projects": {RUN.project: "#other"}}, "C0ALERTS"),
        ({"warning": "#alerts"}, "C0TRAINING"),
        ({"error": "#alrets"}, "C0TRAINING"),
        ({"error": "#alrets", "projects": {RUN.project: "#other"}}, "C0OTHER"),
    ],
)
def test_the_alarm_stands_where_errors_are_told_or_else_where_the_run_is(
    clock: FakeClock, channels: dict[str, Any], expected: str
) -> None:
    """A killed process is the worst of errors. A misspelt channel must not cost its news."""
    with Sandbox(clock=clock) as sandbox:
        switch = chosen(sandbox, clock, {}, slack_channels=channels)
        assert switch is not None
        armed = is_armed(switch, clock)
        places = {each.channel_id for each in sandbox.slack.schedule.all}
        switch.cancel()
        while switch.step():
            pass

        assert (armed, places, sandbox.slack.schedule.pending) == (True, {expected}, [])


def chosen(sandbox: Sandbox, clock: FakeClock, table: dict[str, Any], **more: Any) -> DeadMan | None:
    """The switch under a table of choices, of a run that is never told of."""
    settings: dict[str, Any] = {
        "slack_bot_token": BOT_TOKEN, "slack_channel": CHANNEL, "slack_api_url": f"{sandbox.url}/api/",
        "notifiers": {"slack": table},
    }  # fmt: skip
    return dead_man(
        Config(**settings | more), RUN, Host(), look=lambda: (Progress(), 1), memory_of=lambda _: DictMemory(),
        clock=clock,
    )  # fmt: skip


def is_armed(switch: DeadMan, clock: FakeClock) -> bool:
    """True when an alarm stands some seconds after the start."""
    clock.advance(ROOT_WAIT_S)
    while switch.step():
        pass
    return switch.state.guard is not None


def pace_of(table: dict[str, Any]) -> Pace:
    return SlackBot.pace.with_preferences(tables_from({"slack": table}).of("slack"))


# ── Quiet hours ──────────────────────────────────────────────────────────────────────────────────────────────────────

SEOUL = quiet_from("23:00-07:00 Asia/Seoul")
QUIET = Margins(quiet=SEOUL)


def shown(post_at: int) -> str:
    """A moment by the clock on a wall in Seoul."""
    return f"{datetime.fromtimestamp(post_at, SEOUL.zone):%d %H:%M}"


def night(clock: FakeClock, hour: int, minute: int) -> None:
    """Go on to that time in Seoul."""
    now = clock.now().astimezone(SEOUL.zone)
    then = now.replace(hour=hour, minute=minute, second=0)
    clock.advance(((then - now).total_seconds()) % 86_400)


def test_an_alarm_of_the_night_waits_for_the_morning(sandbox: Sandbox, clock: FakeClock) -> None:
    """Where people want to hear of no loss in quiet hours."""
    night(clock, 23, 30)
    rig = Rig(sandbox, clock, margins=QUIET)
    rig.settle()
    clock.advance(3600)
    assert rig.replies == []

    night(clock, 7, 1)

    (alarm,) = sandbox.slack.thread(rig.place.root_ts)
    assert f"{alarm.at.astimezone(SEOUL.zone):%H:%M}" == "07:00"


def test_a_run_that_lives_through_the_night_is_never_told_lost(sandbox: Sandbox, clock: FakeClock) -> None:
    """The alarm of the morning is moved on in time; over night few are scheduled, for all count among the thirty."""
    night(clock, 22, 30)
    rig = Rig(sandbox, clock, margins=QUIET)
    rig.run_for(9.5 * 3600, step_s=60)

    assert rig.replies == []
    assert len(rig.pending) == 1
    assert rig.pending[0] <= 900
    morning = [each for each in sandbox.slack.schedule.all if shown(each.post_at).endswith("07:00")]
    assert 2 <= len(morning) <= 10
    assert not rig.switch.failures


@pytest.mark.parametrize("late_s", [0, 239])
def test_the_margins_hold_in_the_morning_as_well(late_s: int) -> None:
    """However late a beat may be: from ten minutes before its time on the alarm is moved, at six it can be deleted."""
    post_at = 1_000_000
    state = AlarmState(alarms=(Alarm("Q1", post_at),), newest="Q1", beat_at_s=post_at - 2400.0, looked=True)

    assert not is_due(state, post_at - 601.0, QUIET)
    assert is_due(state, post_at - 600.0 + late_s, QUIET)
    assert post_at - (post_at - 600 + late_s) >= QUIET.cancel_s


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-23 13:44:59", "22:59"),
        ("2026-11-23 13:45:00", "07:00"),
        ("2026-11-23 20:00:00", "07:00"),
        ("2026-11-23 21:45:00", "07:00"),
        ("2026-11-23 21:46:00", "07:01"),
    ],
)
def test_an_alarms_time_is_never_within_the_quiet_hours(moment: str, expected: str) -> None:
    """By the clock of their own time zone; Slack takes nothing more than 120 days ahead."""
    now_s = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    times = [QUIET.post_at(now_s, windows) for windows in range(4)]

    assert shown(times[0]).endswith(expected)
    assert all(not SEOUL.covers(datetime.fromtimestamp(each, UTC)) for each in times)
    assert all(now_s + QUIET.ahead_s <= each <= now_s + AHEAD_MOST_S for each in times)


def test_a_change_of_clocks_does_not_shift_the_morning() -> None:
    """In Berlin the night of 25 October 2026 has an hour more."""
    margins = Margins(quiet=quiet_from("23:00-07:00 Europe/Berlin"))
    evening = datetime(2026, 10, 24, 21, 30, tzinfo=UTC)

    morning = datetime.fromtimestamp(margins.post_at(evening.timestamp()), UTC)

    assert morning == datetime(2026, 10, 25, 6, 0, tzinfo=UTC)
    assert morning - evening == timedelta(hours=8, minutes=30)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"quiet": "09:00-21:00 Asia/Seoul", "quiet_lets": []}, "21:00"),
        ({"quiet": "09:00-21:00 Asia/Seoul", "quiet_lets": ["endings"]}, "21:00"),
        ({"quiet": "09:00-21:00 Asia/Seoul"}, "12:15"),
        ({"quiet": "09:00-21:00 Asia/Seoul", "quiet_lets": ["failures"]}, "12:15"),
        ({"quiet_lets": []}, "12:15"),
    ],
    ids=["nothing-passes", "endings-pass", "failures-pass-by-default", "failures-pass", "no-quiet-hours"],
)
def test_what_may_pass_the_quiet_hours_decides(clock: FakeClock, table: dict[str, Any], expected: str) -> None:
    """By default a loss is told at any hour."""
    with Sandbox(clock=clock) as sandbox:
        switch = chosen(sandbox, clock, table)
        assert switch is not None
        assert is_armed(switch, clock)

        (alarm,) = sandbox.slack.schedule.pending
    assert shown(alarm.post_at).endswith(expected)


def test_quiet_hours_for_all_notifiers_count_as_well(clock: FakeClock) -> None:
    with Sandbox(clock=clock) as sandbox:
        switch = chosen(sandbox, clock, {"quiet_lets": []}, quiet=_QUIET)

    assert switch is not None
    assert switch.margins.quiet == quiet_from(_QUIET)


# ── What it says ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_killed_early_is_told_with_the_epochs_it_had_done(sandbox: Sandbox, clock: FakeClock) -> None:
    """The first epoch and the first checkpoint are told of at once, later ones with the next beat."""
    rig = Rig(sandbox, clock)
    whole = rig.progress
    steps = [
        Progress(total=100),
        replace(whole, epoch=1, done=1, checkpoint=None),
        replace(whole, epoch=2, done=2, checkpoint=None),
        replace(whole, epoch=3, done=3, checkpoint=Checkpoint("drive/epoch-003.pt", epoch=3)),
        replace(whole, epoch=4, done=4, checkpoint=Checkpoint("drive/epoch-004.pt", epoch=4)),
    ]
    for rig.progress in steps:
        rig.run_for(20)
    clock.advance(901)

    (alarm,) = sandbox.slack.thread(rig.place.root_ts)
    assert "after epoch 3/100" in alarm.text
    assert rig.calls(SCHEDULE) == [SCHEDULE] * 3


def test_without_room_the_alarm_that_stands_is_good_enough(rig_state: AlarmState) -> None:
    """Slack takes thirty in five minutes: they are for those who have none yet. It is not asked again."""
    state = reschedule_soon(rig_state)
    assert decide(state, 160.0, Margins(), is_known_alive=True) == ScheduleAlarm(1060)

    state = after(state, ScheduleAlarm(1060), Denied("restricted_too_many"), 160.5, Margins())

    assert state == rig_state
    assert decide(state, 161.0, Margins(), is_known_alive=True) == Wait()


def test_a_loop_that_stands_still_is_not_vouched_for_by_news(rig_state: AlarmState) -> None:
    assert decide(reschedule_soon(rig_state), 160.0, Margins(), is_known_alive=False) == Wait()


def test_nothing_is_hastened_that_was_never_scheduled() -> None:
    """The first alarm says all that is known anyway."""
    assert not reschedule_soon(AlarmState()).early


@pytest.fixture
def rig_state() -> AlarmState:
    """A minute after an alarm was scheduled, at 100 seconds, and the list read."""
    state = AlarmState(alarms=(Alarm("Q1", 1000),), newest="Q1", beat_at_s=100.0)
    return after(state, ReadList(), Listed((Alarm("Q1", 1000, own=False),)), 159.0, Margins())
