"""The sandbox's server: faults on the socket, pages for people, and an end that leaves nothing behind."""

from __future__ import annotations

import http.client
import socket
import threading
from contextlib import closing
from urllib.parse import urlsplit

import pytest
import requests

from notifybot.sandbox import Fault, Request, Sandbox
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


def test_it_listens_on_loopback_alone_and_keeps_what_came_in(sandbox: Sandbox) -> None:
    """Requests are kept with lower-case header names, path and query apart."""
    assert post(sandbox) == (200, "ok")

    (request,) = sandbox.requests
    assert isinstance(request, Request)
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert urlsplit(sandbox.url).hostname == "127.0.0.1"


def test_a_status_fault_answers_with_what_was_ordered_and_processes_nothing(sandbox: Sandbox) -> None:
    """Body and headers are the caller's; the next request is served again."""
    sandbox.faults.append(Fault("status", status=503, body=b"busy", headers={"Retry-After": "3"}))

    assert post(sandbox) == (503, "busy")
    assert sandbox.slack.messages == []
    assert post(sandbox) == (200, "ok")


def test_a_fault_waits_for_its_path_and_counts_down(sandbox: Sandbox) -> None:
    """`path` is a substring, `times` how often."""
    sandbox.faults.append(Fault("status", path="/kakao/", status=500))
    sandbox.faults.append(Fault("status", path="/services/", status=502, times=2))

    assert [post(sandbox)[0] for _ in range(3)] == [502, 502, 200]
    assert len(sandbox.faults) == 1


@pytest.mark.parametrize("kind", ["reset_before", "reset_after", "refuse"])
def test_a_reset_is_a_real_reset(sandbox: Sandbox, kind: str) -> None:
    """The client sees the connection torn down, not closed politely.

    By the standard library's client: urllib3 forgets a reset that comes before the request is out.
    """
    sandbox.faults.append(Fault(kind))  # type: ignore[arg-type]
    address = urlsplit(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"])

    def ask() -> None:
        with closing(http.client.HTTPConnection(address.netloc, timeout=2)) as client:
            client.request("POST", address.path, b'{"text": "hello"}', {"Content-Type": "application/json"})
            client.getresponse()

    with pytest.raises(ConnectionResetError) as torn:
        ask()

    assert not isinstance(torn.value, http.client.RemoteDisconnected)

    assert len(sandbox.slack.messages) == (1 if kind == "reset_after" else 0)


def test_a_hang_ends_with_the_sandbox(clock: FakeClock) -> None:
    """No answer comes; closing does not wait for the one who hangs."""
    with Sandbox(clock=clock) as sandbox:
        sandbox.faults.append(Fault("hang"))
        with pytest.raises(requests.Timeout):
            requests.post(f"{sandbox.url}/services/x", data=b"{}", timeout=0.2)

    assert not [each for each in threading.enumerate() if each.name.startswith("notifybot-sandbox")]


def test_a_delay_answers_in_the_end(sandbox: Sandbox) -> None:
    """Late, but whole."""
    sandbox.faults.append(Fault("delay", seconds=0.05))

    assert post(sandbox) == (200, "ok")


def test_garbage_is_a_page_with_status_200(sandbox: Sandbox) -> None:
    """What a captive portal says."""
    sandbox.faults.append(Fault("garbage"))

    status, text = post(sandbox)

    assert status == 200
    assert text.startswith("<!DOCTYPE html>")


def test_while_down_connections_are_refused_and_the_port_stays_its_own(sandbox: Sandbox) -> None:
    """`down` closes the port; afterwards the same address answers."""
    url = sandbox.url

    with sandbox.down(), pytest.raises(requests.ConnectionError, match="refused"):
        post(sandbox)

    assert url == sandbox.url
    assert post(sandbox) == (200, "ok")


def test_an_idle_connection_does_not_hold_up_the_end(clock: FakeClock) -> None:
    """A browser keeps a connection open; closing takes it down, and twice is fine."""
    sandbox = Sandbox(clock=clock)
    sandbox.open()
    with socket.create_connection(("127.0.0.1", urlsplit(sandbox.url).port or 0)):
        connection = http.client.HTTPConnection("127.0.0.1", urlsplit(sandbox.url).port or 0)
        connection.request("GET", "/slack")
        assert connection.getresponse().read()

        sandbox.close()
        sandbox.close()

        connection.close()


def test_unknown_paths_are_not_found(sandbox: Sandbox) -> None:
    """Neither Slack nor KakaoTalk nor a page."""
    with requests.get(f"{sandbox.url}/nothing", timeout=2) as response:
        assert response.status_code == 404
    with requests.post(f"{sandbox.url}/phone", timeout=2) as response:
        assert response.status_code == 405


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


def test_the_environment_points_a_process_here_with_canaries(sandbox: Sandbox) -> None:
    """Every address is loopback, every secret says that it is none."""
    environment = sandbox.environment()

    assert all(name.startswith("NOTIFYBOT_") for name in environment)
    for name, value in environment.items():
        if name.endswith("_URL"):
            assert value.startswith(sandbox.url)
        elif not name.endswith("CHANNEL"):
            assert "canary" in value
