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
from notifybot.testing import FakeClock


def post(sandbox: Sandbox, **payload: object) -> tuple[int, str]:
    url = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
    with requests.post(url, json=payload or {"text": "hello"}, timeout=2) as response:
        return response.status_code, response.text


def test_it_listens_on_loopback_alone_and_keeps_what_came_in(sandbox: Sandbox) -> None:
    """Requests are kept with lower-case header names, path and query apart."""
    assert post(sandbox) == (200, "ok")

    (request,) = sandbox.requests
    assert isinstance(request, Request)
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/json"
    assert urlsplit(sandbox.url).hostname == "127.0.0.1"


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


def test_the_environment_points_a_process_here_with_canaries(sandbox: Sandbox) -> None:
    """Every address is loopback, every secret says that it is none."""
    environment = sandbox.environment()

    assert all(name.startswith("NOTIFYBOT_") for name in environment)
    for name, value in environment.items():
        if name.endswith("_URL"):
            assert value.startswith(sandbox.url)
        elif not name.endswith("CHANNEL"):
            assert "canary" in value
