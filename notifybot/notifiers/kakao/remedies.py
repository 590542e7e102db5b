"""What to do about each way in which a sign-in can go wrong, in both languages, with the menu path to click.

Kakao shows most of these codes on a page in the browser and tells us nothing, so a person may have to type them.
Menus are those of the developers' site since December 2025, where the keys hold the redirect URI and the secret.
https://developers.kakao.com/docs/latest/ko/kakaologin/trouble-shooting
"""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.model import Language

_KEY = "[앱] → [플랫폼 키] → [REST API 키]"
_CONSENT = "[카카오 로그인] → [동의항목] → 접근권한"
_SITE = "developers.kakao.com"


@dataclass(frozen=True, slots=True)
class _Remedy:
    en: str
    ko: str


_AGAIN = _Remedy("sign in again: notifybot kakao login", "다시 로그인해 주세요: notifybot kakao login")
_WRONG_KEY = _Remedy(
    f"kakao_rest_api_key is wrong or of the wrong type; copy the REST API key from {_SITE}, {_KEY}",
    f"kakao_rest_api_key가 틀렸거나 다른 종류의 키입니다. {_SITE}의 {_KEY}에서 REST API 키를 복사해 주세요",
)
_LATER = _Remedy("Kakao has a fault; try again in a few minutes", "카카오 쪽 오류입니다. 몇 분 뒤에 다시 시도해 주세요")

