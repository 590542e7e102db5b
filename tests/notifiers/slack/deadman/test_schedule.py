"""The dead man's switch, call by call, against the pretended Slack over HTTP and with its clock moved."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from notifybot.config import Config
from notifybot.notifiers.slack.bot import SlackBot
from notifybot.notifiers.slack.deadman.schedule import (
    Alarm,
    AlarmState,
    DeleteAlarm,
    Done,
    Failed,
    Goal,
    List,
    Listed,
    Margins,
    ScheduleAlarm,
    Scheduled,
    after,
    decide,
    end,
)
from notifybot.notifiers.slack.deadman.slack_api import SlackAlarms
from notifybot.notifiers.slack.deadman.switch import DeadMan, Look, dead_man, wants_dead_man
from notifybot.notifiers.slack.deadman.text import Speech, mark_of
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.http import Fault
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.testing import DictMemory, FakeClock
from notifybot.training.guard import Guard
from notifybot.types import Host, Language, Progress, RunRef
from tests.support.deadman_rig import DELETE, LIST, MARGINS, RUN, SCHEDULE, Rig


@pytest.fixture
def rig(sandbox: Sandbox, clock: FakeClock) -> Rig:
    return Rig(sandbox, clock)


# ── The sequence ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_alarm_waits_for_the_root_message(sandbox: Sandbox, clock: FakeClock) -> None:
    """A thread is a better place than the channel, so it is waited for, a few seconds."""
    rig = Rig(sandbox, clock, place=RunThread(), channel=CHANNEL)
    rig.settle()
    assert rig.calls() == []

    rig.place = rig.root()
    rig.settle()

    assert rig.calls(SCHEDULE) == [SCHEDULE]
    assert [each.payload["thread_ts"] for each in sandbox.slack.schedule.pending] == [rig.place.root_ts]


def test_a_beat_makes_the_new_alarm_before_it_breaks_the_old_one(rig: Rig) -> None:
    """So that a kill between the two calls leaves two alarms, never none."""
    rig.run_for(300)

    assert rig.calls() == [LIST, SCHEDULE, LIST, SCHEDULE, DELETE]
    assert rig.pending == [900]


def test_an_hour_of_beats_keeps_one_alarm_and_posts_none(rig: Rig) -> None:
    rig.run_for(3600)

    assert len(rig.pending) == 1
    assert len(rig.sandbox.slack.messages) == 1
    assert rig.switch.counts[ScheduleAlarm] == 13
    assert not rig.switch.failures


def test_the_end_takes_every_alarm_back(rig: Rig) -> None:
    """Also when told twice; a day later nothing was posted."""
    rig.run_for(600)
    rig.switch.cancel()
    rig.switch.cancel()
    rig.settle()
    assert rig.pending == []
    assert rig.switch.state.clear

    rig.clock.advance(86_400)

    assert len(rig.sandbox.slack.messages) == 1


def test_a_resumed_run_replaces_what_a_dead_session_left(rig: Rig, sandbox: Sandbox, clock: FakeClock) -> None:
    """Found by the mark in its text, deleted only after the new one stands."""
    rig.settle()
    clock.advance(120)
    Rig(sandbox, clock, run=RunRef(RUN.id, "resnet", "lab", "s2"), place=rig.place).settle()

    assert rig.pending == [900]
    assert rig.calls()[-3:] == [LIST, SCHEDULE, DELETE]


def test_a_session_that_ends_before_its_first_alarm_clears_up_too(rig: Rig, sandbox: Sandbox, clock: FakeClock) -> None:
    """Else the alarm of the session before it would tell a finished run lost."""
    rig.settle()
    second = Rig(sandbox, clock, place=rig.place)
    second.switch.cancel()
    second.settle()

    assert rig.pending == []


def test_other_runs_keep_their_alarms(rig: Rig, sandbox: Sandbox, clock: FakeClock) -> None:
    """A run's id may be the beginning of another's."""
    other = Rig(sandbox, clock, run=RunRef(RUN.id + "2", "resnet", "lab"))
    other.settle()
    rig.settle()
    rig.switch.cancel()
    rig.settle()

    assert len(rig.pending) == 1
    assert mark_of(RUN) not in mark_of(other.run)


def test_a_session_that_hands_over_leaves_its_successor_guarded(rig: Rig, sandbox: Sandbox, clock: FakeClock) -> None:
    """It takes back its own alarm alone."""
    rig.settle()
    successor = Rig(sandbox, clock, place=rig.place)
    clock.advance(30)
    successor.settle()
    rig.switch.hand_over()
    rig.settle()

    assert rig.pending == [900]
    assert rig.switch.state.clear


# ── Trouble ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lost_answer_is_found_in_the_list(rig: Rig) -> None:
    """The alarm that was scheduled although nobody heard so is adopted; no second one is made."""
    rig.sandbox.faults.append(Fault("reset_after", path=SCHEDULE))
    rig.run_for(20, step_s=1)

    assert rig.pending == [880]
    assert rig.calls(SCHEDULE) == [SCHEDULE]


def test_a_call_that_never_arrived_is_made_again(rig: Rig) -> None:
    rig.sandbox.faults.append(Fault("reset_before", path=SCHEDULE, times=2))
    rig.run_for(20, step_s=1)

    assert len(rig.pending) == 1
    assert rig.pending[0] > 880


def test_an_alarm_that_lands_late_is_cleared_with_the_next_beat(rig: Rig) -> None:
    """A request whose answer timed out may still be on its way when the list is read."""
    rig.sandbox.faults.append(Fault("reset_before", path=SCHEDULE))
    rig.run_for(20, step_s=1)
    rig.sandbox.slack.schedule.add(
        rig.place.channel_id, {"post_at": int(rig.now_s) + 870, "text": f"late {mark_of(RUN)}"}
    )
    rig.run_for(1200)

    assert len(rig.pending) == 1
    assert len(rig.sandbox.slack.messages) == 1


def test_a_lost_answer_at_the_very_end_is_looked_for_twice() -> None:
    """What is on its way when the run ends may land after the first look."""
    state = after(AlarmState(looked=True), ScheduleAlarm(900), Failed(ambiguous=True), 0.0, MARGINS)
    state = end(state, 1.0, MARGINS)

    assert decide(state, 1.0, MARGINS, is_known_alive=True) == List()
    state = after(state, List(), Listed(()), 1.5, MARGINS)
    assert not state.clear
    state = after(state, List(), Listed((Alarm("Q9", 900, own=False),)), 40.0, MARGINS)
    assert decide(state, 40.0, MARGINS, is_known_alive=True) == DeleteAlarm(Alarm("Q9", 900, own=True))
    assert after(state, DeleteAlarm(Alarm("Q9", 900)), Done(), 41.0, MARGINS).clear


def test_slacks_wait_is_kept(rig: Rig) -> None:
    """A 429 names the seconds; none of that kind of call is made before."""
    answer = b'{"ok": false, "error": "ratelimited"}'
    headers = {"Retry-After": "60", "Content-Type": "application/json"}
    rig.sandbox.faults.append(Fault("status", path=SCHEDULE, status=429, body=answer, headers=headers))
    rig.run_for(59, step_s=1)
    assert rig.pending == []

    rig.run_for(3, step_s=1)

    assert len(rig.pending) == 1


def test_a_beat_four_minutes_late_harms_nothing(rig: Rig) -> None:
    """The documented margin: 15 minutes ahead, less 5 between beats, less 6 to take an alarm back for sure."""
    rig.settle()
    rig.clock.advance(300 + 239)
    rig.run_for(1200)

    assert MARGINS.late_s == 240
    assert rig.replies == []
    assert len(rig.pending) == 1


def test_a_beat_later_than_that_is_posted_and_taken_back(rig: Rig) -> None:
    """Slack says `ok` to the delete and posts all the same: https://github.com/slackapi/bolt-js/issues/1857"""
    rig.settle()
    rig.clock.advance(900 - 200)
    rig.run_for(400)

    assert len(rig.replies) == 2
    assert "lost" in rig.replies[0]
    assert rig.replies[1] == "🟢 resnet is not lost"


