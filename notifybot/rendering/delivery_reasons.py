"""Why a message was not delivered, or not yet, in a person's language.

A reason's code is `service.code`, such as `slack.not_in_channel`, and the service's own table has its words. What
stands before a slash tells what came of it: `late/slack.no-answer` was given up for its age.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from notifybot.errors import DeliveryError, said
from notifybot.redaction import redact
from notifybot.rendering.both import Both
from notifybot.rendering.kakao_reasons import KAKAO_CODES, kakao_line
from notifybot.rendering.program_reasons import APPRISE, WATCHDOG, WEBHOOK, apprise_line, watchdog_line, webhook_line
from notifybot.rendering.slack_reasons import SLACK_CODES, slack_line, slack_what
from notifybot.rendering.text import one_line, shorten
from notifybot.types import Language, Reason

NOTED = "noted"  # the code of a text that is shown as it stands
_LIMIT_VALUE = 200  # characters
_SERVICES: dict[str, Callable[[str, Mapping[str, str], Language], str]] = {
    "slack": slack_line,
    "kakao": kakao_line,
    "webhook": webhook_line,
    "watchdog": watchdog_line,
    "apprise": apprise_line,
}
_CAME_OF_IT = {
    "late": Both("not delivered within a day: {why}", "하루 안에 전달하지 못했습니다: {why}"),
    "kept": Both("kept back: {why}", "모아 두었습니다: {why}"),
}
_IN_KOREAN = {  # what the outbox notes in English about a message that nobody refused
    "quiet hours": "방해 금지 시간",
    "daily budget": "오늘 건수 소진",
    "one message of this kind per gap": "같은 종류의 알림은 간격을 두고 보냅니다",
    "folded into a newer one": "더 새로운 알림에 합쳤습니다",
    "told together with others": "다른 알림과 함께 보냈습니다",
    "its run has ended": "실행이 이미 끝났습니다",
    "dropped by hand": "직접 뺐습니다",
}
_EVERY = re.compile(r"told every (\d+) epochs")


def delivery_codes() -> dict[str, tuple[str, ...]]:
    """Return the codes that have words, by service, in the order of its table: for the manual."""
    return {
        "slack": SLACK_CODES,
        "kakao": KAKAO_CODES,
        "webhook": tuple(WEBHOOK),
        "watchdog": tuple(WATCHDOG),
        "apprise": tuple(APPRISE),
    }


def delivery_reason(error: Exception) -> Reason:
    """Why a message was not delivered, in no language and without secrets, as it may be stored."""
    if isinstance(error, DeliveryError) and error.code:
        values = {name: shorten(one_line(redact(value)), _LIMIT_VALUE) for name, value in error.values.items()}
        return Reason(f"{error.service}.{error.code}", values=values)
    text = str(error) if isinstance(error, DeliveryError) else f"{type(error).__name__}: {error}"
    return Reason(NOTED, values={"text": redact(text)})


def in_words(service: str, code: str, values: Mapping[str, str]) -> str:
    """The text of an error that carries these, for whoever reads it in a traceback."""
    english, korean = (delivery_line(f"{service}.{code}", values, each) for each in (Language.EN, Language.KO))
    return said(english or code, korean or code)


def delivery_line(code: str, values: Mapping[str, str], language: Language) -> str | None:
    """Return a reason of a delivery in words; None for one that is about something else."""
    came_of_it, slash, why = code.partition("/")
    if slash and came_of_it in _CAME_OF_IT:
        told = delivery_line(why, values, language) or why
        return _CAME_OF_IT[came_of_it].told(language, {"why": told})
    if code == NOTED:
        return _noted(values.get("text", ""), language)
    service, dot, own = code.partition(".")
    return _SERVICES[service](own, values, language) if dot and service in _SERVICES else None


def brief_reason(reason: Reason, language: Language) -> str:
    """Return a reason of a delivery without the way out, as far as the service's table tells the two apart."""
    service, _, own = reason.code.partition(".")
    if service == "slack":
        return slack_what(own, reason.values, language)
    return delivery_line(reason.code, reason.values, language) or reason.code


def _noted(text: str, language: Language) -> str:
    if language is Language.EN:
        return text
    every = _EVERY.fullmatch(text)
    return f"{every[1]}에포크마다 알립니다" if every else _IN_KOREAN.get(text, text)
