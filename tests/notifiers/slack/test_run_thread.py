"""A run's thread: remembered over a process's end, and ordered by the states of the run."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notifybot.events import Event
from notifybot.notifiers.slack import SlackBot
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, SlackMessage
from notifybot.testing import DictMemory, FakeClock
from tests.support.slack_messages import ended, envelope, epoch, lost, started


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"channel": "C1"},
        {**RunThread("C1", "1.5").to_value(), "at": "never"},
        {**RunThread("C1", "1.5").to_value(), "answered": None},
        {**RunThread("C1", "1.5").to_value(), "done": "x"},
    ],
)
def test_a_thread_that_makes_no_sense_is_a_run_never_told_of(value: dict[str, Any]) -> None:
    """A new root is posted, instead of failing for ever."""
    assert RunThread.from_value(value) == RunThread()


def test_a_thread_survives_the_journey() -> None:
    """What goes out comes in; a moment without a time zone is UTC."""
    thread = RunThread("C1", "1.5", "event-1", answered=("event-1",))

    assert RunThread.from_value(json.loads(json.dumps(thread.to_value()))) == thread
    naive = RunThread.from_value({**thread.to_value(), "at": "2026-11-23T03:00:00"})
    assert naive.shown.at.isoformat() == "2026-11-23T03:00:00+00:00"


@pytest.fixture
def memory() -> DictMemory:
    return DictMemory()


@pytest.fixture
def bot(sandbox: Sandbox, clock: FakeClock) -> SlackBot:
    return SlackBot(BOT_TOKEN, f"#{CHANNEL}", api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock)


def tell(bot: SlackBot, memory: DictMemory, *events: Event) -> None:
    for event in events:
        bot.send(envelope(event, memory))


def only_root(sandbox: Sandbox) -> SlackMessage:
    (root,) = sandbox.slack.roots
    return root


def header(message: SlackMessage) -> str:
    return str(message.blocks[0]["text"]["text"])


@pytest.mark.parametrize(
    ("first", "late"),
    [
        pytest.param(epoch(5), epoch(4), id="newer-epoch"),
        pytest.param(ended(31), epoch(30), id="ending"),
        pytest.param(ended(30), epoch(30, minutes=30), id="ending-at-the-same-moment"),
        pytest.param(lost(40), epoch(12), id="lost"),
    ],
)
def test_an_older_state_never_overwrites_a_newer_root(
    sandbox: Sandbox, bot: SlackBot, memory: DictMemory, first: Event, late: Event
) -> None:
    """A delivery that was held up by an outage does not turn the root back."""
    tell(bot, memory, started(), first)
    before = header(only_root(sandbox))

    tell(bot, memory, late)

    assert before == header(only_root(sandbox))