@pytest.mark.parametrize(("language", "word"), [(Language.EN, "recovered"), (Language.KO, "복구됨")])
def test_a_suspended_process_says_that_it_is_back(
    sandbox: Sandbox, clock: FakeClock, language: Language, word: str
) -> None:
    """Stopped for 20 minutes: the alarm was posted; it is taken back once the loop moves, and the run guarded anew."""
    rig = Rig(sandbox, clock, language=language)
    rig.run_for(60)
    clock.advance(1200)
    rig.run_for(60)

    assert len(rig.replies) == 2
    assert word in rig.replies[1]
    assert sandbox.slack.thread(rig.place.root_ts)[1].broadcast
    assert len(rig.pending) == 1


def test_a_loop_that_hangs_is_told_although_its_process_lives(rig: Rig) -> None:
    """Beats stop when the loop has stood still for longer than the watchdog would wait."""
    rig.run_for(300)
    rig.hangs = True
    rig.run_for(600 + 900)
    assert len(rig.replies) == 1

    rig.hangs = False
    rig.run_for(120)

    assert len(rig.replies) == 2
    assert "recovered" in rig.replies[1]


def test_a_promise_vouches_for_a_loop_that_stands_still(rig: Rig) -> None:
    """`expect_next_in` reaches the switch as well."""
    rig.run_for(60)
    rig.hangs = True
    rig.switch.promise(3600)
    rig.run_for(3600)

    assert rig.replies == []


