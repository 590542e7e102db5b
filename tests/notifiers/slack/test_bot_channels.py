"""Slack by bot with several channels: a run lives in its project's, and a severity is told in its own."""

from __future__ import annotations

from typing import Any

import pytest

from notifybot.config import Config, load
from notifybot.errors import ConfigError, TemporaryError
from notifybot.events import Event
from notifybot.notifiers.slack import SlackBot, slack_notifiers
from notifybot.policy import severity_of
from notifybot.preferences import Channels, channels_from
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, SlackMessage
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Severity, Status
from tests.support.slack_messages import alert, ended, envelope, epoch, lost, started

HOME, ALERTS, OTHER = "C0TRAINING", "C0ALERTS", "C0OTHER"
ANNA = "<@U0123456789>"


@pytest.fixture
def memory() -> DictMemory:
    return DictMemory()


def bot_of(sandbox: Sandbox, clock: FakeClock, table: dict[str, Any], mention: str = "") -> SlackBot:
    return SlackBot(
        BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock, mention=mention,
        channels=channels_from(table),
    )  # fmt: skip


def tell(bot: SlackBot, memory: DictMemory, *events: Event) -> None:
    for event in events:
        bot.send(envelope(event, memory, severity=severity_of(event)))


def roots(sandbox: Sandbox, channel: str) -> list[SlackMessage]:
    return [each for each in sandbox.slack.roots if each.channel == channel]


def test_a_failure_is_told_in_the_channel_of_errors_and_kept_in_the_runs_thread(
    sandbox: Sandbox, clock: FakeClock, memory: DictMemory
) -> None:
    """It is one message of its own there, which calls people; the thread stays where the run's message is."""
    bot = bot_of(sandbox, clock, {"error": "#alerts"}, mention=ANNA)

    tell(bot, memory, started(), epoch(1), ended(5, status=Status.FAILED))

    (card,), (told,) = roots(sandbox, HOME), roots(sandbox, ALERTS)
    replies = sandbox.slack.thread(card.ts)
    assert [(each.channel, each.broadcast) for each in replies] == [(HOME, False), (HOME, False)]
    assert "run ended" in told.text
    assert [ANNA in each.text for each in (told, *replies)] == [True, False, False]


def test_what_has_no_channel_of_its_own_is_told_as_without_any(
    sandbox: Sandbox, clock: FakeClock, memory: DictMemory
) -> None:
    bot = bot_of(sandbox, clock, {"error": "#alerts", "success": "#training"})

    tell(bot, memory, started(), alert(), ended(5))

    (card,) = roots(sandbox, HOME)
    assert roots(sandbox, ALERTS) == []
    assert [each.broadcast for each in sandbox.slack.thread(card.ts)] == [False, True, True]


def test_a_run_lives_in_the_channel_of_its_project(sandbox: Sandbox, clock: FakeClock, memory: DictMemory) -> None:
    """The first pattern that matches counts; the run keeps its thread when the settings change later."""
    table = {"projects": {started().run.project[:3] + "*": "other", "*": "alerts"}}

    tell(bot_of(sandbox, clock, table), memory, started())
    tell(bot_of(sandbox, clock, {}), memory, epoch(1), ended(5))

    (card,) = sandbox.slack.roots
    assert card.channel == OTHER
    assert len(sandbox.slack.thread(card.ts)) == 2


def test_a_channel_that_takes_nothing_leaves_it_to_the_runs_own(
    sandbox: Sandbox, clock: FakeClock, memory: DictMemory, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt channel must not cost the news that a run was lost. Why is said once."""
    bot = bot_of(sandbox, clock, {"error": "#alrets"}, mention=ANNA)

    tell(bot, memory, started(), lost(41), ended(50, status=Status.FAILED))

    (card,) = sandbox.slack.roots
    replies = sandbox.slack.thread(card.ts)
    assert [(each.broadcast, ANNA in each.text) for each in replies[1:]] == [(True, True), (True, False)]
    (line,) = [each.getMessage() for each in caplog.records]
    assert line.startswith("#alrets takes no message (")


def test_what_was_told_there_is_not_told_again_when_the_thread_fails(
    sandbox: Sandbox, clock: FakeClock, memory: DictMemory
) -> None:
    bot = bot_of(sandbox, clock, {"error": "#alerts"}, mention=ANNA)
    failed = ended(5, status=Status.FAILED)
    sandbox.slack.burst = 2  # of each channel: the run's is full after its start

    tell(bot, memory, started())
    with pytest.raises(TemporaryError):
        tell(bot, memory, failed)
    clock.advance(60)
    tell(bot, memory, failed)

    (card,) = roots(sandbox, HOME)
    assert len(roots(sandbox, ALERTS)) == 1
    assert [(each.broadcast, ANNA in each.text) for each in sandbox.slack.thread(card.ts)][1:] == [(False, False)]


# ── Settings ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_table_is_read_from_a_file_and_from_a_variable() -> None:
    table = {"error": "#alerts", "projects": {"vision-*": "C0123456789"}}
    expected = Channels(((Severity.ERROR, "#alerts"),), (("vision-*", "C0123456789"),))

    config = Config(slack_bot_token=BOT_TOKEN, slack_channel=CHANNEL, slack_channels=table)

    assert config.slack_channels == expected
    assert channels_from('{"error": "#alerts", "projects": {"vision-*": "C0123456789"}}') == expected
    assert str(expected) == "error #alerts, vision-* C0123456789"
    alone = Config(slack_bot_token=BOT_TOKEN, slack_channel=CHANNEL)
    assert slack_notifiers(config)[0].key == slack_notifiers(alone)[0].key, "what the bot remembers stays its own"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"failed": "#alerts"}, "names failed, which is no severity (info, success, warning, error)"),
        ({"error": 3}, "names no channel for error"),
        ({"error": "#"}, "names no channel for error"),
        ({"projects": "#vision"}, "must be a table of channels"),
        ("#alerts", "must be"),
        ({"projects": {"vision": "a\nb"}}, "names no channel for vision"),
    ],
)
def test_a_table_that_cannot_be_meant_is_refused(table: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"lang": "en", "slack_bot_token": BOT_TOKEN, "slack_channel": CHANNEL, "slack_channels": table})

    assert expected in str(caught.value)


def test_a_webhook_has_one_channel() -> None:
    hook = "https://hooks.slack.com/services/T0CANARY/B0CANARY/not-a-real-secret"

    with pytest.raises(ConfigError, match=r"needs slack_bot_token beside it.*one channel it was made for"):
        load({"lang": "en", "slack_webhook_url": hook, "slack_channels": {"error": "#alerts"}})
