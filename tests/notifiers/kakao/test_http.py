"""What an answer of Kakao's means: to be set up, to be tried again, or in doubt."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.kakao_state import KakaoFault
from notifybot.testing import FakeClock
from tests.support.kakao_messages import tokens


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
