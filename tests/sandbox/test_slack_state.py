"""What the pretended workspace keeps of a message, and its error codes."""

from __future__ import annotations

import pytest
from slack_sdk import WebClient
from slack_sdk.webhook import WebhookClient

from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import CHANNEL, WEBHOOK_STATUS

TEXT = {"type": "plain_text", "text": "hello"}


def test_updates_keep_history_and_text_alone_takes_the_blocks_away(sandbox: Sandbox, client: WebClient) -> None:
    """chat.update replaces; what was said before is still known to the test."""
    posted = client.chat_postMessage(channel=CHANNEL, text="one", blocks=[{"type": "header", "text": TEXT}])
    client.chat_update(channel=posted["channel"], ts=posted["ts"], text="two")

    (message,) = sandbox.slack.messages
    assert [each.text for each in message.revisions] == ["one", "two"]
    assert message.blocks == []


@pytest.mark.parametrize("code", sorted(WEBHOOK_STATUS))
def test_any_refusal_of_the_webhook_can_be_ordered(sandbox: Sandbox, hook: WebhookClient, code: str) -> None:
    """With the status that belongs to the word."""
    sandbox.slack.refuse("webhook", code)

    response = hook.send(text="x")

    assert (WEBHOOK_STATUS[code], code) == (response.status_code, response.body)
