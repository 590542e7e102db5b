"""The login renews itself: shared by parallel jobs, on disk before use, and honest about its end."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.kakao.api import Tokens
from notifybot.notifiers.kakao.token_store import TokenFile
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import Request, Response
from notifybot.sandbox.kakao import KakaoService
from notifybot.sandbox.kakao_state import CLIENT_SECRET, REFRESH_TOKEN, KakaoFault
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Language
from tests.support.kakao_messages import credentials, envelope, memo

_MONTH_S = 31 * 86400.0


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as opened:
        opened.kakao.client_secret = CLIENT_SECRET
        yield opened


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "kakao-token.json"


def tokens(sandbox: Sandbox, path: Path, clock: FakeClock, **changes: Any) -> Tokens:
    return Tokens(credentials(**changes), path, auth_url=f"{sandbox.url}/kakao/auth/", clock=clock)


def stored(path: Path) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(path.read_text())
    return fields


def test_one_refresh_serves_until_five_minutes_before_the_end(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    mine = tokens(sandbox, path, clock)

    first = mine.access_token()
    clock.advance(21599 - 301)
    again = mine.access_token()
    clock.advance(2)
    next_one = mine.access_token()

    assert first == again != next_one
    assert sandbox.kakao.refreshes == 2


def test_the_file_is_private_and_dated_in_utc(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    access = tokens(sandbox, path, clock).access_token()

    assert (stat.S_IMODE(path.stat().st_mode), stat.S_IMODE(path.parent.stat().st_mode)) == (0o600, 0o700)
    assert stored(path) | {"client": "", "seed": ""} == {
        "version": 1,
        "client": "",
        "seed": "",
        "refresh_token": REFRESH_TOKEN,
        "refresh_expires_at": None,
        "access_token": access,
        "access_expires_at": "2026-11-23T08:59:59+00:00",
        "account": None,
    }
    assert {path.name, f"{path.name}.lock"} == {each.name for each in path.parent.iterdir()}


def test_another_job_uses_the_token_that_is_there(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    assert tokens(sandbox, path, clock).access_token() == tokens(sandbox, path, clock).access_token()
    assert sandbox.kakao.refreshes == 1


def test_a_token_that_was_turned_down_is_replaced_once_for_all_jobs(
    sandbox: Sandbox, path: Path, clock: FakeClock
) -> None:
    first, second = tokens(sandbox, path, clock), tokens(sandbox, path, clock)
    refused = first.access_token()
    second.access_token()

    assert first.renewed(refused) == second.renewed(refused) != refused
    assert sandbox.kakao.refreshes == 2


def test_a_rotated_refresh_token_is_what_the_next_job_starts_from(
    sandbox: Sandbox, path: Path, clock: FakeClock
) -> None:
    sandbox.kakao.old_refresh_token_survives = False
    clock.advance(_MONTH_S)
    mine = tokens(sandbox, path, clock)
    mine.access_token()
    clock.advance(86400)

    assert tokens(sandbox, path, clock).access_token()
    assert stored(path)["refresh_token"] != REFRESH_TOKEN
    assert mine.refresh_expires_at == clock.now() - timedelta(days=1) + timedelta(seconds=5183999)


class Witness(KakaoService):
    """Looks at the token file at the very moment a message comes in."""

    def __init__(self, clock: FakeClock, path: Path) -> None:
        super().__init__(clock)
        self.path = path
        self.seen: list[str] = []

    def handle(self, request: Request) -> Response | None:
        if "/memo/" in request.path:
            self.seen.append(stored(self.path)["refresh_token"])
        return super().handle(request)


def test_the_rotated_refresh_token_is_on_disk_before_the_new_access_token_is_used(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock
) -> None:
    witness = sandbox.kakao = Witness(clock, tmp_path / "kakao-token.json")
    clock.advance(_MONTH_S)

    memo(sandbox, tmp_path, clock).send(envelope())

    [on_disk] = witness.seen
    assert on_disk in witness.refresh_tokens
    assert on_disk != REFRESH_TOKEN


def test_a_process_that_dies_in_the_send_has_lost_no_login(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    sandbox.kakao.old_refresh_token_survives = False
    clock.advance(_MONTH_S)
    sandbox.faults.append(Fault("reset_before", path="/memo/"))

    with pytest.raises(TemporaryError):
        memo(sandbox, tmp_path, clock).send(envelope())
    clock.advance(86400)
    memo(sandbox, tmp_path, clock).send(envelope())

    assert len(sandbox.kakao.messages) == 1


def test_a_newly_configured_refresh_token_wins_over_the_file(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    tokens(sandbox, path, clock).access_token()
    sandbox.kakao.refresh_tokens["kakao-canary-second-login"] = sandbox.kakao.grant(frozenset({"talk_message"}), 5e6)

    tokens(sandbox, path, clock, refresh_token="kakao-canary-second-login").access_token()

    assert stored(path)["refresh_token"] == "kakao-canary-second-login"


def test_a_token_file_alone_is_enough(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    access = tokens(sandbox, path, clock).access_token()

    assert access == tokens(sandbox, path, clock, refresh_token=None).access_token()


def test_another_apps_token_file_is_not_used(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    tokens(sandbox, path, clock).access_token()
    path.write_text(json.dumps(stored(path) | {"client": "00000000"}))

    with pytest.raises(PermanentError, match="holds no token for this kakao_rest_api_key") as caught:
        tokens(sandbox, path, clock, refresh_token=None).access_token()
    assert caught.value.setup


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x00" * 4096, id="a hole of zeros"),
        pytest.param(b'{"version": 1, "cli', id="half"),
        pytest.param(b"[]", id="another shape"),
        pytest.param(b'{"client": 1, "seed": "", "refresh_token": "a\\nb", "access_token": null}', id="no token"),
    ],
)
def test_a_damaged_file_is_set_aside(
    sandbox: Sandbox, path: Path, clock: FakeClock, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(damage)

    assert tokens(sandbox, path, clock).access_token()

    assert damage == path.with_name("kakao-token.json.damaged-20261123T030000").read_bytes()
    assert "was damaged; it is set aside" in caplog.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("kakao_code.json", b'{"access_token": "a", "refresh_token": "b"}', id="a token answer"),
        pytest.param("kakao-token.json", b'{"access_token": "a", "refresh_token": "b"}', id="one under our name"),
        pytest.param("notifybot.toml", b'lang = "ko"\n', id="settings"),
        pytest.param("tokens.json", b"[1, 2]", id="a list"),
    ],
)
def test_a_file_of_another_program_is_neither_renamed_nor_written(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, name: str, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    path.write_bytes(text)

    assert tokens(sandbox, path, clock).access_token()

    assert path.read_bytes() == text
    assert not list(tmp_path.glob("*.damaged-*"))
    tokens(sandbox, path, clock).access_token()
    assert caplog.text.count("is left as it is") == 1


def test_a_file_that_cannot_be_written_stops_no_message(
    sandbox: Sandbox, path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.write_text("a file where the folder should be")
    sandbox.kakao.old_refresh_token_survives = False
    clock.advance(_MONTH_S)
    mine = tokens(sandbox, path, clock)

    first = mine.access_token()
    clock.advance(86400)

    assert mine.access_token() != first
    assert "lives in memory alone" in caplog.text


def test_a_dead_refresh_token_is_asked_about_only_once(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    clock.advance(61 * 86400)
    mine = tokens(sandbox, path, clock)

    for _ in range(3):
        with pytest.raises(PermanentError, match="sign in again: notifybot kakao login") as caught:
            mine.access_token()
        assert caught.value.setup

    assert len(sandbox.requests) == 1


def test_a_login_that_was_put_right_is_asked_again(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    mine = tokens(sandbox, path, clock)
    sandbox.kakao.client_secret = "kakao-canary-other-secret"
    with pytest.raises(PermanentError, match="클라이언트 시크릿"):
        mine.access_token()

    sandbox.kakao.client_secret = CLIENT_SECRET
    assert mine.access_token()


def test_a_dead_token_gives_way_to_one_that_another_job_stored(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    mine = tokens(sandbox, path, clock, refresh_token=None)
    tokens(sandbox, path, clock).access_token()
    clock.advance(61 * 86400)
    with pytest.raises(PermanentError):
        mine.access_token()
    sandbox.kakao.refresh_tokens["kakao-canary-second-login"] = sandbox.kakao.grant(frozenset({"talk_message"}), 5e6)
    tokens(sandbox, path, clock, refresh_token="kakao-canary-second-login").access_token()

    assert mine.access_token()


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        ("KOE004", r"\[카카오 로그인\] → 사용 설정"),
        ("KOE006", "카카오 로그인 리다이렉트 URI"),
        ("KOE010", "kakao_client_secret"),
        ("KOE101", "kakao_rest_api_key"),
        ("KOE205", "동의항목"),
        ("KOE999", "sign in again"),
    ],
)
def test_a_refused_login_says_what_to_set_up(
    sandbox: Sandbox, path: Path, clock: FakeClock, code: str, remedy: str
) -> None:
    sandbox.kakao.faults.append(KakaoFault(code))

    with pytest.raises(PermanentError, match=remedy) as caught:
        tokens(sandbox, path, clock).access_token()
    assert caught.value.setup


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(KakaoFault("KOE003"), id="fault at Kakao"),
        pytest.param(KakaoFault("KOE237"), id="rate"),
        pytest.param(KakaoFault(status=502), id="empty 502"),
        pytest.param(KakaoFault(status=429), id="429"),
        pytest.param(KakaoFault(status=200, body=b"<html>"), id="garbage"),
        pytest.param(KakaoFault(status=200, body=b'{"access_token": 5}'), id="no token"),
    ],
)
def test_a_login_that_fails_for_now_is_tried_again_later(
    sandbox: Sandbox, path: Path, clock: FakeClock, fault: KakaoFault
) -> None:
    sandbox.kakao.faults.append(fault)
    mine = tokens(sandbox, path, clock)

    with pytest.raises(TemporaryError) as caught:
        mine.access_token()

    assert not caught.value.ambiguous
    assert mine.access_token()


def test_a_login_that_cannot_be_reached_leaves_no_doubt_about_the_message(
    sandbox: Sandbox, path: Path, clock: FakeClock
) -> None:
    sandbox.faults.append(Fault("reset_after", path="/oauth/token"))

    with pytest.raises(TemporaryError) as caught:
        tokens(sandbox, path, clock).access_token()
    assert not caught.value.ambiguous


def test_a_login_whose_tokens_end_at_once_is_no_login(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    sandbox.kakao.access_lives_s = 0

    with pytest.raises(TemporaryError, match="already expired"):
        tokens(sandbox, path, clock).access_token()


def test_the_end_of_the_login_is_known_from_the_file(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    clock.advance(_MONTH_S)
    assert tokens(sandbox, path, clock).refresh_expires_at is None
    tokens(sandbox, path, clock).access_token()

    assert tokens(sandbox, path, clock).refresh_expires_at == clock.now() + timedelta(seconds=5183999)


@pytest.mark.parametrize("stamp", ["2026-11-23T03:00:00", "soon"])
def test_a_moment_without_a_zone_is_damage(sandbox: Sandbox, path: Path, clock: FakeClock, stamp: str) -> None:
    tokens(sandbox, path, clock).access_token()
    path.write_text(json.dumps(stored(path) | {"access_expires_at": stamp}))

    tokens(sandbox, path, clock).access_token()

    assert sandbox.kakao.refreshes == 2


def test_a_lock_that_is_never_given_back_is_not_waited_for_without_end(path: Path, clock: FakeClock) -> None:
    first, second = TokenFile(path, clock), TokenFile(path, clock)

    with first.locked(), pytest.raises(TemporaryError, match="for too long"), second.locked():
        pass
    with second.locked():
        pass


@pytest.mark.parametrize(
    ("language", "warning"),
    [
        (Language.EN, "The Kakao login ends on 2026-12-24. Sign in again before then: notifybot kakao login"),
        (Language.KO, "카카오 로그인이 2026-12-24에 만료됩니다. 그 전에 다시 로그인하세요: notifybot kakao login"),
    ],
)
def test_the_person_is_warned_once_a_day_in_the_last_fortnight(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, language: Language, warning: str
) -> None:
    sandbox.kakao.refresh_lives_s = 31 * 86400  # what a login of Kakao's gives is 60 days
    sandbox.kakao.rotates_below_s = 30 * 86400
    sandbox.kakao.refresh_tokens[REFRESH_TOKEN] = sandbox.kakao.grant(frozenset({"talk_message"}), 86400)
    memory = DictMemory()
    notifier = memo(sandbox, tmp_path, clock, language=language)
    notifier.send(envelope(memory))  # swaps the configured token
    sandbox.kakao.rotates_below_s = 0
    clock.advance(16 * 86400)

    assert notifier.expiring_warning(clock.now()) is None
    clock.advance(86400)
    assert warning == notifier.expiring_warning(clock.now())
    for hours in (1, 1, 24):
        clock.advance(hours * 3600)
        notifier.send(envelope(memory))

    warned = [warning in each.text for each in sandbox.kakao.messages]
    assert warned == [False, True, False, True]


def test_a_configured_token_in_its_last_month_is_told(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> None:
    clock.advance(_MONTH_S)
    memory = DictMemory()
    notifier = memo(sandbox, tmp_path, clock)

    notifier.send(envelope(memory))
    notifier.send(envelope(memory))

    told = ["The Kakao refresh token in the settings is used up now" in each.text for each in sandbox.kakao.messages]
    assert told == [True, False]
