"""KakaoTalk's login: whether there is one, and how long it holds. Kakao itself is not asked."""

from __future__ import annotations

from datetime import timedelta

from notifybot.clock import Clock
from notifybot.config import Config
from notifybot.doctor.findings import Both, Finding, note, ok, wrong
from notifybot.errors import ConfigError
from notifybot.notifiers.kakao import credentials_from, token_file_of
from notifybot.notifiers.kakao.token_file import TokenFile

PART = "KakaoTalk"
_SOON = timedelta(days=14)


def examine(config: Config, clock: Clock) -> list[Finding]:
    """How the login stands: a refresh token lives about 60 days, and is renewed by runs in its last month."""
    try:
        credentials = credentials_from(config, clock=clock)
    except ConfigError as error:
        return [wrong(PART, Both(str(error), str(error)), _SIGN_IN)]
    if credentials is None:
        return [note(PART, _NOT_SET_UP, _TO_SET_UP)]
    stored = TokenFile(token_file_of(config), clock).load()
    if stored is None or not credentials.own(stored) or stored.refresh_expires_at is None:
        return [ok(PART, _UNDATED)]
    left, until = stored.refresh_expires_at - clock.now(), f"{stored.refresh_expires_at.astimezone():%Y-%m-%d}"
    if left <= timedelta(0):
        return [wrong(PART, _EXPIRED.filled(until=until), _SIGN_IN)]
    if left < _SOON:
        return [note(PART, _ENDS_SOON.filled(until=until), _RENEW)]
    return [ok(PART, _HOLDS.filled(until=until))]


_NOT_SET_UP = Both("KakaoTalk is not set up", "카카오톡이 설정되어 있지 않습니다")
_TO_SET_UP = Both(
    "to be told there: notifybot kakao login", "카카오톡으로 알림을 받으려면 notifybot kakao login을 실행하십시오"
)
_SIGN_IN = Both("sign in again: notifybot kakao login", "다시 로그인하십시오: notifybot kakao login")
_UNDATED = Both(
    "the login is set up; how long it holds is known after the first message",
    "로그인이 설정되어 있습니다. 유효 기간은 첫 메시지를 보낸 뒤에 알 수 있습니다",
)
_EXPIRED = Both("the login ended on {until}", "로그인이 {until}에 만료되었습니다")
_ENDS_SOON = Both("the login ends on {until}", "로그인이 {until}에 만료됩니다")
_RENEW = Both(
    "any training before then renews it; else sign in again: notifybot kakao login",
    "그 전에 학습을 한 번이라도 실행하면 연장됩니다. 아니면 다시 로그인하십시오: notifybot kakao login",
)
_HOLDS = Both("the login holds until {until}", "로그인이 {until}까지 유효합니다")
