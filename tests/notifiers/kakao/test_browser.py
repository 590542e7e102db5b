"""The listener takes one answer, on loopback alone, and gives nothing away."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from notifybot.clock import SYSTEM
from notifybot.notifiers.kakao.browser import Listener, can_listen
from notifybot.types import Language

STATE = "state-canary"
ANSWER = f"/callback?code=code-canary&state={STATE}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener("http://localhost:0/callback", STATE, Language.KO, SYSTEM) as opened:
        yield opened


def get(listener: Listener, target: str, **headers: str) -> requests.Response:
    return requests.get(f"http://127.0.0.1:{listener.port}{target}", headers=headers, timeout=5)


def test_the_first_answer_is_taken_and_the_page_says_to_go_back(listener: Listener) -> None:
    page = get(listener, ANSWER)

    assert (page.status_code, listener.wait(5)) == (200, ANSWER)
    page.encoding = "utf-8"
    assert page.text.index("notifybot을 실행한 화면으로 돌아가") < page.text.index("go back to where you ran notifybot")
    assert "canary" not in page.text
    assert (page.headers["Referrer-Policy"], page.headers["Cache-Control"]) == ("no-referrer", "no-store")


def test_a_second_answer_changes_nothing(listener: Listener) -> None:
    get(listener, ANSWER)

    assert get(listener, f"/callback?code=other&state={STATE}").status_code == 400
    assert listener.wait(5) == ANSWER


@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        pytest.param("/callback?code=a&state=other", {}, 400, id="another state"),
        pytest.param("/callback?code=a", {}, 400, id="no state"),
        pytest.param(f"/callback?code=a&state={STATE}&state=b", {}, 400, id="two states"),
        pytest.param(f"/other?code=a&state={STATE}", {}, 404, id="another path"),
        pytest.param("/favicon.ico", {}, 404, id="icon"),
        pytest.param(ANSWER, {"Host": "evil.example:8765"}, 403, id="another name for this machine"),
    ],
)
def test_what_is_not_the_answer_is_refused_and_the_answer_still_taken(
    listener: Listener, target: str, headers: dict[str, str], status: int
) -> None:
    assert get(listener, target, **headers).status_code == status
    assert listener.answer is None
    assert get(listener, ANSWER).status_code == 200


def test_a_person_who_denies_is_an_answer_too(listener: Listener) -> None:
    target = f"/callback?error=access_denied&state={STATE}"

    assert (get(listener, target).status_code, listener.answer) == (200, target)


def test_a_connection_that_says_nothing_keeps_nobody_waiting(listener: Listener) -> None:
    """Browsers open connections ahead of need."""
    with socket.create_connection(("127.0.0.1", listener.port)):
        assert get(listener, ANSWER).status_code == 200


def test_only_this_machine_can_reach_it(listener: Listener) -> None:
    """The kernel's own table of listening sockets shows the loopback address and no other."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1].split(":")[0] for row in rows if row[3] == "0A" and row[1].endswith(f":{listener.port:04X}")]

    assert listening == ["0100007F"]


def test_it_is_gone_afterwards() -> None:
    with Listener("http://localhost:0/callback", STATE, Language.EN) as listener:
        port = listener.port

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_nothing_of_the_answer_is_logged(listener: Listener, capfd: pytest.CaptureFixture[str]) -> None:
    get(listener, ANSWER)
    get(listener, "/favicon.ico?code=code-canary")

    assert "canary" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("uri", "can"),
    [
        ("http://localhost:8765/callback", True),
        ("http://127.0.0.1:8765/", True),
        ("https://localhost", False),
        ("http://example.com:8765/callback", False),
    ],
)
def test_it_listens_where_plain_http_leads_to_this_machine(uri: str, can: bool) -> None:
    assert can_listen(uri) is can
