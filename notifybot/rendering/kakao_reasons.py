"""What Kakao's codes mean to a person, and the way out: the one table that everything of ours reads.

Numbers are those of kapi.kakao.com, KOE codes those of its login; Kakao shows most of the latter on a page in the
browser and tells us nothing, so a person may have to type them. Menus are those of the developers' site since December
2025, where the keys hold the redirect URI and the secret. Words without a number are ours.
https://developers.kakao.com/docs/ko/rest-api/error-code
https://developers.kakao.com/docs/ko/kakaologin/trouble-shooting
"""

from __future__ import annotations

from collections.abc import Mapping

from notifybot.rendering.both import Both
from notifybot.types import Language

_KEY = "[앱] → [플랫폼 키] → [REST API 키]"
_CONSENT = "[카카오 로그인] → [동의항목]"
# Where each stands on that page, and what it is called there: developers.kakao.com/docs/ko/kakaotalk-message/common
_SCOPES = {
    "talk_message": ("[접근권한]", "카카오톡 메시지 전송"),
    "friends": ("[개인정보]", "카카오 서비스 내 친구목록"),
}
_SITE = "developers.kakao.com"

_AGAIN = Both("sign in again: notifybot kakao login", "다시 로그인해 주세요: notifybot kakao login")
_WRONG_KEY = Both(
    f"kakao_rest_api_key is wrong or of the wrong type; copy the REST API key from {_SITE}, {_KEY}",
    f"kakao_rest_api_key가 틀렸거나 다른 종류의 키입니다. {_SITE}의 {_KEY}에서 REST API 키를 복사해 주세요",
)
_LATER = Both("Kakao has a fault; try again in a few minutes", "카카오 쪽 오류입니다. 몇 분 뒤에 다시 시도해 주세요")
_OUR_FAULT = Both(
    "the request was malformed; please report it as a bug of notifybot",
    "요청 형식이 잘못되었습니다. notifybot의 버그로 제보해 주세요",
)


def _until_midnight(en: str, ko: str) -> Both:
    return Both(f"{en}; it resets at midnight KST", f"{ko}. 한국 시각 자정에 초기화됩니다")


