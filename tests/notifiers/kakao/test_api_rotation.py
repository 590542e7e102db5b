"""The mark on disk while a refresh token is exchanged: a kill then costs a login, and people hear so at once."""

from __future__ import annotations

import json
import os
import random
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from notifybot.clock import SYSTEM
from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.kakao.api import Tokens
from notifybot.notifiers.kakao.token_store import TokenFile, TokenSet
from notifybot.rendering.error_text import error_line
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import Request, Response
from notifybot.sandbox.kakao import KakaoService
from notifybot.sandbox.kakao_state import CLIENT_SECRET, REFRESH_TOKEN, REST_API_KEY, KakaoFault
from notifybot.testing import FakeClock
from notifybot.types import Language
from tests.support.disk_log import Entry, LoggedDisk, Noted, Written
from tests.support.kakao_messages import credentials
from tests.support.power_cuts import Platter


class Exchange(KakaoService):
    """Kakao in a login's last month: every refresh brings a new refresh token and ends the old.

    `at_request` comes before it is looked at, `at_answer` before its answer is sent.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox.clock)
        self.client_secret = CLIENT_SECRET
        self.rotates_below_s = 1e9
        self.refresh_lives_s = 20 * 86400.0
        self.at_request: Callable[[], object] = lambda: None
        self.at_answer: Callable[[], object] = lambda: None

    def handle(self, request: Request) -> Response | None:
        exchanges = request.path.endswith("/oauth/token")
        if exchanges:
            self.at_request()
        answer = super().handle(request)
        if exchanges:
            self.at_answer()
        return answer


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as opened:
        opened.kakao = Exchange(opened)
        yield opened


@pytest.fixture
def exchange(sandbox: Sandbox) -> Exchange:
    assert isinstance(sandbox.kakao, Exchange)
    return sandbox.kakao


def mark_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.rotating")


def started(sandbox: Sandbox, path: Path, **changes: Any) -> Tokens:
    """The tokens of a process that starts now."""
    return Tokens(credentials(**changes), path, auth_url=f"{sandbox.url}/kakao/auth", clock=sandbox.clock)


def cut_off(sandbox: Sandbox, exchange: Exchange, path: Path) -> None:
    """Have a process end between Kakao's answer and its own writing."""
    exchange.faults.clear()
    sandbox.faults.append(Fault("reset_after", path="/oauth/token"))
    with pytest.raises(TemporaryError):
        started(sandbox, path).access_token()


def told(tokens: Tokens) -> str:
    """What Kakao's refusal of a login is told as, to a reader of English."""
    with pytest.raises(PermanentError) as caught:
        tokens.access_token()
    assert caught.value.setup
    return error_line(caught.value, Language.EN)


# ── The mark ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_mark_is_there_while_kakao_is_asked_and_gone_with_the_new_tokens(
    sandbox: Sandbox, exchange: Exchange, path: Path, clock: FakeClock
) -> None:
    """It is for this user alone, says since when, and carries no secret."""
    seen: list[tuple[int, str]] = []
    exchange.at_answer = lambda: seen.append((mark_of(path).stat().st_mode, mark_of(path).read_text()))

    started(sandbox, path).access_token()

    [(mode, text)] = seen
    assert (stat.S_IMODE(mode), json.loads(text)["since"]) == (0o600, clock.now().isoformat())
    assert not [each for each in (REST_API_KEY, CLIENT_SECRET, REFRESH_TOKEN) if each in text]
    assert {path.name, f"{path.name}.lock"} == {each.name for each in path.parent.iterdir()}


@pytest.mark.parametrize(("left_days", "marked"), [(33, False), (31, True), (29, True)])
def test_whatever_may_bring_a_new_refresh_token_is_marked(
    sandbox: Sandbox, exchange: Exchange, path: Path, clock: FakeClock, left_days: int, marked: bool
) -> None:
    """A new one comes with less than a month left, says Kakao; a month can have 31 days."""
    exchange.refresh_lives_s = 60 * 86400.0
    started(sandbox, path).access_token()
    clock.advance((60 - left_days) * 86400)
    seen: list[bool] = []
    exchange.at_request = lambda: seen.append(mark_of(path).exists())

    started(sandbox, path).access_token()

    assert seen == [marked]