def test_a_full_window_moves_the_alarm_to_the_next(rig: Rig) -> None:
    """Slack takes 30 alarms of a channel within five minutes."""
    window = int(rig.now_s + 900) // 300 * 300
    for second in range(30):
        rig.sandbox.slack.schedule.add(rig.place.channel_id, {"post_at": window + second, "text": "another's"})
    rig.settle()

    assert [each for each in rig.pending if each > 1199] == [1200]


def test_no_room_anywhere_is_tried_again(rig: Rig) -> None:
    rig.sandbox.slack.refuse(SCHEDULE, "restricted_too_many", times=4)
    rig.run_for(10, step_s=1)

    assert len(rig.pending) == 1


@pytest.mark.parametrize("code", ["not_in_channel", "is_archived", "missing_scope", "invalid_auth"])
def test_a_fault_that_is_mended_arms_it_again(rig: Rig, caplog: pytest.LogCaptureFixture, code: str) -> None:
    """D7: an alarm that cannot be moved would be told about a living run, so it goes; one stands again, and is told."""
    rig.settle()
    rig.sandbox.slack.refuse(SCHEDULE, code, times=2)
    with caplog.at_level(logging.WARNING, logger="notifybot"):
        rig.run_for(600)
        assert rig.pending == []
        assert rig.calls(SCHEDULE) == [SCHEDULE] * 3

        rig.run_for(310)

    assert len(rig.pending) == 1
    assert rig.replies == ["From now on Slack itself tells here when this run falls silent; until now it could not."]
    assert [each.levelname for each in caplog.records if each.module == "switch"] == ["WARNING"]
    assert code in caplog.text


@pytest.mark.parametrize("language", Language)
def test_a_refusal_is_said_once_in_the_readers_words(
    sandbox: Sandbox, clock: FakeClock, caplog: pytest.LogCaptureFixture, language: Language
) -> None:
    """What it means for the run, why, and what to do."""
    rig = Rig(sandbox, clock, language=language)
    sandbox.slack.refuse(SCHEDULE, "not_in_channel", times=99)
    with caplog.at_level(logging.WARNING, logger="notifybot"):
        rig.run_for(3600)

    (line,) = [each.getMessage() for each in caplog.records if each.module == "switch"]
    assert "/invite @notifybot" in line
    assert ("Slack cannot tell it" in line) == (language is Language.EN)
    assert len(rig.calls(SCHEDULE)) <= 14