API = {
    "-1": Both("internal error at Kakao", "카카오 내부 오류입니다"),
    "-7": Both("Kakao has a fault or maintenance", "카카오에 장애가 있거나 점검 중입니다"),
    "-603": Both("Kakao timed out internally", "카카오 내부에서 응답 시간이 초과되었습니다"),
    "-9798": Both("Kakao is under maintenance", "카카오 서비스 점검 중입니다"),
    "-10": _until_midnight("the app's daily quota is used up", "앱의 하루 한도를 모두 썼습니다"),
    "-531": Both("the sender's monthly quota is used up", "보내는 계정의 한 달 한도를 모두 썼습니다"),
    "-532": _until_midnight("the sender's daily quota is used up", "보내는 계정의 하루 한도를 모두 썼습니다"),
    "-533": _until_midnight("the receiver's daily quota is used up", "받는 계정의 하루 한도를 모두 썼습니다"),
    "-536": _until_midnight(
        "the daily quota between sender and receiver is used up", "두 계정 사이의 하루 한도를 모두 썼습니다"
    ),
    "-2": Both(
        "the message template or a parameter was refused; report the message's text as a bug",
        "카카오가 메시지 템플릿이나 매개변수를 거절했습니다. 메시지 내용을 버그로 제보해 주세요",
    ),
    "-6": Both(
        f"this action is not allowed; check the app's permissions at {_SITE}",
        f"허용되지 않은 동작입니다. {_SITE}에서 앱의 권한을 확인해 주세요",
    ),
    "-8": Both(
        "a request header was refused; please report it as a bug of notifybot",
        "요청 헤더가 거절되었습니다. notifybot의 버그로 제보해 주세요",
    ),
    "-9": Both("this API was discontinued; update notifybot", "종료된 API입니다. notifybot을 업데이트해 주세요"),
    "-3": Both(
        f"the app may not ask for it; turn on {_CONSENT} → {{places}}, then {_AGAIN.en}",
        f"앱에서 동의항목이 꺼져 있습니다. {_CONSENT} → {{places}} 항목을 켠 뒤 {_AGAIN.ko}",
    ),
    "-4": Both(
        "the Kakao account is blocked; ask Kakao's support", "차단된 카카오계정입니다. 카카오 고객센터에 문의해 주세요"
    ),
    "-5": Both(
        f"the app may not call this API; check its permissions at {_SITE}",
        f"앱에 이 API를 쓸 권한이 없습니다. {_SITE}에서 권한을 확인해 주세요",
    ),
    "-11": Both(
        f"the app's paid quota is used up; see the app's billing at {_SITE}",
        f"앱의 유료 한도를 모두 썼습니다. {_SITE}에서 결제 정보를 확인해 주세요",
    ),
    "-12": Both(
        f"Kakao blocked the app or its developer; see {_SITE}",
        f"카카오가 앱이나 개발자를 차단했습니다. {_SITE}에서 확인해 주세요",
    ),
    "-101": Both(
        f"the Kakao account is no longer connected to the app; {_AGAIN.en}",
        f"카카오계정과 앱의 연결이 끊겼습니다. {_AGAIN.ko}",
    ),
    "-103": Both(
        "the Kakao account is dormant or does not exist; sign in with another one: notifybot kakao login",
        "휴면 상태이거나 없는 카카오계정입니다. 다른 계정으로 로그인해 주세요: notifybot kakao login",
    ),
    "-401": Both(f"a fresh access token was refused; {_AGAIN.en}", f"새 액세스 토큰이 거절되었습니다. {_AGAIN.ko}"),
    "-402": Both(
        f"the person has not agreed to {{named}}; {_AGAIN.en}",
        f"{{named}} 항목에 동의하지 않았습니다. {_AGAIN.ko}",
    ),
    "-405": Both(
        "the Kakao account needs its age verified; do so in the KakaoTalk app",
        "연령 인증이 필요한 카카오계정입니다. 카카오톡 앱에서 인증해 주세요",
    ),
    "-406": Both(
        "Kakao allows no account of a person under 14 here; use another one",
        "14세 미만은 쓸 수 없습니다. 다른 계정을 써 주세요",
    ),
    "-501": Both(
        "the Kakao account does not use KakaoTalk; sign in with one that does: notifybot kakao login",
        "카카오톡을 쓰지 않는 계정입니다. 카카오톡을 쓰는 계정으로 로그인해 주세요: notifybot kakao login",
    ),
    "-502": Both(
        "the receiver is no friend of the sender (a new one is known to Kakao after a while), or its uuid changed; "
        "choose again: notifybot kakao friends",
        "받는 사람이 친구가 아니거나(새 친구는 카카오에 반영되는 데 시간이 걸립니다) uuid가 바뀌었습니다. "
        "다시 골라 주세요: notifybot kakao friends",
    ),
    "-504": Both(
        "the receiver's device cannot show such messages; choose another friend: notifybot kakao friends",
        "받는 사람의 기기에서 볼 수 없는 메시지입니다. 다른 친구를 골라 주세요: notifybot kakao friends",
    ),
    "-530": Both(
        "the receiver refuses messages; choose another friend: notifybot kakao friends",
        "받는 사람이 메시지 수신을 거부했습니다. 다른 친구를 골라 주세요: notifybot kakao friends",
    ),
    "-602": Both("a picture is too large", "그림이 너무 큽니다"),
    "-606": Both("too many pictures at once", "한 번에 올린 그림이 너무 많습니다"),
    "-911": Both("a picture of this kind is not taken", "받지 않는 그림 형식입니다"),
    "-903": Both(
        f"the app key belongs to an unregistered developer; see {_SITE}",
        f"등록되지 않은 개발자의 앱 키입니다. {_SITE}에서 확인해 주세요",
    ),
}  # fmt: skip

