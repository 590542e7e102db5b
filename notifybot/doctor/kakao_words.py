"""What a refusal of Kakao's means to a person, and the way out, in both languages at once."""

from __future__ import annotations

from collections.abc import Mapping

from notifybot.errors import DeliveryError
from notifybot.notifiers.kakao.oauth import remedy
from notifybot.rendering.both import Both
from notifybot.rendering.error_text import KAKAO_API, error_line, kakao_error, kakao_line
from notifybot.types import Language

SIGN_IN = Both("sign in again: notifybot kakao login", "다시 로그인하세요: notifybot kakao login")
REFUSED = Both("Kakao refuses this login ({code})", "카카오가 이 로그인을 거절했습니다({code})")
TRY_AGAIN = Both(
    "check the network of this machine, a proxy, and NOTIFYBOT_KAKAO_API_URL and _AUTH_URL; then try again",
    "이 컴퓨터의 네트워크와 프록시, NOTIFYBOT_KAKAO_API_URL과 _AUTH_URL을 확인한 뒤 다시 시도하세요",
)
_UNREACHABLE = Both("Kakao could not be asked ({error})", "카카오에 물어보지 못했습니다({error})")


def unreachable(error: DeliveryError) -> Both:
    """That Kakao could not be asked, and why."""
    en, ko = (error_line(error, language) for language in (Language.EN, Language.KO))
    return Both(_UNREACHABLE.en.format(error=en), _UNREACHABLE.ko.format(error=ko))


def remedy_for(code: str, values: Mapping[str, str] | None = None, *, scopes: str = "talk_message") -> Both:
    """What to do about a code of the login (KOE…) or the API (-…), or a word of ours for one."""
    if code in KAKAO_API:
        given = {"scopes": scopes, **(values or {})}
        return Both(*(kakao_error(code, given, each) for each in (Language.EN, Language.KO)))
    if code.startswith("KOE") or code == "unticked":
        return Both(remedy(code, Language.EN, scopes=scopes), remedy(code, Language.KO, scopes=scopes))
    return Both(kakao_line(code, values or {}, Language.EN), kakao_line(code, values or {}, Language.KO))
