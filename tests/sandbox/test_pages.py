"""The sandbox's pages: both languages, and nothing of a message becomes markup."""

from __future__ import annotations

import pytest
import requests

from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, SlackMessage, SlackRevision
from notifybot.testing import FakeClock

XSS = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def post(sandbox: Sandbox, **payload: object) -> tuple[int, str]:
    url = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
    with requests.post(url, json=payload or {"text": "hello"}, timeout=2) as response:
        return response.status_code, response.text


def page(sandbox: Sandbox, path: str) -> str:
    with requests.get(sandbox.url + path, timeout=5) as response:
        assert response.status_code == 200
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        return response.text


@pytest.mark.parametrize(
    ("language", "words"),
    [("en", ["No message yet", "Nothing here left"]), ("ko", ["아직 메시지가 없습니다", "이 장비 밖으로"])],
)
@pytest.mark.parametrize("path", ["/", "/slack"])
def test_an_empty_page_says_so_in_the_readers_language(
    sandbox: Sandbox, path: str, language: str, words: list[str]
) -> None:
    """Both languages on both addresses."""
    html = page(sandbox, f"{path}?lang={language}")

    assert f'<html lang="{language}">' in html
    assert all(word in html for word in words)


def test_the_pages_own_language_is_the_sandboxes(clock: FakeClock) -> None:
    """Without a wish in the address the page speaks what the sandbox was started with."""
    with Sandbox(clock=clock, language="ko") as sandbox:
        assert "아직 카카오톡 메시지가 없습니다" in page(sandbox, "/phone")
        assert "No KakaoTalk message yet" in page(sandbox, "/phone?lang=en")
        assert '<html lang="en">' in page(sandbox, "/phone?lang=xx")


@pytest.mark.parametrize("path", ["/slack", "/phone"])
def test_hostile_text_stays_text_on_every_page(sandbox: Sandbox, path: str) -> None:
    """Whatever field it stands in, nothing of a message becomes markup of the page."""
    text = {"type": "plain_text", "text": XSS}
    payload = {
        "text": f'{XSS} *{XSS}* `{XSS}` <javascript:alert(1)|x> <https://x/"onclick="y|{XSS}>',
        "attachments": [{"color": f'"/>{XSS}', "blocks": [{"type": "section", "text": text, "fields": [text]}]}],
    }
    sandbox.slack.messages.append(
        SlackMessage("C0TRAINING", "1.000000", "bot", [SlackRevision(FakeClock().now(), str(payload["text"]))])
    )
    post(sandbox, **payload)
    post(sandbox, text="x", blocks=[{"type": "header", "text": text}, {"type": "context", "elements": [text]}])

    html = page(sandbox, f"{path}?thread={XSS}&lang={XSS}") + page(sandbox, f"{path}?thread=1.000000")

    assert "<script" not in html
    assert "<img" not in html
    assert "javascript:" not in html.replace("&lt;javascript:", "")
    assert 'onclick="' not in html


def test_a_channel_shows_roots_broadcasts_and_the_number_of_replies(sandbox: Sandbox) -> None:
    """Replies that were not broadcast are in the thread's panel alone."""
    from slack_sdk import WebClient

    client = WebClient(BOT_TOKEN, base_url=f"{sandbox.url}/api/", retry_handlers=[])
    root = client.chat_postMessage(channel=CHANNEL, text="the *root*")
    client.chat_postMessage(channel=CHANNEL, text="quiet reply", thread_ts=root["ts"])
    client.chat_postMessage(channel=CHANNEL, text="loud reply", thread_ts=root["ts"], reply_broadcast=True)
    client.chat_update(channel=root["channel"], ts=root["ts"], text="the root, later")

    channel, thread = page(sandbox, "/slack"), page(sandbox, f"/slack?thread={root['ts']}")

    assert "the root, later" in channel
    assert "edited 1×" in channel
    assert "2 replies" in channel
    assert "loud reply" in channel
    assert "quiet reply" not in channel
    assert "quiet reply" in thread
    assert "loud reply" in page(sandbox, "/phone")
