"""What to do about each way in which a sign-in can go wrong, in both languages, for the talk that leads through it.

Kakao's own codes are explained where everything of ours reads them (`rendering.kakao_reasons`); the rest is here.
"""

from __future__ import annotations

from notifybot.rendering.both import Both
from notifybot.rendering.kakao_reasons import SIGN_IN, filled_in
from notifybot.types import Language

_SITE = "developers.kakao.com"
_PAGE = f"{_SITE}/docs/ko/kakaologin/trouble-shooting"

_REMEDIES = SIGN_IN | {
    "access_denied": Both(
        "you did not agree in the browser; nothing was set up. Open the address again and agree",
        "브라우저에서 동의하지 않아 아무것도 설정하지 않았습니다. 주소를 다시 열고 동의해 주세요",
    ),
    "state": Both(
        "the address belongs to another sign-in, not to this one; open the address shown last and use its answer",
        "이번 로그인의 주소가 아닙니다. 마지막에 표시된 주소를 열고 그 결과를 붙여 넣어 주세요",
    ),
    "address": Both(
        "that is not the whole address; copy all of the address bar, from http to the end "
        "(it has code= and state= in it)",
        "주소 전체가 아닙니다. 주소창의 내용을 http부터 끝까지 복사해 주세요 (code=와 state=가 들어 있습니다)",
    ),
    "early": Both(
        "that is Kakao's own page; finish there first, then copy the address of the page that fails to load",
        "아직 카카오 페이지입니다. 로그인과 동의를 마친 뒤, 열리지 않는 페이지의 주소를 복사해 주세요",
    ),
    "unticked": Both(
        "{named} was not agreed to; sign in again and tick it",
        "{named} 항목에 동의하지 않았습니다. 다시 로그인하면서 체크해 주세요",
    ),
    "same_account": Both(
        "both sign-ins came from one account; sign out of Kakao in the browser, "
        "or use a private window for the spare one",
        "두 번 모두 같은 계정으로 로그인했습니다. 브라우저에서 카카오 계정을 로그아웃하거나 시크릿 창에서 "
        "부계정으로 로그인해 주세요",
    ),
    "no_friend": Both(
        f"no friend can be written to. Check for each receiver: the two accounts are friends in KakaoTalk, both are in "
        f"{_SITE}, [앱] → [멤버], the receiver signed in once and agreed, its profile is public, nobody is hidden or "
        "blocked. Then: notifybot kakao friends",
        f"메시지를 보낼 수 있는 친구가 없습니다. 두 계정이 카카오톡 친구인지, 둘 다 {_SITE}의 [앱] → [멤버]에 있는지, "
        "받는 계정이 한 번 로그인해 동의했는지, 프로필이 공개인지, 숨김·차단 상태가 아닌지 확인해 주세요. "
        "그다음: notifybot kakao friends",
    ),
}  # fmt: skip
_UNKNOWN = Both(
    f"Kakao refused the sign-in; look the code up at {_PAGE}",
    f"카카오가 로그인을 거절했습니다. {_PAGE}에서 코드를 찾아 주세요",
)
SETUP_CODES = frozenset(_REMEDIES) - {"KOE003", "KOE237"}


def remedy(code: str, language: Language, *, redirect_uri: str = "", scopes: str = "talk_message") -> str:
    """What to do about a code of Kakao's, or a word of ours, in one or two sentences without a full stop."""
    values = {"scopes": scopes} | ({"redirect_uri": redirect_uri} if redirect_uri else {})
    return _REMEDIES.get(code, _UNKNOWN).told(language, filled_in(values, language))


def explained(code: str, language: Language, *, redirect_uri: str = "", scopes: str = "talk_message") -> str:
    """The remedy as a line to show, after the code where it is one of Kakao's."""
    text = remedy(code, language, redirect_uri=redirect_uri, scopes=scopes)
    return f"{code}: {text}." if code.startswith("KOE") else f"{text[0].upper()}{text[1:]}."
