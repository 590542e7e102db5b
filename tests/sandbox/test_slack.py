"""The pretended Slack keeps Slack's contract, spoken to by Slack's own client library."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import requests
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient

from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import CHANNEL
from notifybot.testing import FakeClock

CELL = {"type": "raw_text", "text": "x"}


def refusal(call: Any, **arguments: Any) -> SlackApiError:
    with pytest.raises(SlackApiError) as caught:
        call(**arguments)
    return caught.value


def table(rows: int, columns: int = 2, text: str = "x") -> dict[str, Any]:
    return {"type": "table", "rows": [[{"type": "raw_text", "text": text}] * columns] * rows}


def test_auth_test_names_team_and_bot(client: WebClient) -> None:
    """What a set-up check reads."""
    answer = client.auth_test()

    assert answer["ok"] is True
    assert answer["team_id"].startswith("T")
    assert answer["bot_id"].startswith("B")


def test_a_channels_name_is_resolved_to_its_id(client: WebClient) -> None:
    """With and without the hash; the answer carries what chat.update needs."""
    for name in (CHANNEL, f"#{CHANNEL}", "C0TRAINING"):
        assert client.chat_postMessage(channel=name, text="x")["channel"] == "C0TRAINING"


def test_every_message_has_its_own_growing_ts_from_the_clock(client: WebClient, clock: FakeClock) -> None:
    """Also while the clock stands still."""
    stamps = [float(str(client.chat_postMessage(channel=CHANNEL, text="x")["ts"])) for _ in range(5)]

    assert sorted(set(stamps)) == stamps
    assert abs(stamps[0] - clock.now().timestamp()) < 0.001


def test_replies_hang_under_their_root(sandbox: Sandbox, client: WebClient) -> None:
    """A thread's replies name the root; a reply to a reply is refused."""
    root = client.chat_postMessage(channel=CHANNEL, text="root")
    reply = client.chat_postMessage(channel=CHANNEL, text="reply", thread_ts=root["ts"], reply_broadcast=True)

    assert [each.broadcast for each in sandbox.slack.thread(str(root["ts"]))] == [True]
    error = refusal(client.chat_postMessage, channel=CHANNEL, text="x", thread_ts=reply["ts"])
    assert error.response["error"] == "cannot_reply_to_message"


def test_a_reply_to_a_root_that_was_deleted_stands_in_the_channel(sandbox: Sandbox, client: WebClient) -> None:
    """Without a word of it but the missing `thread_ts`: https://github.com/slack-go/slack/issues/1571"""
    root = client.chat_postMessage(channel=CHANNEL, text="root")
    sandbox.slack.delete(sandbox.slack.roots[0])

    reply = client.chat_postMessage(channel=CHANNEL, text="reply", thread_ts=root["ts"], reply_broadcast=True)

    assert "thread_ts" not in reply["message"]
    assert [(each.text, each.broadcast) for each in sandbox.slack.roots] == [("reply", False)]


def test_a_permalink_leads_to_a_message(client: WebClient) -> None:
    """chat.getPermalink takes its arguments as a form."""
    posted = client.chat_postMessage(channel=CHANNEL, text="x")

    link = client.chat_getPermalink(channel=str(posted["channel"]), message_ts=str(posted["ts"]))["permalink"]

    assert f"/archives/C0TRAINING/p{str(posted['ts']).replace('.', '')}" in link


def test_wrong_and_missing_tokens_are_told_apart(sandbox: Sandbox) -> None:
    """As application errors with status 200."""
    wrong = WebClient("xoxb-wrong-canary", base_url=f"{sandbox.url}/api/", retry_handlers=[])

    error = refusal(wrong.auth_test)

    assert error.response.status_code == 200
    assert error.response["error"] == "invalid_auth"
    with requests.post(f"{sandbox.url}/api/auth.test", timeout=2) as response:
        assert response.json() == {"ok": False, "error": "not_authed"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        pytest.param({"channel": "nowhere", "text": "x"}, "channel_not_found", id="channel"),
        pytest.param({"channel": CHANNEL, "text": ""}, "no_text", id="nothing-to-say"),
        pytest.param({"channel": CHANNEL, "text": "x", "blocks": [{"type": "nope"}]}, "invalid_blocks", id="blocks"),
        pytest.param(
            {"channel": CHANNEL, "text": "x", "attachments": [{"color": "good", "text": "x"}] * 101},
            "too_many_attachments",
            id="attachments",
        ),
        pytest.param(
            {"channel": CHANNEL, "text": "x", "blocks": [table(1), table(1)]}, "invalid_attachments", id="two-tables"
        ),
    ],
)
def test_a_post_is_refused_in_slacks_own_words(client: WebClient, arguments: dict[str, Any], code: str) -> None:
    """HTTP 200, `ok` false, and the documented word."""
    call = partial(client.api_call, "chat.postMessage", json=arguments)  # without the library's own warnings

    assert code == refusal(call).response["error"]


