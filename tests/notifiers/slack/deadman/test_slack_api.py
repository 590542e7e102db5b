"""The switch's calls to Slack: what is refused is said another way, and Slack's clock counts."""

from __future__ import annotations

import pytest

from notifybot.notifiers.slack.deadman.slack_api import SlackClock
from notifybot.notifiers.slack.deadman.text import mark_of
from notifybot.sandbox import Sandbox
from notifybot.testing import FakeClock
from tests.support.deadman_rig import RUN, Rig


@pytest.fixture
def rig(sandbox: Sandbox, clock: FakeClock) -> Rig:
    return Rig(sandbox, clock)


def test_a_refused_layout_is_said_in_plain_words(rig: Rig) -> None:
    rig.sandbox.slack.unknown_blocks = {"table", "rich_text", "context"}
    rig.settle()

    (alarm,) = rig.sandbox.slack.schedule.pending
    assert "attachments" not in {key for key, value in alarm.payload.items() if value}
    assert "val_loss" in alarm.payload["text"]
    assert mark_of(RUN) in alarm.payload["text"]


def test_without_its_thread_the_alarm_goes_to_the_channel(rig: Rig) -> None:
    """A person may delete the root message."""
    rig.sandbox.slack.delete(rig.sandbox.slack.roots[0])
    rig.settle()

    (alarm,) = rig.sandbox.slack.schedule.pending
    assert "thread_ts" not in alarm.payload


def test_ids_listed_as_numbers_are_the_same_alarms(sandbox: Sandbox, clock: FakeClock) -> None:
    """Slack's reference shows both forms: https://docs.slack.dev/reference/methods/chat.scheduledMessages.list"""
    sandbox.slack.schedule.numeric_ids = True
    first = Rig(sandbox, clock)
    first.run_for(900)
    second = Rig(sandbox, clock, place=first.place)
    second.run_for(900)

    assert len(second.pending) == 1
    assert second.replies == []


@pytest.mark.parametrize("skew_s", [-86_400, -90, 90, 86_400])
def test_slacks_clock_counts_not_the_machines(sandbox: Sandbox, clock: FakeClock, skew_s: float) -> None:
    """Its answers carry the Date."""
    local = FakeClock()
    local.jump(skew_s)
    rig = Rig(sandbox, clock, local=local)
    rig.settle()

    assert rig.pending in ([899], [900], [901])


def test_a_time_on_which_the_clocks_disagree_is_asked_for(clock: FakeClock) -> None:
    """A wall clock was set, or the machine slept and its monotonic clock stood still."""
    slack = SlackClock(clock)
    sure = [slack.sure]
    slack.heard("Mon, 23 Nov 2026 09:00:00 GMT")
    sure.append(slack.sure)
    clock.jump(600)
    sure.append(slack.sure)
    slack.heard("not a date")

    assert [*sure, slack.sure] == [False, True, False, True]
    assert slack.now_s() == clock.now().timestamp()
