"""Why a webhook, the watchdog, or one of Apprise's services did not take a message, and what to do."""

from __future__ import annotations

from collections.abc import Mapping

from notifybot.rendering.both import Both
from notifybot.types import Language

WEBHOOK = {
    "gone": Both(
        "the webhook is gone (410): correct or remove NOTIFYBOT_WEBHOOK_URL",
        "웹훅이 없어졌습니다(410). NOTIFYBOT_WEBHOOK_URL을 고치거나 지워 주세요",
    ),
    "moved": Both(
        "the webhook moved ({status}): set NOTIFYBOT_WEBHOOK_URL anew",
        "웹훅의 주소가 바뀌었습니다({status}). NOTIFYBOT_WEBHOOK_URL을 새로 설정하세요",
    ),
    "failing": Both("the webhook answered {status}", "웹훅이 {status}(으)로 응답했습니다"),
    "log-in": Both(
        "the webhook answered {status}; a log-in page in between?",
        "웹훅이 {status}(으)로 응답했습니다. 중간에 로그인 페이지가 있는지 확인하세요",
    ),
    "refused": Both(
        "the webhook answered {status}: check NOTIFYBOT_WEBHOOK_URL and NOTIFYBOT_WEBHOOK_SECRET",
        "웹훅이 {status}(으)로 응답했습니다. NOTIFYBOT_WEBHOOK_URL과 NOTIFYBOT_WEBHOOK_SECRET을 확인하세요",
    ),
    "address": Both(
        "NOTIFYBOT_WEBHOOK_URL is malformed: correct it", "NOTIFYBOT_WEBHOOK_URL의 형식이 잘못되었습니다. 고쳐 주세요"
    ),
    "certificate": Both("the webhook's certificate could not be verified", "웹훅의 인증서를 확인하지 못했습니다"),
    "no-connection": Both("the webhook could not be reached", "웹훅에 연결하지 못했습니다"),
    "no-answer": Both("the webhook did not answer in time", "웹훅이 제시간에 응답하지 않았습니다"),
    "broken": Both("the connection to the webhook broke ({kind})", "웹훅과의 연결이 끊겼습니다({kind})"),
}

WATCHDOG = {
    "no-connection": Both(
        "the watchdog cannot be reached: is NOTIFYBOT_WATCHDOG_URL right and the service up?",
        "감시 서버에 연결하지 못했습니다. NOTIFYBOT_WATCHDOG_URL이 맞는지, 서비스가 켜져 있는지 확인하세요",
    ),
    "no-answer": Both("the watchdog did not answer ({kind})", "감시 서버가 응답하지 않았습니다({kind})"),
    "refused": Both(
        "the watchdog refused the token or the run id: check NOTIFYBOT_WATCHDOG_TOKEN, "
        "or make one with `notifybot watchdog token new`",
        "감시 서버가 토큰이나 실행 ID를 거절했습니다. NOTIFYBOT_WATCHDOG_TOKEN을 확인하거나 "
        "`notifybot watchdog token new`로 새로 만드세요",
    ),
    "failing": Both("the watchdog answered {status}", "감시 서버가 {status}(으)로 응답했습니다"),
    "log-in": Both(
        "not the watchdog's answer: {status}; a proxy in between?",
        "감시 서버의 응답이 아닙니다({status}). 중간에 프록시가 있는지 확인하세요",
    ),
    "strange": Both(
        "the watchdog answered {status}: does NOTIFYBOT_WATCHDOG_URL name a notifybot watchdog of this version?",
        "감시 서버가 {status}(으)로 응답했습니다. NOTIFYBOT_WATCHDOG_URL이 같은 버전의 감시 서버인지 확인하세요",
    ),
    "not-taken": Both("the watchdog does not take this: {why}", "감시 서버가 받지 않은 이벤트입니다: {why}"),
    "foreign": Both(
        "an answer that is not the watchdog's; a proxy in between?",
        "감시 서버의 응답이 아닙니다. 중간에 프록시가 있는지 확인하세요",
    ),
}

APPRISE = {
    "no-connection": Both("{label} could not be reached", "{label}에 연결하지 못했습니다"),
    "no-answer": Both("{label} did not answer in time", "{label} 응답이 제시간에 오지 않았습니다"),
    "broken": Both("the connection to {label} broke", "{label} 연결이 끊겼습니다"),
    "failing": Both("{label} answered {status}", "{label} 응답 코드: {status}"),
    "foreign": Both(
        "not {label}'s answer ({status}); a proxy in between?",
        "{label}의 응답이 아닙니다({status}). 중간에 프록시가 있는지 확인하세요",
    ),
    "refused": Both(
        "{label} answered {status}: check its URL in NOTIFYBOT_APPRISE_URLS",
        "{label} 응답 코드: {status}. NOTIFYBOT_APPRISE_URLS에 있는 주소를 확인하세요",
    ),
    "mail-later": Both("{label}: the mail server answered {status}", "{label}: 메일 서버 응답 코드 {status}"),
    "mail-refused": Both(
        "{label}: the mail server answered {status}: check its URL in NOTIFYBOT_APPRISE_URLS",
        "{label}: 메일 서버 응답 코드 {status}. NOTIFYBOT_APPRISE_URLS에 있는 주소를 확인하세요",
    ),
    "unexplained": Both(
        "{label}: Apprise could not send it and does not say why", "{label}: Apprise가 이유 없이 전송에 실패했습니다"
    ),
    "given-up": Both(
        "{label}: Apprise could not send it in {tries} tries; try the URL with `apprise`",
        "{label}: Apprise로 {tries}번 시도했지만 보내지 못했습니다. `apprise` 명령으로 주소를 시험해 보세요",
    ),
}


def webhook_line(code: str, values: Mapping[str, str], language: Language) -> str:
    """An error of the webhook in one line."""
    return WEBHOOK.get(code, Both(code, code)).told(language, values)


def watchdog_line(code: str, values: Mapping[str, str], language: Language) -> str:
    """An error on the way to the watchdog in one line."""
    return WATCHDOG.get(code, Both(code, code)).told(language, values)


def apprise_line(code: str, values: Mapping[str, str], language: Language) -> str:
    """An error of a service behind Apprise in one line."""
    return APPRISE.get(code, Both(code, code)).told(language, values)