@pytest.mark.parametrize(
    ("fault", "stays"),
    [
        pytest.param(KakaoFault("KOE322"), False, id="dead login"),
        pytest.param(KakaoFault("KOE010"), False, id="secret"),
        pytest.param(KakaoFault("KOE003"), True, id="fault"),
        pytest.param(KakaoFault(status=502), True, id="empty 502"),
        pytest.param(KakaoFault(status=429), True, id="rate"),
        pytest.param(KakaoFault(status=200, body=b"<html>"), True, id="garbage"),
    ],
)
def test_an_answer_without_tokens_leaves_the_mark_where_kakao_may_have_issued_some(
    sandbox: Sandbox, exchange: Exchange, path: Path, fault: KakaoFault, stays: bool
) -> None:
    exchange.faults.append(fault)

    with pytest.raises((PermanentError, TemporaryError)):
        started(sandbox, path).access_token()

    assert (stays, False) == (mark_of(path).exists(), path.exists())


def test_a_kakao_that_cannot_be_reached_leaves_no_mark(sandbox: Sandbox, path: Path) -> None:
    with sandbox.down(), pytest.raises(TemporaryError, match="could not be reached") as caught:
        started(sandbox, path).access_token()

    assert not caught.value.ambiguous
    assert not mark_of(path).exists()


def test_an_address_that_is_malformed_leaves_no_mark(path: Path, clock: FakeClock) -> None:
    with pytest.raises(PermanentError, match="KAKAO_AUTH_URL"):
        Tokens(credentials(), path, auth_url="kakao", clock=clock).access_token()

    assert not mark_of(path).exists()


# ── What a later start makes of it ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("language", "text"),
    [
        (
            Language.EN,
            "a renewal that began at {since} was cut off before its answer was stored (the program was killed, or the "
            "connection broke), and Kakao no longer takes the old refresh token (KOE322); "
            "sign in again: notifybot kakao login",
        ),
        (
            Language.KO,
            "{since}에 시작한 갱신이 카카오의 응답을 저장하기 전에 중단되어(프로그램이 강제로 종료되었거나 연결이 "
            "끊겼습니다) 이전 리프레시 토큰을 더 쓸 수 없습니다(KOE322). "
            "다시 로그인하세요: notifybot kakao login",
        ),
    ],
)
def test_a_start_that_finds_the_mark_says_at_once_to_sign_in_again_and_why(
    sandbox: Sandbox, exchange: Exchange, path: Path, clock: FakeClock, language: Language, text: str
) -> None:
    since = f"{clock.now().astimezone():%Y-%m-%d %H:%M}"
    cut_off(sandbox, exchange, path)
    clock.advance(3600)

    with pytest.raises(PermanentError) as caught:
        started(sandbox, path).access_token()

    assert (caught.value.setup, caught.value.code) == (True, "rotation-lost")
    assert text.format(since=since) in error_line(caught.value, language)


def test_the_process_that_lost_the_answer_says_so_too_and_asks_no_more(
    sandbox: Sandbox, exchange: Exchange, path: Path
) -> None:
    mine = started(sandbox, path)
    sandbox.faults.append(Fault("reset_after", path="/oauth/token"))
    with pytest.raises(TemporaryError):
        mine.access_token()

    first, second = told(mine), told(mine)

    assert first == second
    assert "was cut off" in first
    assert len(sandbox.requests) == 2


def test_every_later_start_says_it_until_somebody_signs_in(sandbox: Sandbox, exchange: Exchange, path: Path) -> None:
    cut_off(sandbox, exchange, path)

    assert told(started(sandbox, path)) == told(started(sandbox, path))
    exchange.refresh_tokens["kakao-canary-second-login"] = exchange.grant(frozenset({"talk_message"}), 5e6)
    assert started(sandbox, path, refresh_token="kakao-canary-second-login").access_token()
    assert not mark_of(path).exists()


def test_a_fault_in_between_does_not_make_the_reason_forgotten(
    sandbox: Sandbox, exchange: Exchange, path: Path, clock: FakeClock
) -> None:
    """Kakao looks at the app before it looks at the token, and a network may be away for a while."""
    since = f"{clock.now().astimezone():%Y-%m-%d %H:%M}"
    cut_off(sandbox, exchange, path)
    clock.advance(3600)
    exchange.faults += [KakaoFault("KOE010"), KakaoFault("KOE003")]

    for error in (PermanentError, TemporaryError):
        with pytest.raises(error):
            started(sandbox, path).access_token()
    with sandbox.down(), pytest.raises(TemporaryError):
        started(sandbox, path).access_token()

    assert f"began at {since} was cut off" in told(started(sandbox, path))


