"""Slack by webhook: everything in one message, and what counts as taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.slack import SlackWebhook
from notifybot.sandbox import Fault, Sandbox
from notifybot.testing import DictMemory, FakeClock
from tests.support.slack_messages import ended, envelope, started


@pytest.fixture
def memory() -> DictMemory:
    return DictMemory()


@pytest.mark.parametrize("body", [b"OK", b'{"ok":true}', b'{"success": true}'])
def test_what_a_server_like_slack_answers_counts_as_taken(
    sandbox: Sandbox, clock: FakeClock, memory: DictMemory, body: bytes
) -> None:
    hook = SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], timeout_s=1, clock=clock)
    sandbox.faults.append(Fault("garbage", body=body))

    hook.send(envelope(started(), memory))

    assert len(sandbox.requests) == 1


def test_an_answer_that_nobody_knows_is_repeated_once_and_then_given_up(
    sandbox: Sandbox, clock: FakeClock, memory: DictMemory
) -> None:
    hook = SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], timeout_s=1, clock=clock)
    sandbox.faults += [Fault("garbage", body=b"<html>"), Fault("garbage", body=b"<html>")]
    first = envelope(started(), memory)

    with pytest.raises(TemporaryError):
        hook.send(first)
    with pytest.raises(PermanentError):
        hook.send(replace(first, attempts=1))


def test_a_webhook_message_tells_everything_in_one(sandbox: Sandbox, clock: FakeClock, memory: DictMemory) -> None:
    """Headline, bar, table and footer stand in one message, the traceback too."""
    hook = SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], timeout_s=1, clock=clock)

    hook.send(envelope(ended(), memory, code="ValueError: boom", link="https://example.org/run"))

    (message,) = sandbox.slack.messages
    assert [block["type"] for block in message.blocks] == [
        "header", "section", "section", "table", "rich_text", "rich_text", "section", "context",
    ]  # fmt: skip
    assert message.via == "webhook"


def test_a_repeat_after_a_lost_answer_carries_the_same_mark(
    sandbox: Sandbox, clock: FakeClock, memory: DictMemory
) -> None:
    """Slack has no idempotency key: the message may stand there twice, and a person can see that it is one."""
    hook = SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], timeout_s=1, clock=clock)
    event = ended()
    sandbox.faults.append(Fault("reset_after"))
    with pytest.raises(TemporaryError):
        hook.send(envelope(event, memory))

    hook.send(envelope(event, memory))

    marks = [each.blocks[-1]["elements"][-1]["text"] for each in sandbox.slack.messages]
    assert marks == [f"#{event.id[-8:]}"] * 2
