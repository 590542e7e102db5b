"""When a run's end takes its alarm back: once people know how it ended, and not before."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from notifybot.config import Config
from notifybot.delivery.subscription import subscribed
from notifybot.errors import StoreError
from notifybot.events import RunEnded
from notifybot.notifiers.slack import SlackBot, slack_notifiers
from notifybot.notifiers.slack.deadman.slack_api import SlackAlarms
from notifybot.notifiers.slack.deadman.switch import DeadMan, bot_among, is_delivered, known_end_s
from notifybot.notifiers.slack.deadman.text import Speech
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.policy import Priority
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import Host, Language, Progress, Status, uuid7
from tests.support.deadman_rig import DELETE, RUN, SCHEDULE, Rig
from tests.support.store_events import RUN as STORED
from tests.support.store_events import ended, started


@pytest.fixture
def rig(sandbox: Sandbox, clock: FakeClock) -> Rig:
    return Rig(sandbox, clock)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "notifybot.db") as store:
        yield store


# ── The switch ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_end_that_is_told_takes_the_alarm_back(rig: Rig, clock: FakeClock) -> None:
    rig.run_for(60)
    told: list[str] = []
    rig.switch.ended(lambda: bool(told))
    rig.settle()
    assert rig.calls(DELETE) == []

    told.append("ending")
    rig.settle()
    clock.advance(86_400)

    assert rig.switch.state.clear
    assert rig.replies == []


def test_an_end_that_cannot_be_told_is_left_to_the_alarm(rig: Rig, clock: FakeClock) -> None:
    """The process and its machine are gone then: Slack is the only one left to say anything."""
    rig.run_for(60)
    rig.switch.ended(lambda: False)
    rig.run_for(2, step_s=0.5)
    clock.advance(901)

    assert len(rig.replies) == 1
    assert "lost" in rig.replies[0]


def test_while_the_process_goes_on_trying_the_alarm_waits_ten_minutes_more(rig: Rig) -> None:
    """A notebook's kernel lives on after the run; but what is not told at last is left to Slack there too."""
    rig.run_for(60)
    rig.switch.ended(lambda: False)
    rig.run_for(600)
    assert rig.replies == []
    assert rig.pending[0] > 300

    rig.run_for(900)

    assert len(rig.replies) == 1


def test_an_end_told_late_takes_back_what_was_moved_on(rig: Rig, clock: FakeClock) -> None:
    rig.run_for(60)
    told: list[str] = []
    rig.switch.ended(lambda: bool(told))
    rig.run_for(700)
    told.append("ending")
    rig.settle()
    clock.advance(86_400)

    assert rig.replies == []


def test_a_store_that_cannot_be_read_says_nothing_about_the_end(rig: Rig) -> None:
    """Then the alarm stays."""

    def told() -> bool:
        raise StoreError("locked")

    rig.run_for(60)
    rig.switch.ended(told)
    rig.run_for(60)

    assert len(rig.pending) == 1


def test_a_promise_or_a_look_vouches_for_no_run_that_has_ended(rig: Rig) -> None:
    rig.run_for(60)
    rig.switch.promise(7200)
    rig.switch.ended(lambda: False)
    rig.run_for(1600)

    assert len(rig.replies) == 1


def test_a_run_that_ends_before_its_first_alarm_schedules_none(sandbox: Sandbox, clock: FakeClock) -> None:
    """There would be no time to take it back."""
    rig = Rig(sandbox, clock)
    rig.switch.ended(lambda: False)
    rig.run_for(60)

    assert rig.calls(SCHEDULE) == []


def test_a_later_ending_that_corrects_the_first_counts(rig: Rig) -> None:
    """A bare loop has stopped, and the exception behind it is heard of afterwards."""
    rig.run_for(60)
    rig.switch.ended(lambda: False)
    rig.switch.ended(lambda: True)
    rig.settle()

    assert rig.pending == []


def test_handing_over_comes_before_the_end(rig: Rig) -> None:
    """A newer session speaks for the run: nothing waits for this one's ending."""
    rig.run_for(60)
    rig.switch.hand_over()
    rig.switch.ended(lambda: False)
    rig.settle()

    assert rig.pending == []


def test_what_was_not_told_is_not_waited_for_at_the_exit() -> None:
    """The deliveries were waited for before; what has not got through by then will not now."""
    with Sandbox() as sandbox:
        api = SlackAlarms(BOT_TOKEN, f"{sandbox.url}/api/")
        place = RunThread(*api.post(CHANNEL, {"text": "root"})[:2], "started")
        asked, told = threading.Event(), threading.Event()

        def look() -> tuple[Progress, int]:
            asked.set()
            return Progress(), 1

        switch = DeadMan(api, Speech(RUN, Host(), Renderer(Language.EN)), look, lambda: place)
        switch.start()
        assert asked.wait(10)
        switch.ended(told.is_set)
        assert not switch.flush(60), "at once"

        told.set()

        assert switch.flush(10)


# ── What counts as told ──────────────────────────────────────────────────────────────────────────────────────────────


def ending(status: Status = Status.FAILED) -> RunEnded:
    return RunEnded(id=uuid7(), run=RUN, at=datetime(2026, 11, 23, tzinfo=UTC), status=status)


