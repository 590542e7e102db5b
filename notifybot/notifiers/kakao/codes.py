"""What Kakao's error codes mean for us: try again, wait for midnight, give up, or tell the person what to set up.

The logic reads `code` and `error_code` alone; Kakao calls their texts unstable.
https://developers.kakao.com/docs/latest/ko/rest-api/error-code
"""

from __future__ import annotations

from datetime import datetime

from notifybot.errors import DeliveryError, PermanentError, TemporaryError
from notifybot.model import Language
from notifybot.notifiers.kakao.remedies import SETUP_CODES, remedy
from notifybot.policy import next_midnight

TOKEN_REFUSED = -401
BAD_PARAMETER = -2
LOGIN_ENDED = "KOE322"
SIGN_IN_AGAIN = "sign in again: notifybot kakao login"

TEMPORARY = {
    -1: "internal error at Kakao",
    -7: "Kakao has a fault or maintenance",
    -603: "Kakao timed out internally",
    -9798: "Kakao is under maintenance",
}
AMBIGUOUS = frozenset({-603})  # sent or not, Kakao itself does not know

QUOTA = {
    -10: "the app's daily quota is used up",
    -531: "the sender's monthly quota is used up",
    -532: "the sender's daily quota is used up",
    -533: "the receiver's daily quota is used up",
    -536: "the daily quota between sender and receiver is used up",
}

_MESSAGE = {
    -2: "the message template or a parameter was refused; report the message's text as a bug",
    -6: "this action is not allowed",
    -8: "a request header was refused",
    -9: "this API was discontinued; update notifybot",
}

_SETUP = {
    -3: "turn on 카카오톡 메시지 전송 (talk_message) under [카카오 로그인] → [동의항목] → 접근권한, then sign in again",
    -4: "the Kakao account is blocked; ask Kakao's support",
    -5: "the app may not call this API; check its permissions at developers.kakao.com",
    -11: "the app's paid quota is used up; see the app's billing at developers.kakao.com",
    -12: "Kakao blocked the app or its developer; see developers.kakao.com",
    -101: f"the Kakao account is no longer connected to the app; {SIGN_IN_AGAIN}",
    -103: "the Kakao account is dormant or does not exist; sign in with another one",
    -401: f"a fresh access token was refused; {SIGN_IN_AGAIN}",
    -402: f"the person has not agreed to 카카오톡 메시지 전송 (talk_message); {SIGN_IN_AGAIN}",
    -405: "the Kakao account needs its age verified; do so in the KakaoTalk app",
    -406: "Kakao allows no account of a person under 14 here; use another one",
    -501: "the Kakao account does not use KakaoTalk; sign in with one that does",
    -502: "the receiver is no friend of the sender, or its uuid changed; choose again: notifybot kakao friends",
    -504: "the receiver's device cannot show such messages",
    -530: "the receiver refuses messages",
    -903: "the app key belongs to an unregistered developer; see developers.kakao.com",
}
_ALLOWED_IPS = (
    "this machine's address is not allowed; "
    "empty 호출 허용 IP 주소 under [앱] → [플랫폼 키] → [REST API 키], as Colab's addresses change"
)

_SIGN_IN_TEMPORARY = frozenset({"KOE003", "KOE237"})  # a fault of the service, and a limit on its rate


def api_error(status: int, code: int | None, *, text: str, now: datetime, retry_after_s: float | None) -> DeliveryError:
    """Turn a refusal of kapi.kakao.com into the error to raise.

    `text` is Kakao's own; it is read only to tell an address refusal from a token refusal, and is never repeated.
    """
    if code in QUOTA:
        until_s = (next_midnight(now) - now).total_seconds()
        return TemporaryError(f"KakaoTalk: {QUOTA[code]} ({code}); it resets at midnight KST", retry_after_s=until_s)
    if code in TEMPORARY:
        return TemporaryError(
            f"KakaoTalk: {TEMPORARY[code]} ({code})", retry_after_s=retry_after_s, ambiguous=code in AMBIGUOUS
        )
    if code == TOKEN_REFUSED and "ip mismatch" in text.lower():
        return PermanentError(f"KakaoTalk: {_ALLOWED_IPS} ({code})", setup=True)
    if code in _SETUP:
        return PermanentError(f"KakaoTalk: {_SETUP[code]} ({code})", setup=True)
    if code in _MESSAGE:
        return PermanentError(f"KakaoTalk: {_MESSAGE[code]} ({code})")
    return _by_status(status, code, retry_after_s)


def _by_status(status: int, code: int | None, retry_after_s: float | None) -> DeliveryError:
    named = f"HTTP {status}" if code is None else f"HTTP {status}, code {code}"
    if status in (408, 425, 429):
        return TemporaryError(f"KakaoTalk asks to slow down ({named})", retry_after_s=retry_after_s)
    if status >= 500:
        return TemporaryError(f"KakaoTalk is failing ({named})", retry_after_s=retry_after_s, ambiguous=True)
    if status >= 400:
        return PermanentError(f"KakaoTalk refused the message ({named}); look the code up at developers.kakao.com")
    return TemporaryError(f"KakaoTalk answered something unknown ({named})", ambiguous=True)


def sign_in_error(status: int, error_code: str, *, retry_after_s: float | None) -> DeliveryError:
    """Turn a refusal of kauth.kakao.com into the error to raise. No message was sent, so nothing is ambiguous."""
    named = f"{error_code or 'no code'}, HTTP {status}"
    if error_code in SETUP_CODES:
        return PermanentError(f"Kakao login: {remedy(error_code, Language.EN)} ({named})", setup=True)
    if error_code in _SIGN_IN_TEMPORARY or status >= 500 or status in (408, 425, 429):
        return TemporaryError(f"Kakao login is failing ({named})", retry_after_s=retry_after_s)
    if status >= 400:
        return PermanentError(f"Kakao login refused to refresh ({named}); {SIGN_IN_AGAIN}", setup=True)
    return TemporaryError(f"Kakao login answered something unknown ({named})")