def test_a_mark_without_consequence_is_cleared_silently(
    sandbox: Sandbox, exchange: Exchange, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Kakao had not come to the request, or takes the old token still."""
    exchange.old_refresh_token_survives = True
    cut_off(sandbox, exchange, path)
    assert mark_of(path).exists()
    caplog.clear()

    assert started(sandbox, path).access_token()

    assert not mark_of(path).exists()
    assert not caplog.records


def test_a_login_that_ended_by_itself_is_not_said_to_be_cut_off(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    clock.advance(61 * 86400)

    assert "the refresh token is expired or unknown" in told(started(sandbox, path))
    assert "the refresh token is expired or unknown" in told(started(sandbox, path))


def test_a_mark_of_other_tokens_means_nothing(
    sandbox: Sandbox, exchange: Exchange, path: Path, clock: FakeClock
) -> None:
    """New tokens end it in the write that brings them: a kill before it is deleted leaves it about nothing."""
    left: list[bytes] = []
    exchange.at_answer = lambda: left.append(mark_of(path).read_bytes())
    started(sandbox, path).access_token()
    exchange.at_answer = lambda: None
    mark_of(path).write_bytes(left[0])
    exchange.refresh_tokens.clear()
    clock.advance(86400)

    assert "the refresh token is expired or unknown" in told(started(sandbox, path))


@pytest.mark.parametrize("damage", [b"", b"\x00" * 64, b"[]", b"{}", b'{"of": 1}'])
def test_a_damaged_mark_stops_nothing(sandbox: Sandbox, path: Path, damage: bytes) -> None:
    path.parent.mkdir()
    mark_of(path).write_bytes(damage)

    assert started(sandbox, path).access_token()
    assert not mark_of(path).exists()


def test_signing_out_takes_the_mark_away(sandbox: Sandbox, exchange: Exchange, path: Path) -> None:
    cut_off(sandbox, exchange, path)

    TokenFile(path, sandbox.clock).remove()

    assert not mark_of(path).exists()


def test_a_choice_of_friends_keeps_the_mark(sandbox: Sandbox, exchange: Exchange, path: Path, clock: FakeClock) -> None:
    """It stores the same tokens again, which are as lost as before."""
    started(sandbox, path).access_token()
    clock.advance(86400)
    cut_off(sandbox, exchange, path)
    file = TokenFile(path, clock)
    stored = file.load()
    assert stored

    file.save(stored)

    assert "was cut off" in told(started(sandbox, path))


# ── Power cuts ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Disk(LoggedDisk):
    """Hears what Python wrote into a file, when it is synced; what is never synced is lost."""

    def _python_fsync(self, descriptor: int) -> None:
        path = self._descriptors[descriptor]
        file = self._names.get(path)
        if file is not None:
            self.log.append(Written(file, 0, path.read_bytes()))
        super()._python_fsync(descriptor)


@dataclass
class Rotation:
    """A renewal on a disk that logs: what was done in order, and the login before it."""

    root: Path
    log: list[Entry]
    before: TokenSet


@pytest.fixture
def rotation(sandbox: Sandbox, exchange: Exchange, path: Path, clock: FakeClock) -> Rotation:
    started(sandbox, path).access_token()
    before = TokenFile(path, clock).load()
    assert before
    clock.advance(86400)
    disk = Disk(path.parent.parent)
    disk.note("begins")
    exchange.at_request = lambda: disk.note("asked")
    exchange.at_answer = lambda: disk.note("answered")
    with disk.hears_python():
        started(sandbox, path).access_token()
    exchange.at_request = exchange.at_answer = lambda: None
    return Rotation(disk.root, disk.log, before)


@pytest.mark.parametrize("seed", range(5))
def test_a_power_cut_at_any_moment_leaves_a_login_that_works_or_is_known_to_be_cut_off(
    rotation: Rotation, sandbox: Sandbox, tmp_path: Path, clock: FakeClock, seed: int
) -> None:
    """As soon as Kakao is asked the mark is on the disk, and its name in the folder too."""
    platter, rng, outcomes = Platter(rotation.root), random.Random(seed), []
    begins, asked = (rotation.log.index(Noted(each)) for each in ("begins", "asked"))

    for number, entry in enumerate(rotation.log):
        platter.follow(entry)
        if number < begins:
            continue
        place = tmp_path / f"cut-{number}"
        platter.after_a_cut(place, rng)
        path = place / "state" / "kakao-token.json"
        if number < asked:
            assert TokenFile(path, clock).load() == rotation.before
        else:
            outcomes.append(_outcome(sandbox, path))

    assert set(outcomes) == {"works", "known"}
    assert outcomes[-1] == "works"


def _outcome(sandbox: Sandbox, path: Path) -> str:
    try:
        started(sandbox, path).access_token()
    except PermanentError as error:
        return "known" if error.code == "rotation-lost" else f"unexplained: {error}"
    return "works"


# ── Kills ────────────────────────────────────────────────────────────────────────────────────────────────────────────

_JOB = """
import sys
from pathlib import Path
from pydantic import SecretStr
from notifybot.errors import DeliveryError
from notifybot.notifiers.kakao.api import Credentials, Tokens
url, path, key, secret, refresh = sys.argv[1:]
credentials = Credentials(SecretStr(key), SecretStr(secret), SecretStr(refresh))
tokens = Tokens(credentials, Path(path), auth_url=url)
try:
    print(tokens.access_token(), flush=True)
except DeliveryError as error:
    print(error.code, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def harsh() -> Iterator[Sandbox]:
    """Kakao where every refresh rotates the refresh token, with the time of all processes."""
    with Sandbox(clock=SYSTEM) as opened:
        opened.kakao = Exchange(opened)
        yield opened


def job(sandbox: Sandbox, path: Path) -> subprocess.Popen[str]:
    """A training process: it gets a token, prints it, and goes on until its input ends."""
    arguments = [f"{sandbox.url}/kakao/auth", str(path), REST_API_KEY, CLIENT_SECRET, REFRESH_TOKEN]
    line = [sys.executable, "-c", _JOB, *arguments]
    return subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ))


