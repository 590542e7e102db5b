"""A login renewed by a child: the same answers and errors as without, and training goes on where none can start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.clock import SYSTEM
from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.kakao.http import Reply
from notifybot.notifiers.kakao.renewal import Order, apart
from notifybot.notifiers.kakao.tokens import Tokens
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.kakao import CLIENT_SECRET, REFRESH_TOKEN, REST_API_KEY, KakaoFault
from notifybot.sandbox.wire import Request, Response
from tests.kakao_messages import credentials


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(clock=SYSTEM) as opened:
        opened.kakao.client_secret = CLIENT_SECRET
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kakao-token.json"


@pytest.fixture
def orders() -> list[Order]:
    return []


@pytest.fixture
def tokens(sandbox: Sandbox, path: Path, orders: list[Order]) -> Tokens:
    def noted(order: Order) -> Reply:
        orders.append(order)
        return apart(order)

    return Tokens(credentials(), path, auth_url=f"{sandbox.url}/kakao/auth", renew_apart=noted)


def test_the_child_brings_the_token_and_stores_it(tokens: Tokens, sandbox: Sandbox, path: Path) -> None:
    token = tokens.access_token()

    assert json.loads(path.read_text())["access_token"] == token
    assert sandbox.kakao.refreshes == 1


def test_a_login_far_from_its_end_is_renewed_without_a_child(
    tokens: Tokens, sandbox: Sandbox, orders: list[Order]
) -> None:
    """Facts: a new refresh token comes only with less than a month left of the old one."""
    sandbox.kakao.rotates_below_s = 1e9
    first = tokens.access_token()

    second = tokens.renewed(first)

    assert (first != second, sandbox.kakao.refreshes, len(orders)) == (True, 2, 1)


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        pytest.param(KakaoFault("KOE322"), PermanentError, "notifybot kakao login", id="dead login"),
        pytest.param(KakaoFault("KOE010"), PermanentError, "클라이언트 시크릿", id="secret"),
        pytest.param(KakaoFault("KOE003"), TemporaryError, "KOE003", id="fault"),
        pytest.param(KakaoFault(status=200, body=b"<html>"), TemporaryError, "something unknown", id="garbage"),
        pytest.param(KakaoFault(status=429), TemporaryError, "429", id="rate"),
    ],
)
def test_what_kakao_refuses_the_child_is_told_as_ever(
    tokens: Tokens, sandbox: Sandbox, path: Path, fault: KakaoFault, error: type[Exception], text: str
) -> None:
    sandbox.kakao.faults.append(fault)

    with pytest.raises(error, match=text):
        tokens.access_token()
    assert not path.exists()


def test_a_network_that_fails_the_child_is_told_as_ever(tokens: Tokens, sandbox: Sandbox) -> None:
    with sandbox.down(), pytest.raises(TemporaryError, match="could not be reached") as caught:
        tokens.access_token()
    assert not caught.value.ambiguous


def test_a_connection_that_breaks_is_tried_again_later(tokens: Tokens, sandbox: Sandbox) -> None:
    sandbox.faults.append(Fault("reset_after", path="/oauth/token"))

    with pytest.raises(TemporaryError):
        tokens.access_token()
    assert tokens.access_token()


@pytest.mark.parametrize("executable", ["", "/nowhere/python", "/bin/false"])
def test_where_no_child_can_be_started_the_login_is_renewed_here(
    tokens: Tokens, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, executable: str
) -> None:
    monkeypatch.setattr(sys, "executable", executable)

    assert tokens.access_token()
    assert sandbox.kakao.refreshes == 1


def test_no_secret_is_in_the_childs_command_line_or_environment(tokens: Tokens, sandbox: Sandbox) -> None:
    """Everybody on the machine can read a command line; it is read here while the child waits for Kakao."""
    seen: list[str] = []
    answer = sandbox.kakao.handle

    def spying(request: Request) -> Response | None:
        for each in Path("/proc").glob("[0-9]*"):
            try:
                parent = each.joinpath("stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == os.getpid():
                    seen.append(each.joinpath("cmdline").read_text() + each.joinpath("environ").read_text())
            except OSError:
                continue
        return answer(request)

    sandbox.kakao.handle = spying  # type: ignore[method-assign]
    tokens.access_token()

    assert any("renewal" in each for each in seen)
    assert not [each for each in (REST_API_KEY, CLIENT_SECRET, REFRESH_TOKEN) if each in "".join(seen)]


def test_an_order_that_never_comes_ends_the_child_quietly() -> None:
    code = "from notifybot.notifiers.kakao.renewal import main; raise SystemExit(main())"

    done = subprocess.run([sys.executable, "-c", code], input=b"", capture_output=True, timeout=60)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\n", b"")