def test_why_the_messages_are_refused_is_not_said_of_the_alarm_as_well(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """That nothing can be told at all says more."""
    rig.said.add("invalid_auth")
    rig.sandbox.slack.refuse(SCHEDULE, "invalid_auth", times=99)

    rig.run_for(600)

    assert rig.pending == []
    assert [each for each in caplog.records if each.name == "notifybot"] == []


def test_the_first_message_that_gets_through_arms_it_at_once(sandbox: Sandbox, clock: FakeClock) -> None:
    """The usual first mistake: the bot is invited a minute after the run began."""
    rig = Rig(sandbox, clock, place=RunThread(), channel=CHANNEL)
    sandbox.slack.refuse(SCHEDULE, "not_in_channel", times=1)
    rig.run_for(30, step_s=1)
    assert rig.pending == []

    rig.place = rig.root()
    rig.run_for(2, step_s=1)

    assert len(rig.pending) == 1


def test_a_run_that_slack_refused_does_not_ask_once_more_when_it_ends(rig: Rig) -> None:
    """Nothing waits there, and the process is about to go."""
    rig.sandbox.slack.refuse(SCHEDULE, "not_in_channel", times=99)
    rig.run_for(20, step_s=1)
    before = len(rig.calls())

    rig.switch.cancel()
    rig.settle()

    assert rig.switch.flush(0.0)
    assert len(rig.calls()) == before


def test_at_the_end_the_latest_alarm_goes_first() -> None:
    """If there is time for one request alone: an earlier one may be too near for Slack to heed it."""
    early, late = Alarm("Q1", post_at=1100), Alarm("Q2", post_at=1900)
    state = end(AlarmState(alarms=(early, late), newest="Q2"), 1000.0, Margins())

    assert decide(state, 1000.0, Margins(), is_known_alive=True) == DeleteAlarm(late)


def test_an_unknown_refusal_is_tried_some_times(rig: Rig) -> None:
    rig.sandbox.slack.refuse(SCHEDULE, "something_new", times=3)
    rig.run_for(60, step_s=1)

    assert len(rig.pending) == 1


def test_a_store_that_cannot_be_read_is_no_reason_to_fall_silent(rig: Rig) -> None:
    """The thread it told last is as good."""
    rig.settle()
    rig.store_locked = True
    rig.run_for(300)

    assert rig.calls(SCHEDULE) == [SCHEDULE, SCHEDULE]


# ── Clocks ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_alarm_that_misses_its_time_is_replaced_at_once() -> None:
    """The process was stopped between the question and the answer."""
    late = after(AlarmState(looked=True), ScheduleAlarm(900), Scheduled(Alarm("Q1", 900)), 600.0, MARGINS)

    assert decide(late, 602.0, MARGINS, is_known_alive=True) == List()
    looked = after(late, List(), Listed((Alarm("Q1", 900, own=False),)), 603.0, MARGINS)
    assert decide(looked, 603.0, MARGINS, is_known_alive=True) == ScheduleAlarm(1503)


# ── The thread ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_thread_schedules_at_once_and_clears_up_within_its_time() -> None:
    """A daemon of its own name, gone when its work is done."""
    others = set(threading.enumerate())  # a run of another test may still be looking for its Slack
    with Sandbox() as sandbox:
        posted = SlackAlarms(BOT_TOKEN, f"{sandbox.url}/api/").post(CHANNEL, {"text": "root"})
        asked = threading.Event()

        def place() -> RunThread:
            if any(method == LIST for method, _ in sandbox.slack.calls):
                asked.set()
            return RunThread(*posted[:2], "started")

        switch = DeadMan(
            SlackAlarms(BOT_TOKEN, f"{sandbox.url}/api/"), Speech(RUN, Host(), Renderer(Language.EN)),
            lambda: (Progress(), 1), place,
        )  # fmt: skip
        assert switch.flush(0), "not started: nothing to wait for"
        switch.start()
        assert asked.wait(10)
        switch.cancel()

        assert switch.flush(10)
        assert len(sandbox.slack.schedule.all) == 1
        assert sandbox.slack.schedule.pending == []
        for thread in [each for each in set(threading.enumerate()) - others if each.name == "notifybot-deadman"]:
            assert thread.daemon
            thread.join(10)
            assert not thread.is_alive()


def test_a_fault_of_ours_is_counted_and_the_thread_goes_on() -> None:
    """Through the training's guard; nothing reaches the training, and the end still clears up."""
    guard = Guard()

    def section(kind: str) -> AbstractContextManager[object]:
        return guard(kind)

    def look() -> tuple[Progress, int]:
        raise RuntimeError("boom")

    with Sandbox() as sandbox:
        api = SlackAlarms(BOT_TOKEN, f"{sandbox.url}/api/")
        place = RunThread(*api.post(CHANNEL, {"text": "root"})[:2], "started")
        post_at = int(sandbox.clock.now().timestamp()) + 900
        sandbox.slack.schedule.add(place.channel_id, {"post_at": post_at, "text": mark_of(RUN)})
        switch = DeadMan(api, Speech(RUN, Host(), Renderer(Language.EN)), look, lambda: place, guard=section)
        switch.start()
        switch.cancel()

        assert switch.flush(10)
        assert sandbox.slack.schedule.pending == []
        assert guard.faults["heartbeat"] > 0


def test_a_forked_child_leaves_the_alarms_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are its parent's."""
    rig.settle()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    rig.switch.cancel()
    assert rig.switch.flush(0)
    monkeypatch.undo()
    rig.settle()

    assert rig.switch.state.goal is Goal.GUARD
    assert len(rig.pending) == 1


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_BOT: dict[str, Any] = {"slack_bot_token": BOT_TOKEN, "slack_channel": CHANNEL}
_WATCHDOG: dict[str, Any] = {"watchdog_url": "http://127.0.0.1:1", "watchdog_token": "canary-not-a-token"}
_HOOK: dict[str, Any] = {"slack_webhook_url": "http://127.0.0.1:1/services/canary"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (_BOT, True),
        (_BOT | {"slack_deadman": "off"}, False),
        (_BOT | _WATCHDOG, False),
        (_BOT | _WATCHDOG | {"slack_deadman": "on"}, True),
        (_HOOK, False),
        (_HOOK | {"slack_deadman": "on"}, False),
        ({}, False),
        (_BOT | {"notifiers": {"slack": {"events": ["run_lost", "run_ended"]}}}, True),
        (_BOT | {"notifiers": {"slack": {"events": ["run_ended"]}}}, False),
        (_BOT | {"notifiers": {"slack": {"runs": ["bert-*"]}}}, False),
    ],
    ids=[
        "bot", "off", "watchdog", "watchdog-and-on", "webhook", "webhook-and-on", "nothing",
        "told-of-losses", "told-of-ends", "told-of-other-runs",
    ],
)  # fmt: skip
def test_it_is_on_with_a_bot_and_without_a_watchdog(settings: dict[str, Any], expected: bool) -> None:
    """Also it says nothing that the bot was not to say."""
    assert wants_dead_man(Config(**settings), RUN) is expected


def test_it_is_made_for_the_bots_own_place(sandbox: Sandbox, clock: FakeClock) -> None:
    """It reads the thread from the memory of the bot that the same settings make."""
    config = Config(**_BOT, slack_api_url=f"{sandbox.url}/api/")
    memories: dict[str, DictMemory] = {}
    look: Look = lambda: (Progress(), 1)  # noqa: E731  a signature is all that is wanted
    switch = dead_man(
        config, RUN, Host(), look=look, clock=clock,
        memory_of=lambda key: memories.setdefault(key, DictMemory()), guard=lambda _: nullcontext(),
    )  # fmt: skip

    assert switch is not None
    assert list(memories) == [SlackBot(BOT_TOKEN, CHANNEL).key]
    assert dead_man(Config(), RUN, Host(), look=look, memory_of=lambda _: DictMemory()) is None