def finished(jobs: list[subprocess.Popen[str]]) -> tuple[set[int], set[str]]:
    printed = {each.communicate(timeout=60)[0].strip() for each in jobs}
    return {each.returncode for each in jobs}, printed


def refresh_token_in(path: Path) -> str:
    return str(json.loads(path.read_text())["refresh_token"])


def test_eight_processes_that_start_together_refresh_once(harsh: Sandbox, path: Path) -> None:
    harsh.faults.append(Fault("delay", path="/oauth/token", seconds=0.5))  # so that the others find it locked

    codes, issued = finished([job(harsh, path) for _ in range(8)])

    assert (codes, issued, harsh.kakao.refreshes) == ({0}, {"kakao-canary-access-token-1"}, 1)
    assert set(harsh.kakao.refresh_tokens) == {refresh_token_in(path)}


def test_after_a_kill_between_kakaos_answer_and_our_writing_every_process_says_so_at_once(
    harsh: Sandbox, path: Path
) -> None:
    victims: list[subprocess.Popen[str]] = []
    assert isinstance(harsh.kakao, Exchange)

    def kill() -> None:
        for each in victims:
            each.kill()
            each.wait()

    harsh.kakao.at_answer = kill
    victims.append(job(harsh, path))
    finished(victims)

    codes, printed = finished([job(harsh, path) for _ in range(2)])

    assert (victims[0].returncode, codes, printed) == (-9, {0}, {"rotation-lost"})
    assert harsh.kakao.refreshes == 1


def test_a_kill_before_kakao_comes_to_the_request_costs_nothing(harsh: Sandbox, path: Path) -> None:
    harsh.faults.append(Fault("hang", path="/oauth/token"))
    victim = job(harsh, path)
    until(lambda: bool(harsh.requests))

    victim.kill()
    assert mark_of(path).exists()
    finished([victim])

    codes, issued = finished([job(harsh, path)])

    assert (codes, issued) == ({0}, {"kakao-canary-access-token-1"})
    assert not mark_of(path).exists()


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_at_any_moment_leaves_a_login_that_works_or_is_known_to_be_cut_off(
    harsh: Sandbox, path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    harsh.faults.append(Fault("delay", path="/oauth/token", seconds=0.2))
    victims = [job(harsh, path) for _ in range(2)]
    SYSTEM.wait(threading.Event(), chance.uniform(0.2, 2.0))

    for victim in victims:
        victim.kill()
    codes, printed = finished([job(harsh, path)])
    finished(victims)

    assert codes == {0}
    if printed != {"rotation-lost"}:
        assert set(harsh.kakao.refresh_tokens) == {refresh_token_in(path)}


def test_a_process_killed_once_it_has_its_token_has_lost_nothing(harsh: Sandbox, path: Path) -> None:
    """The new refresh token is on disk before the first use of the new access token."""
    victim = job(harsh, path)
    assert victim.stdout is not None
    victim.stdout.readline()

    victim.kill()
    codes, issued = finished([job(harsh, path) for _ in range(3)])
    finished([victim])

    assert (codes, issued, harsh.kakao.refreshes) == ({0}, {"kakao-canary-access-token-1"}, 1)
    assert set(harsh.kakao.refresh_tokens) == {refresh_token_in(path)}


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does, for half a minute at most."""
    end = SYSTEM.monotonic() + 30
    while not condition():
        assert SYSTEM.monotonic() < end
        SYSTEM.wait(threading.Event(), 0.01)