SIGN_IN = {
    "KOE003": _LATER,
    "KOE237": Both("too many attempts; wait a few minutes", "시도가 너무 많았습니다. 몇 분 뒤에 다시 시도해 주세요"),
    **dict.fromkeys(("KOE001", "KOE002", "KOE201", "KOE202", "KOE310"), _OUR_FAULT),
    "KOE004": Both(
        f"카카오 로그인 is off; turn it on at {_SITE}, [카카오 로그인] → 사용 설정",
        f"카카오 로그인이 꺼져 있습니다. {_SITE}의 [카카오 로그인] → 사용 설정을 켜 주세요",
    ),
    "KOE005": Both(
        f"the app is in test and this account is no member; add it at {_SITE}, [앱] → [멤버]",
        f"테스트 중인 앱인데 이 계정이 멤버가 아닙니다. {_SITE}의 [앱] → [멤버]에 추가해 주세요",
    ),
    "KOE006": Both(
        f"the redirect URI is not registered; add {{redirect_uri}} exactly so at {_SITE}, "
        f"{_KEY} → 카카오 로그인 리다이렉트 URI (not at the JavaScript key)",
        f"리다이렉트 URI가 등록되어 있지 않습니다. {_SITE}의 {_KEY} → 카카오 로그인 리다이렉트 URI에 "
        "{redirect_uri} 주소를 그대로 등록해 주세요 (JavaScript 키가 아닙니다)",
    ),
    "KOE008": _WRONG_KEY,
    "KOE009": Both(
        f"the app's platform is not registered; see {_SITE}, [앱] → [플랫폼 키]",
        f"앱의 플랫폼이 등록되어 있지 않습니다. {_SITE}의 [앱] → [플랫폼 키]를 확인해 주세요",
    ),
    "KOE010": Both(
        f"kakao_client_secret is missing or wrong; copy 클라이언트 시크릿 of the same key from {_SITE}, {_KEY} "
        "(it is on for new keys)",
        f"kakao_client_secret이 없거나 틀렸습니다. {_SITE}의 {_KEY}에서 같은 키의 클라이언트 시크릿을 복사해 주세요 "
        "(새로 만든 키는 처음부터 켜져 있습니다)",
    ),
    "KOE101": _WRONG_KEY,
    "KOE205": Both(
        f"{{scopes}} is not enabled for the app; turn it on at {_SITE}, {_CONSENT} → {{places}}",
        f"앱에서 {{scopes}} 동의항목이 꺼져 있습니다. {_SITE}의 {_CONSENT} → {{places}} 항목을 켜 주세요",
    ),
    "KOE303": Both(
        "the redirect URI is not the one that the login began with; begin again",
        "로그인을 시작할 때와 다른 리다이렉트 URI입니다. 처음부터 다시 해 주세요",
    ),
    "KOE319": Both(f"no refresh token was sent; {_AGAIN.en}", f"리프레시 토큰이 없습니다. {_AGAIN.ko}"),
    "KOE320": Both(
        "the code was used already or is too old (it lasts some minutes); open the address again",
        "이미 쓴 코드이거나 유효 시간(몇 분)이 지났습니다. 주소를 다시 열어 주세요",
    ),
    "KOE322": Both(
        f"the refresh token is expired or unknown; {_AGAIN.en}",
        f"리프레시 토큰이 만료되었거나 등록되지 않은 값입니다. {_AGAIN.ko}",
    ),
}  # fmt: skip

_OURS = {
    "ip": Both(
        "this machine's address is not allowed (-401); "
        f"empty 호출 허용 IP 주소 under {_KEY}, as Colab's addresses change",
        f"이 컴퓨터의 IP 주소가 허용되지 않았습니다(-401). {_KEY}의 호출 허용 IP 주소를 비워 주세요. "
        "Colab의 주소는 매번 바뀝니다",
    ),
    "refused": Both(
        f"the message was refused ({{named}}); look the code up at {_SITE}",
        f"메시지가 거절되었습니다({{named}}). {_SITE}에서 코드를 찾아 주세요",
    ),
    "no-friend": Both(
        "no friend is chosen; choose: notifybot kakao friends",
        "받을 친구를 고르지 않았습니다. 골라 주세요: notifybot kakao friends",
    ),
    "day-is-full": Both(
        "today's {limit} messages are sent; the next may go at midnight KST",
        "오늘 보낼 수 있는 {limit}건을 모두 보냈습니다. 한국 시각 자정부터 다시 보냅니다",
    ),
}  # fmt: skip

_ITSELF = {  # these name Kakao by themselves
    "slow-down": Both("Kakao asks to slow down ({named})", "카카오가 잠시 쉬었다 보내라고 합니다({named})"),
    "failing": Both("Kakao is failing ({named})", "카카오에 장애가 있습니다({named})"),
    "unknown-answer": Both(
        "Kakao answered something unknown ({named})", "카카오가 알 수 없는 응답을 했습니다({named})"
    ),
    "no-connection": Both("Kakao could not be reached", "카카오에 연결하지 못했습니다"),
    "no-answer": Both("Kakao did not answer in time", "카카오가 제시간에 응답하지 않았습니다"),
    "no-secure-connection": Both(
        "Kakao's certificate could not be verified; is there a proxy or a login page between?",
        "카카오의 인증서를 확인하지 못했습니다. 프록시나 로그인 페이지가 중간에 있는지 확인해 주세요",
    ),
    "broken": Both("the connection to Kakao broke ({kind})", "카카오와의 연결이 끊겼습니다({kind})"),
    "no-end": Both(
        "Kakao's answer broke off, or has no end", "카카오의 응답이 중간에 끊겼거나 끝나지 않습니다"
    ),
    "address": Both(
        "Kakao's address in the settings is malformed; correct NOTIFYBOT_KAKAO_API_URL and NOTIFYBOT_KAKAO_AUTH_URL",
        "설정에 있는 카카오 주소의 형식이 잘못되었습니다. "
        "NOTIFYBOT_KAKAO_API_URL과 NOTIFYBOT_KAKAO_AUTH_URL을 고쳐 주세요",
    ),
    "locked": Both(
        "another job holds {path} for too long", "다른 작업이 {path} 파일을 너무 오래 잡고 있습니다"
    ),
}  # fmt: skip