_REMEDIES = {
    "KOE003": _LATER,
    "KOE237": _Remedy("too many attempts; wait a few minutes", "시도가 너무 많았습니다. 몇 분 뒤에 다시 시도해 주세요"),
    "KOE004": _Remedy(
        f"카카오 로그인 is off; turn it on at {_SITE}, [카카오 로그인] → 사용 설정",
        f"카카오 로그인이 꺼져 있습니다. {_SITE}의 [카카오 로그인] → 사용 설정을 켜 주세요",
    ),
    "KOE005": _Remedy(
        f"the app is in test and this account is no member; add it at {_SITE}, [앱] → [멤버]",
        f"테스트 중인 앱인데 이 계정이 멤버가 아닙니다. {_SITE}의 [앱] → [멤버]에 추가해 주세요",
    ),
    "KOE006": _Remedy(
        f"the redirect URI is not registered; add {{redirect_uri}} exactly so at {_SITE}, "
        f"{_KEY} → 카카오 로그인 리다이렉트 URI (not at the JavaScript key)",
        f"리다이렉트 URI가 등록되어 있지 않습니다. {_SITE}의 {_KEY} → 카카오 로그인 리다이렉트 URI에 "
        "{redirect_uri} 주소를 그대로 등록해 주세요 (JavaScript 키가 아닙니다)",
    ),
    "KOE008": _WRONG_KEY,
    "KOE009": _Remedy(
        f"the app's platform is not registered; see {_SITE}, [앱] → [플랫폼 키]",
        f"앱의 플랫폼이 등록되어 있지 않습니다. {_SITE}의 [앱] → [플랫폼 키]를 확인해 주세요",
    ),
    "KOE010": _Remedy(
        f"kakao_client_secret is missing or wrong; copy 클라이언트 시크릿 of the same key from {_SITE}, {_KEY} "
        "(it is on for new keys)",
        f"kakao_client_secret이 없거나 틀렸습니다. {_SITE}의 {_KEY}에서 같은 키의 클라이언트 시크릿을 복사해 주세요 "
        "(새로 만든 키는 처음부터 켜져 있습니다)",
    ),
    "KOE101": _WRONG_KEY,
    "KOE205": _Remedy(
        f"{{scopes}} is not enabled for the app; turn it on at {_SITE}, {_CONSENT} "
        "(talk_message is 카카오톡 메시지 전송, friends is 카카오 서비스 내 친구목록)",
        f"앱에서 {{scopes}} 동의항목이 꺼져 있습니다. {_SITE}의 {_CONSENT}에서 켜 주세요 "
        "(talk_message는 카카오톡 메시지 전송, friends는 카카오 서비스 내 친구목록입니다)",
    ),
    "KOE303": _Remedy(
        "the redirect URI is not the one that the login began with; begin again",
        "로그인을 시작할 때와 다른 리다이렉트 URI입니다. 처음부터 다시 해 주세요",
    ),
    "KOE319": _Remedy(f"no refresh token was sent; {_AGAIN.en}", f"리프레시 토큰이 없습니다. {_AGAIN.ko}"),
    "KOE320": _Remedy(
        "the code was used already or is too old (it lasts some minutes); open the address again",
        "이미 쓴 코드이거나 유효 시간(몇 분)이 지났습니다. 주소를 다시 열어 주세요",
    ),
    "KOE322": _Remedy(
        f"the refresh token is expired or unknown; {_AGAIN.en}",
        f"리프레시 토큰이 만료되었거나 등록되지 않은 값입니다. {_AGAIN.ko}",
    ),
    "access_denied": _Remedy(
        "you did not agree in the browser; nothing was set up. Open the address again and agree",
        "브라우저에서 동의하지 않아 아무것도 설정하지 않았습니다. 주소를 다시 열고 동의해 주세요",
    ),
    "state": _Remedy(
        "the address belongs to another sign-in, not to this one; open the address shown last and use its answer",
        "이번 로그인의 주소가 아닙니다. 마지막에 표시된 주소를 열고 그 결과를 붙여 넣어 주세요",
    ),
    "address": _Remedy(
        "that is not the whole address; copy all of the address bar, from http to the end "
        "(it has code= and state= in it)",
        "주소 전체가 아닙니다. 주소창의 내용을 http부터 끝까지 복사해 주세요 (code=와 state=가 들어 있습니다)",
    ),
    "early": _Remedy(
        "that is Kakao's own page; finish there first, then copy the address of the page that fails to load",
        "아직 카카오 페이지입니다. 로그인과 동의를 마친 뒤, 열리지 않는 페이지의 주소를 복사해 주세요",
    ),
    "unticked": _Remedy(
        "{scopes} was not agreed to; sign in again and tick it",
        "{scopes} 항목에 동의하지 않았습니다. 다시 로그인하면서 체크해 주세요",
    ),
    "same_account": _Remedy(
        "both sign-ins came from one account; sign out of Kakao in the browser, "
        "or use a private window for the spare one",
        "두 번 모두 같은 계정으로 로그인했습니다. 브라우저에서 카카오 계정을 로그아웃하거나 시크릿 창에서 "
        "부계정으로 로그인해 주세요",
    ),
    "no_friend": _Remedy(
        f"no friend can be written to. Check for each receiver: the two accounts are friends in KakaoTalk, both are in "
        f"{_SITE}, [앱] → [멤버], the receiver signed in once and agreed, its profile is public, nobody is hidden or "
        "blocked. Then: notifybot kakao friends",
        f"메시지를 보낼 수 있는 친구가 없습니다. 두 계정이 카카오톡 친구인지, 둘 다 {_SITE}의 [앱] → [멤버]에 있는지, "
        "받는 계정이 한 번 로그인해 동의했는지, 프로필이 공개인지, 숨김·차단 상태가 아닌지 확인해 주세요. "
        "그다음: notifybot kakao friends",
    ),
}  # fmt: skip
_UNKNOWN = _Remedy(
    "Kakao refused the sign-in; look the code up at developers.kakao.com/docs/latest/ko/kakaologin/trouble-shooting",
    "카카오가 로그인을 거절했습니다. developers.kakao.com/docs/latest/ko/kakaologin/trouble-shooting에서 "
    "코드를 찾아 주세요",
)
SETUP_CODES = frozenset(_REMEDIES) - {"KOE003", "KOE237"}


def remedy(code: str, language: Language, *, redirect_uri: str = "", scopes: str = "talk_message") -> str:
    """What to do about a code of Kakao's, or a word of ours, in one or two sentences without a full stop."""
    found = _REMEDIES.get(code, _UNKNOWN)
    text = found.ko if language is Language.KO else found.en
    usual = "리다이렉트 URI" if language is Language.KO else "the redirect URI"
    return text.format(redirect_uri=redirect_uri or usual, scopes=scopes)


def explained(code: str, language: Language, *, redirect_uri: str = "", scopes: str = "talk_message") -> str:
    """The remedy as a line to show, after the code where it is one of Kakao's."""
    text = remedy(code, language, redirect_uri=redirect_uri, scopes=scopes)
    return f"{code}: {text}." if code.startswith("KOE") else f"{text[0].upper()}{text[1:]}."
