"""The pretended Kakao behaves as Kakao documents itself, seen with plain requests and none of our client."""

from __future__ import annotations

from notifybot.sandbox.kakao_state import KakaoFault
from tests.support.kakao_caller import (
    Caller,
    login_outcome,
    outcome,
)


def test_ordered_faults_come_and_go(kakao: Caller) -> None:
    token = kakao.access()
    kakao.world.faults += [
        KakaoFault(-1),
        KakaoFault(-9798),
        KakaoFault(status=502, path="/memo/"),
        KakaoFault(status=200, body=b"<html>", path="/memo/"),
        KakaoFault("KOE003"),
    ]

    assert outcome(kakao.memo(token=token)) == (400, -1)
    assert outcome(kakao.memo(token=token)) == (503, -9798)
    assert ((empty := kakao.memo(token=token)).status_code, empty.content) == (502, b"")
    assert ((garbage := kakao.memo(token=token)).status_code, garbage.content) == (200, b"<html>")
    assert login_outcome(kakao.refresh()) == (500, "KOE003")
    assert (len(kakao.world.messages), kakao.memo(token=token).status_code) == (0, 200)


def test_an_internal_timeout_comes_after_the_message_was_delivered(kakao: Caller) -> None:
    kakao.world.faults.append(KakaoFault(-603))

    assert outcome(kakao.memo()) == (400, -603)
    assert len(kakao.world.messages) == 1


def test_a_path_that_kakao_does_not_have_is_not_found(kakao: Caller) -> None:
    assert kakao.get("/v1/nothing", "t").status_code == 404