_OURS_SIGNING_IN = {
    "sign-in-failing": Both("it is failing ({named})", "장애가 있습니다({named})"),
    "sign-in-refused": Both(
        f"it refused to refresh ({{named}}); {_AGAIN.en}", f"갱신을 거절했습니다({{named}}). {_AGAIN.ko}"
    ),
    "sign-in-unknown": Both("it answered something unknown ({named})", "알 수 없는 응답을 했습니다({named})"),
    "already-expired": Both(
        "it gave a token that is already expired; is this machine's clock right?",
        "이미 만료된 토큰을 받았습니다. 이 컴퓨터의 시계가 맞는지 확인해 주세요",
    ),
    "no-token": Both(
        f"{{path}} holds no token for this kakao_rest_api_key; {_AGAIN.en}",
        f"{{path}} 파일에 이 kakao_rest_api_key의 토큰이 없습니다. {_AGAIN.ko}",
    ),
    "no-refresh-token": Both("it gave no refresh token", "리프레시 토큰을 주지 않았습니다"),
    "rotation-lost": Both(
        "a renewal that began at {since} was cut off before its answer was stored (the program was killed, or the "
        f"connection broke), and Kakao no longer takes the old refresh token (KOE322); {_AGAIN.en}",
        "{since}에 시작한 갱신이 카카오의 응답을 저장하기 전에 중단되어(프로그램이 강제로 종료되었거나 연결이 "
        f"끊겼습니다) 이전 리프레시 토큰을 더 쓸 수 없습니다(KOE322). {_AGAIN.ko}",
    ),
}  # fmt: skip

KAKAO_CODES = (*API, *SIGN_IN, *_OURS, *_ITSELF, *_OURS_SIGNING_IN)

RENEWING = "renewal/"  # before the code of what went wrong while a login was renewed
_NOT_RENEWED = Both("the Kakao login could not be renewed: {why}", "카카오 로그인을 갱신하지 못했습니다: {why}")
_MESSAGE = Both("KakaoTalk: ", "카카오톡: ")
_LOGIN = Both("Kakao login: ", "카카오 로그인: ")
_UNKNOWN = Both(f"look the code up at {_SITE}", f"{_SITE}에서 코드를 찾아 주세요")
_REDIRECT_URI = Both("the redirect URI", "리다이렉트 URI")


def filled_in(values: Mapping[str, str], language: Language) -> dict[str, str]:
    """What the texts name: the redirect URI, and the scopes ("talk_message, friends") with where the console has them.

    What a scope is called stands there in Korean alone.
    """
    given = {"redirect_uri": _REDIRECT_URI.in_(language), "scopes": "talk_message", **values}
    known = [(scope, *_SCOPES[scope]) for scope in given["scopes"].split(", ") if scope in _SCOPES]
    places = ", ".join(f"{section} {name} ({scope})" for scope, section, name in known)
    return {"places": places, "named": ", ".join(f"{name} ({scope})" for scope, _, name in known), **given}


def kakao_line(code: str, values: Mapping[str, str], language: Language) -> str:
    """An error in one line: what it means, the way out, and Kakao's own code to search for."""
    if code.startswith(RENEWING):
        why = kakao_line(code.removeprefix(RENEWING), values, language)
        return _NOT_RENEWED.told(language, {"why": why})
    found = API.get(code) or SIGN_IN.get(code)
    itself = _ITSELF.get(code)
    ours = itself or _OURS.get(code) or _OURS_SIGNING_IN.get(code)
    if found is None and code.startswith("KOE"):
        ours = _OURS_SIGNING_IN["sign-in-refused"]
    said = (found or ours or _UNKNOWN).told(language, filled_in(values, language))
    named = "" if ours else f"({', '.join(filter(None, (code, values.get('http'))))})"
    signing_in = code.startswith("KOE") or code in _OURS_SIGNING_IN
    opening = "" if itself else (_LOGIN if signing_in else _MESSAGE).in_(language)
    return f"{opening}{said} {named}".rstrip()
