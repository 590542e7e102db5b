"""The watchdog: whether it can be reached, is well, and takes the token."""

from __future__ import annotations

from urllib.parse import urlsplit

import requests

from notifybot.config import Config
from notifybot.doctor.findings import Finding, note, ok, wrong
from notifybot.notifiers.http import session_for
from notifybot.rendering.both import Both

TIMEOUTS_S = (3.05, 10.0)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def examine(config: Config) -> list[Finding]:
    """How the watchdog of these settings stands; nothing where none is set."""
    if not config.watchdog_url or config.watchdog_token is None:
        return []
    url = config.watchdog_url.rstrip("/")
    health = _status(f"{url}/healthz", None)
    if health not in (200, 503):
        return [wrong(PART, _unreachable(health), _CHECK_URL)]
    found = [ok(PART, _WELL) if health == 200 else wrong(PART, _UNWELL, _CHECK_SERVICE)]
    token = _status(f"{url}/api/v1/runs", config.watchdog_token.get_secret_value())
    found.append(ok(PART, _TOKEN_FITS) if token == 200 else wrong(PART, _TOKEN_REFUSED, _NEW_TOKEN))
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        found.append(note(PART, _IN_THE_CLEAR, _USE_HTTPS))
    return found


def _status(url: str, token: str | None) -> int | None:
    """The status that a page answers with; None where nothing answers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with (
            session_for(url) as session,
            session.get(
                url, headers=headers, timeout=TIMEOUTS_S, allow_redirects=False, stream=True, auth=_as_it_is
            ) as answer,
        ):
            return answer.status_code
    except requests.RequestException:
        return None


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Adds nothing. Without it requests would put what ~/.netrc holds for the host in the token's place."""
    return request


def _unreachable(status: int | None) -> Both:
    return _SILENT if status is None else _SOMEBODY_ELSE.filled(status=status)


PART = "watchdog"
_WELL = Both("the watchdog answers and is well", "감시 서버가 정상 동작 중입니다")
_UNWELL = Both(
    "the watchdog answers, but says that its scan or its messages are late",
    "감시 서버가 응답하지만 점검이나 알림 전송이 밀려 있습니다",
)
_CHECK_SERVICE = Both("look at its log, or start it again", "감시 서버의 로그를 확인하거나 다시 시작하세요")
_SILENT = Both("the watchdog does not answer", "감시 서버가 응답하지 않습니다")
_SOMEBODY_ELSE = Both("not a watchdog's answer: HTTP {status}", "감시 서버의 응답이 아닙니다: HTTP {status}")
_CHECK_URL = Both(
    "check NOTIFYBOT_WATCHDOG_URL, that `notifybot watchdog` runs there, and that its port is open",
    "NOTIFYBOT_WATCHDOG_URL과 `notifybot watchdog` 실행 여부, 포트가 열려 있는지 확인하세요",
)
_TOKEN_FITS = Both("the watchdog takes the token", "감시 서버가 토큰을 받아들입니다")
_TOKEN_REFUSED = Both("the watchdog refuses the token", "감시 서버가 토큰을 거절했습니다")
_NEW_TOKEN = Both(
    "make one there with `notifybot watchdog token new PROJECT` and set NOTIFYBOT_WATCHDOG_TOKEN",
    "감시 서버에서 `notifybot watchdog token new PROJECT`로 토큰을 만들어 NOTIFYBOT_WATCHDOG_TOKEN에 설정하세요",
)
_IN_THE_CLEAR = Both(
    "the token travels unencrypted: NOTIFYBOT_WATCHDOG_URL begins with http://",
    "토큰이 암호화되지 않은 채 전송됩니다: NOTIFYBOT_WATCHDOG_URL이 http://로 시작합니다",
)
_USE_HTTPS = Both("put it behind HTTPS", "HTTPS를 적용하세요")
