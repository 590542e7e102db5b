"""The picture that an alert brings itself, in Slack's thread: after the text, and again while Slack cannot take it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifybot.errors import TemporaryError
from notifybot.events import AlertRaised, Event
from notifybot.notifiers.slack import SlackBot
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, SlackMessage
from notifybot.testing import DictMemory, FakeClock
from tests.support.slack_messages import alert, envelope, started

JPEG = b"\xff\xd8\xff\xe0" + bytes(64)
SAMPLES: AlertRaised = replace(alert(), picture="01a22878-7970-790d-b296-56c4f919fa00.jpg")


def _picture_of(event: Event) -> bytes | None:
    return JPEG if isinstance(event, AlertRaised) and event.picture else None


@pytest.fixture
def memory() -> DictMemory:
    return DictMemory()


@pytest.fixture
def bot(sandbox: Sandbox, clock: FakeClock) -> SlackBot:
    url = f"{sandbox.url}/api/"
    return SlackBot(BOT_TOKEN, CHANNEL, api_url=url, timeout_s=1, clock=clock, picture_of=_picture_of)


def replies(sandbox: Sandbox) -> list[SlackMessage]:
    return sandbox.slack.thread(sandbox.slack.roots[0].ts)


def test_it_follows_the_text_without_any_learning_curves(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    for event in (started(), alert(), SAMPLES):
        bot.send(envelope(event, memory))

    (shown,) = sandbox.slack.shared
    kinds = ["picture" if each.blocks[0]["type"] == "image" else "text" for each in replies(sandbox)]
    assert kinds == ["text", "text", "text", "picture"]
    assert (shown.body, shown.name) == (JPEG, "resnet-cifar-4.jpg")


def test_a_delivery_that_is_repeated_brings_it_once(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    for _ in range(2):
        bot.send(envelope(SAMPLES, memory))

    assert len(sandbox.slack.shared) == 1


def test_it_is_sent_later_where_slack_cannot_take_it_now_and_the_text_is_not_repeated(
    sandbox: Sandbox, bot: SlackBot, memory: DictMemory
) -> None:
    sandbox.faults.append(
        Fault("status", path="files.getUploadURLExternal", status=429, body=b"", headers={"Retry-After": "3"})
    )

    with pytest.raises(TemporaryError):
        bot.send(envelope(SAMPLES, memory))
    texts = len(replies(sandbox))
    bot.send(envelope(SAMPLES, memory))

    assert len(sandbox.slack.shared) == 1
    assert len(replies(sandbox)) == texts + 1


def test_one_that_may_have_arrived_is_not_sent_again(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    sandbox.faults.append(Fault("reset_after", path="files.completeUploadExternal"))

    for _ in range(2):
        bot.send(envelope(SAMPLES, memory))

    assert len(sandbox.slack.shared) == 1


def test_a_missing_scope_is_told_in_the_thread(sandbox: Sandbox, bot: SlackBot, memory: DictMemory) -> None:
    sandbox.slack.scopes.discard("files:write")

    bot.send(envelope(SAMPLES, memory))

    assert "files:write" in replies(sandbox)[-1].text
    assert sandbox.slack.shared == []


def test_one_that_is_not_on_this_machine_costs_nothing(sandbox: Sandbox, clock: FakeClock, memory: DictMemory) -> None:
    """The watchdog tells alerts of other machines, in words."""
    bot = SlackBot(
        BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock, picture_of=lambda _: None
    )

    bot.send(envelope(SAMPLES, memory))

    assert len(replies(sandbox)) == 1