def test_invalid_blocks_say_where_and_why(client: WebClient) -> None:
    """`errors` and `response_metadata.messages` carry a JSON pointer."""
    blocks = [{"type": "divider"}, {"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}]

    response = refusal(client.chat_postMessage, channel=CHANNEL, text="x", blocks=blocks).response

    assert response["errors"] == ["must be less than 151 characters [json-pointer:/blocks/1/text/text]"]
    assert response["response_metadata"]["messages"] == [
        "[ERROR] must be less than 151 characters [json-pointer:/blocks/1/text/text]"
    ]


def test_an_update_meets_its_own_refusals(sandbox: Sandbox, client: WebClient, hook: WebhookClient) -> None:
    """Unknown, too long, or not the bot's own."""
    posted = client.chat_postMessage(channel=CHANNEL, text="x")
    hook.send(text="by webhook")
    foreign = sandbox.slack.messages[-1].ts

    for ts, text, code in [
        ("1.000000", "x", "message_not_found"),
        (str(posted["ts"]), "x" * 4001, "msg_too_long"),
        (foreign, "x", "cant_update_message"),
    ]:
        assert code == refusal(client.chat_update, channel="C0TRAINING", ts=ts, text=text).response["error"]
    named = refusal(client.chat_update, channel=CHANNEL, ts=str(posted["ts"]), text="x")
    assert named.response["error"] == "channel_not_found"  # an update wants the id


def test_a_bot_outside_the_channel_and_an_archived_channel(sandbox: Sandbox, client: WebClient) -> None:
    """Two knobs of the channel."""
    channel = sandbox.slack.channels["C0TRAINING"]
    channel.member = False
    assert refusal(client.chat_postMessage, channel=CHANNEL, text="x").response["error"] == "not_in_channel"
    channel.member, channel.archived = True, True
    assert refusal(client.chat_postMessage, channel=CHANNEL, text="x").response["error"] == "is_archived"


def test_over_one_message_a_second_the_burst_ends_in_429(
    sandbox: Sandbox, client: WebClient, hook: WebhookClient, clock: FakeClock
) -> None:
    """Off by default; with a burst, the channel refills by one a second, whoever posts."""
    sandbox.slack.burst = 2
    client.chat_postMessage(channel=CHANNEL, text="1")
    assert hook.send(text="2").body == "ok"

    limited = refusal(client.chat_postMessage, channel=CHANNEL, text="3")
    by_hook = hook.send(text="3")
    clock.advance(1)

    assert limited.response.status_code == 429
    assert limited.response.headers["Retry-After"] == "1"
    assert by_hook.status_code == 429
    assert hook.send(text="4").body == "ok"


def test_the_webhook_answers_in_plain_words(sandbox: Sandbox, hook: WebhookClient) -> None:
    """`ok` and nothing else, or Slack's word with its status."""
    url = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
    assert (hook.send(text="x").status_code, hook.send(text="x").body) == (200, "ok")
    for body, expected in [
        (b"{", (400, "invalid_payload")),
        (b"[]", (400, "invalid_payload")),
        (b"{}", (400, "no_text")),
        (b'{"blocks": [{"type": "nope"}]}', (400, "invalid_blocks")),
    ]:
        with requests.post(url, data=body, timeout=2) as response:
            assert expected == (response.status_code, response.text)
    with requests.post(f"{sandbox.url}/services/T0/B0/gone", json={"text": "x"}, timeout=2) as response:
        assert (response.status_code, response.text) == (404, "no_service")
    sandbox.slack.channels["C0TRAINING"].archived = True
    assert (hook.send(text="x").status_code, hook.send(text="x").body) == (410, "channel_is_archived")
