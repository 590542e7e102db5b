"""The login renews itself: shared by parallel jobs, on disk before use, and honest about its end."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import Request, Response
from notifybot.sandbox.kakao import KakaoService
from notifybot.sandbox.kakao_state import CLIENT_SECRET, REFRESH_TOKEN
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Language
from tests.support.kakao_messages import envelope, memo, tokens

_MONTH_S = 31 * 86400.0


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


def test_a_login_whose_tokens_end_at_once_is_no_login(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    sandbox.kakao.access_lives_s = 0

    with pytest.raises(TemporaryError, match="already expired"):
        tokens(sandbox, path, clock).access_token()


def test_the_end_of_the_login_is_known_from_the_file(sandbox: Sandbox, path: Path, clock: FakeClock) -> None:
    clock.advance(_MONTH_S)
    assert tokens(sandbox, path, clock).refresh_expires_at is None
    tokens(sandbox, path, clock).access_token()

    assert tokens(sandbox, path, clock).refresh_expires_at == clock.now() + timedelta(seconds=5183999)


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