def bot(**table: Any) -> Any:
    config = _config(**table)
    return bot_among(subscribed(slack_notifiers(config), config), config)


def _config(**table: Any) -> Config:
    settings: dict[str, Any] = {"slack_bot_token": BOT_TOKEN, "slack_channel": CHANNEL}
    return Config(**settings, notifiers={"slack": table})


def test_an_ending_on_disk_is_told_when_its_delivery_is_marked_sent(store: Store) -> None:
    told, by = ending(), bot()
    runs.record(store, told, [(by.key, Priority.URGENT)])
    assert not is_delivered(told, by, store)

    outbox = Outbox(store)
    delivery = outbox.claim(by.key)
    assert delivery is not None
    assert not is_delivered(told, by, store)
    outbox.mark_sent(delivery)

    assert is_delivered(told, by, store)


def test_a_dead_letter_has_told_nobody(store: Store) -> None:
    told, by = ending(), bot()
    runs.record(store, told, [(by.key, Priority.URGENT)])
    outbox = Outbox(store)
    delivery = outbox.claim(by.key)
    assert delivery is not None
    outbox.mark_dead(delivery, "not_in_channel")

    assert not is_delivered(told, by, store)


def test_another_notifiers_delivery_does_not_count(store: Store) -> None:
    """The alarm speaks to the people in Slack."""
    told = ending()
    runs.record(store, told, [("kakao:1", Priority.URGENT)])
    delivery = Outbox(store).claim("kakao:1")
    assert delivery is not None
    Outbox(store).mark_sent(delivery)

    assert not is_delivered(told, bot(), store)


def test_an_ending_that_is_held_in_memory_alone_is_not_told(store: Store) -> None:
    """On a full disk: with the process it would be gone."""
    assert not is_delivered(ending(), bot(), store)


def test_the_words_count_before_the_picture_has_followed(store: Store) -> None:
    """The bot remembers that it answered; its delivery is marked when the curves are there too."""
    told, by = ending(), bot()
    runs.record(store, told, [(by.key, Priority.URGENT)])
    store.memory(by.key, RUN.project).put(RUN.id, RunThread("C1", "1.0", "started").answering(told.id).to_value())

    assert is_delivered(told, by, store)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"events": ["run_lost"]}, True),
        ({"events": ["run_lost", "run_ended:failed"]}, False),
        ({"events": ["run_lost", "run_ended:finished"]}, True),
        ({"runs": ["bert-*"]}, True),
        ({}, False),
    ],
    ids=["losses-alone", "failures-too", "only-finishes", "other-runs", "all"],
)
def test_an_ending_that_is_not_wanted_need_not_be_told(store: Store, table: dict[str, Any], expected: bool) -> None:
    """What people chose not to hear keeps no alarm."""
    assert is_delivered(ending(), bot(**table), store) is expected


def test_without_the_bot_among_the_notifiers_nobody_is_to_be_told(store: Store) -> None:
    """A caller's own notifiers replace it."""
    config = _config()

    assert bot_among([RecordingNotifier()], config) is None
    assert is_delivered(ending(), None, store)
    assert isinstance(bot_among(slack_notifiers(config), config), SlackBot)


# ── What an earlier process had no time for ──────────────────────────────────────────────────────────────────────────


def test_the_next_process_takes_back_the_alarm_of_a_run_whose_end_people_know(
    sandbox: Sandbox, clock: FakeClock
) -> None:
    """As soon as that is told, and no alarm of whoever still runs, is not known here, or goes on elsewhere."""
    rig, start_s = Rig(sandbox, clock), clock.now().timestamp()
    for run_id, in_s in (("told", 700), ("untold", 710), ("another machine's", 720), ("told", 1000)):
        said = {"post_at": int(start_s) + in_s, "text": f"lost\n[nb:{run_id.replace(' ', '-')}]"}
        sandbox.slack.schedule.add(rig.place.channel_id, said)
    rig.over["told"] = start_s
    rig.run_for(10, step_s=1)
    assert [each for each in sorted(rig.pending) if not 880 <= each <= 900] == [700, 710, 990]

    rig.over["untold"] = start_s
    rig.run_for(10, step_s=1)

    assert [each for each in sorted(rig.pending) if not 870 <= each <= 900] == [700, 980]
    assert len(rig.pending) == 3


def test_a_run_is_over_when_its_latest_session_has_ended_and_the_bot_has_told_it(tmp_path: Path) -> None:
    """One that fell silent is not, nor one that another session goes on with; its alarm is right."""
    slack, again = RecordingNotifier("slack"), replace(STORED, session="s2")
    with Store.open(tmp_path / "a.db") as store:
        outbox = Outbox(store)
        assert known_end_s(STORED.id, slack, store) is None
        runs.record(store, started())
        assert known_end_s(STORED.id, slack, store) is None
        runs.record(store, ended(), [(slack.key, Priority.URGENT)])
        assert known_end_s(STORED.id, slack, store) is None
        delivery = outbox.claim(slack.key)
        assert delivery is not None
        outbox.mark_sent(delivery)
        assert known_end_s(STORED.id, slack, store) == ended().at.timestamp()
        runs.record(store, started(again))
        assert known_end_s(STORED.id, slack, store) is None
