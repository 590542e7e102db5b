"""The notifier's contract, kept by KakaoTalk: success, every refusal, and every way a network can fail."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.kakao import KakaoTalk
from notifybot.sandbox import Fault, Sandbox
from notifybot.sandbox.http import FaultKind
from notifybot.sandbox.kakao_state import CLIENT_SECRET, KakaoFault
from notifybot.testing import FakeClock
from tests.support.kakao_messages import MEMO_PATH, envelope, memo


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as opened:
        opened.kakao.client_secret = CLIENT_SECRET
        yield opened


@pytest.fixture
def notifier(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> Iterator[KakaoTalk]:
    opened = memo(sandbox, tmp_path, clock)
    yield opened
    opened.close()
    opened.close()


def sends(sandbox: Sandbox) -> int:
    return sum(MEMO_PATH in request.path for request in sandbox.requests)


def test_it_is_a_notifier_with_kakaos_pace(notifier: KakaoTalk) -> None:
    as_notifier: Notifier = notifier

    assert "kakao" == as_notifier.name == as_notifier.key.split(":")[0]
    assert (
        as_notifier.pace.gap_s,
        as_notifier.pace.progress_gap_s,
        as_notifier.pace.daily_budget,
        as_notifier.pace.reserved,
        as_notifier.pace.wants_checkpoints,
    ) == (1.0, 900.0, 20, 8, False)


def test_a_message_arrives_as_a_table_with_its_mark(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    notifier.send(envelope())

    [message] = sandbox.kakao.messages
    assert message.template["object_type"] == "feed"
    assert "val: accuracy 91.32% +0.41%" in message.text
    assert "#cafe1234" in message.text


def test_a_feed_that_is_refused_goes_once_more_as_text(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    sandbox.kakao.faults.append(KakaoFault(-2))

    notifier.send(envelope())

    assert [each.template["object_type"] for each in sandbox.kakao.messages] == ["text"]


def test_a_text_that_is_refused_too_is_given_up(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    sandbox.kakao.faults.append(KakaoFault(-2, times=9))

    with pytest.raises(PermanentError, match=r"template or a parameter was refused.*\(-2\)") as caught:
        notifier.send(envelope())

    assert (caught.value.setup, sends(sandbox)) == (False, 2)


@pytest.mark.parametrize("code", [-1, -7, -603, -9798])
def test_a_fault_at_kakao_is_tried_again_later(notifier: KakaoTalk, sandbox: Sandbox, code: int) -> None:
    sandbox.kakao.faults.append(KakaoFault(code, path=MEMO_PATH))

    with pytest.raises(TemporaryError, match=rf"\({code}\)") as caught:
        notifier.send(envelope())
    assert (code == -603) == caught.value.ambiguous
    notifier.send(envelope())


@pytest.mark.parametrize(
    ("limit", "code"), [("app_limit", -10), ("sender_limit", -532), ("receiver_limit", -533), ("pair_limit", -536)]
)
def test_a_used_up_quota_waits_for_midnight_in_korea(
    notifier: KakaoTalk, sandbox: Sandbox, clock: FakeClock, limit: str, code: int
) -> None:
    setattr(sandbox.kakao, limit, 1)
    notifier.send(envelope())
    clock.advance(3600)

    with pytest.raises(TemporaryError, match=rf"\({code}\)") as caught:
        notifier.send(envelope())

    assert caught.value.retry_after_s == 11 * 3600  # it is 13:00 in Korea
    assert not caught.value.ambiguous


@pytest.mark.parametrize(
    ("code", "setup", "remedy"),
    [
        (-3, True, "동의항목"),
        (-4, True, "Kakao's support"),
        (-5, True, "permissions"),
        (-6, False, "not allowed"),
        (-8, False, "header"),
        (-9, False, "update notifybot"),
        (-11, True, "billing"),
        (-12, True, "blocked"),
        (-101, True, "sign in again"),
        (-103, True, "dormant"),
        (-402, True, "카카오톡 메시지 전송"),
        (-405, True, "age"),
        (-406, True, "under 14"),
        (-501, True, "does not use KakaoTalk"),
        (-530, True, "refuses messages"),
        (-903, True, "unregistered developer"),
        (-99999, False, "developers.kakao.com"),
    ],
)
def test_a_final_refusal_says_what_to_do(
    notifier: KakaoTalk, sandbox: Sandbox, code: int, setup: bool, remedy: str
) -> None:
    sandbox.kakao.faults.append(KakaoFault(code, path=MEMO_PATH))

    with pytest.raises(PermanentError, match=remedy) as caught:
        notifier.send(envelope())

    assert (setup, 1) == (caught.value.setup, sends(sandbox))
    assert str(code) in str(caught.value)


def test_a_consent_that_is_missing_is_named(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    sandbox.kakao.enabled_scopes = set()

    place = r"\[카카오 로그인\] → \[동의항목\] → \[접근권한\] 카카오톡 메시지 전송 \(talk_message\), then"
    with pytest.raises(PermanentError, match=place):
        notifier.send(envelope())


def test_a_token_that_is_turned_down_is_renewed_once_and_the_message_sent_once_more(
    notifier: KakaoTalk, sandbox: Sandbox
) -> None:
    notifier.send(envelope())
    sandbox.kakao.access_tokens.clear()

    notifier.send(envelope())

    assert (len(sandbox.kakao.messages), sandbox.kakao.refreshes, sends(sandbox)) == (2, 2, 3)


def test_a_fresh_token_that_is_turned_down_too_is_given_up(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    sandbox.kakao.faults.append(KakaoFault(-401, path=MEMO_PATH, times=9))

    with pytest.raises(PermanentError, match="sign in again") as caught:
        notifier.send(envelope())

    assert (caught.value.setup, sends(sandbox), sandbox.kakao.refreshes) == (True, 2, 2)


def test_an_address_that_is_not_allowed_is_told_from_a_dead_token(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    sandbox.kakao.ip_allowed = False

    with pytest.raises(PermanentError, match="호출 허용 IP 주소") as caught:
        notifier.send(envelope())
    assert caught.value.setup


def test_a_401_without_a_body_is_a_token_turned_down(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    sandbox.faults.append(Fault("status", path=MEMO_PATH, status=401))

    notifier.send(envelope())

    assert (len(sandbox.kakao.messages), sandbox.kakao.refreshes) == (1, 2)


@pytest.mark.parametrize(("header", "expected"), [("7", 7.0), ("soon", None), ("", None)])
def test_too_many_requests_are_respected_though_undocumented(
    notifier: KakaoTalk, sandbox: Sandbox, header: str, expected: float | None
) -> None:
    sandbox.faults.append(Fault("status", path=MEMO_PATH, status=429, headers={"Retry-After": header}))

    with pytest.raises(TemporaryError, match="HTTP 429") as caught:
        notifier.send(envelope())

    assert expected == caught.value.retry_after_s


@pytest.mark.parametrize("kind", ["hang", "reset_after", "garbage"])
def test_a_lost_answer_leaves_it_open_whether_the_message_arrived(
    sandbox: Sandbox, tmp_path: Path, clock: FakeClock, kind: FaultKind
) -> None:
    sandbox.faults.append(Fault(kind, path=MEMO_PATH))
    notifier = memo(sandbox, tmp_path, clock, timeout_s=(1.0, 1.0))

    with pytest.raises(TemporaryError) as caught:
        notifier.send(envelope())

    assert caught.value.ambiguous
    assert sends(sandbox) == 1  # nothing below us tries again by itself


@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize("body", [b"", b"<html>maintenance</html>", b'["no object"]'])
def test_a_failing_server_is_tried_again_later(notifier: KakaoTalk, sandbox: Sandbox, status: int, body: bytes) -> None:
    sandbox.faults.append(Fault("status", path=MEMO_PATH, status=status, body=body))

    with pytest.raises(TemporaryError, match=f"HTTP {status}"):
        notifier.send(envelope())


@pytest.mark.parametrize(("status", "error"), [(404, PermanentError), (302, TemporaryError)])
def test_an_unknown_answer_is_neither_success_nor_followed(
    notifier: KakaoTalk, sandbox: Sandbox, status: int, error: type[Exception]
) -> None:
    sandbox.faults.append(Fault("status", path=MEMO_PATH, status=status, headers={"Location": sandbox.url}))

    with pytest.raises(error, match=f"HTTP {status}"):
        notifier.send(envelope())
    assert sandbox.kakao.messages == []


def test_a_success_of_another_shape_is_no_success(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    sandbox.kakao.faults.append(KakaoFault(path=MEMO_PATH, status=200, body=b'{"result_code":-500}'))

    with pytest.raises(TemporaryError):
        notifier.send(envelope())


def test_a_service_that_is_down_has_surely_not_got_the_message(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    with sandbox.down(), pytest.raises(TemporaryError, match="could not be reached") as caught:
        notifier.send(envelope())

    assert not caught.value.ambiguous
    notifier.send(envelope())
    assert len(sandbox.kakao.messages) == 1


def test_a_repeat_after_a_lost_answer_carries_the_same_mark(notifier: KakaoTalk, sandbox: Sandbox) -> None:
    sandbox.faults.append(Fault("reset_after", path=MEMO_PATH))

    with pytest.raises(TemporaryError):
        notifier.send(envelope())
    notifier.send(envelope())

    assert ["#cafe1234" in each.text for each in sandbox.kakao.messages] == [True, True]


def test_the_budget_of_a_day_is_what_kakao_allows_a_pair_and_is_never_overdrawn(
    notifier: KakaoTalk, sandbox: Sandbox, clock: FakeClock
) -> None:
    for _ in range(notifier.pace.daily_budget or 0):
        notifier.send(envelope())

    with pytest.raises(TemporaryError, match="20 messages are sent") as caught:
        notifier.send(envelope())

    assert (caught.value.retry_after_s, caught.value.ambiguous) == (12 * 3600, False)  # it is noon in Korea
    assert sends(sandbox) == 20
    clock.advance(12 * 3600)
    notifier.send(envelope())
