"""KakaoTalk's login, asked of Kakao without a message: who it is, what it may do, how long it holds."""

from __future__ import annotations

from datetime import datetime, timedelta

from notifybot.clock import Clock
from notifybot.config import Config
from notifybot.doctor import kakao_words as words
from notifybot.doctor.findings import Finding, Level, note, ok, wrong
from notifybot.doctor.machine import unusable
from notifybot.errors import ConfigError, DeliveryError
from notifybot.notifiers.kakao import Credentials, credentials_from, token_file_of
from notifybot.notifiers.kakao.api import Api
from notifybot.notifiers.kakao.button_domains import LIVES_AT, button_sites, is_out_of_reach
from notifybot.notifiers.kakao.http import LOGIN_ENDED, KakaoRefused
from notifybot.notifiers.kakao.message import DEFAULT_LINK
from notifybot.notifiers.kakao.notifier import destination_of
from notifybot.notifiers.kakao.quota import PAIR_LIMIT, Quota
from notifybot.notifiers.kakao.token_store import Account, Mode, TokenFile
from notifybot.notifiers.kakao.tokens import ROTATES_WITHIN
from notifybot.rendering.both import Both

PART = "KakaoTalk"
_SOON = timedelta(days=14)
_SCOPES_PATH = "/v2/user/scopes"
_NUMBERS = {"ip": "-401", "rotation-lost": LOGIN_ENDED}  # as Kakao numbers what has a word of ours


def examine(config: Config, clock: Clock) -> list[Finding]:
    """How the login stands: a refresh token lives about 60 days, and is renewed by runs in its last month."""
    try:
        credentials = credentials_from(config, clock=clock)
    except ConfigError:
        return [_half(config)]
    if credentials is None:
        return [note(PART, _NOT_SET_UP, _TO_SET_UP)]
    path = token_file_of(config)
    why = unusable(path.parent)
    if why:  # what Kakao may issue now could not be kept, and nobody else has it
        return [wrong(PART, _CANNOT_KEEP.filled(path=path, why=why), _CHOOSE_FILE)]
    with Api(credentials, path, api_url=config.kakao_api_url, auth_url=config.kakao_auth_url, clock=clock) as api:
        found = Login(api, config, credentials, clock).findings()
    return found if any(each.verdict is Level.WRONG for each in found) else [*found, *_buttons(config)]


def _half(config: Config) -> Finding:
    """What is missing of settings that mean nothing alone."""
    if config.kakao_rest_api_key is not None:
        return wrong(PART, _NEVER_SIGNED_IN.filled(path=token_file_of(config)), _SIGN_IN_ONCE)
    given = ("kakao_refresh_token", "kakao_client_secret", "kakao_token_file")
    name = next(each for each in given if getattr(config, each) is not None)
    return wrong(PART, _NO_KEY.filled(name=f"NOTIFYBOT_{name.upper()}"), _SIGN_IN_ONCE)


class Login:
    """One login, as Kakao tells of it."""

    def __init__(self, api: Api, config: Config, credentials: Credentials, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._path = token_file_of(config)
        stored = TokenFile(self._path, clock).load()
        self._stored = stored if stored and credentials.own(stored) else None

    def findings(self) -> list[Finding]:
        """Everything that can be known of the login; what depends on a fault is left out."""
        ended = self._ended()
        if ended is not None:
            return [ended]
        try:
            self._prove()
            number = self._api.user_id()
            missing = self._missing_scopes()
        except DeliveryError as error:
            return [explain(error)]
        works = ok(PART, _WORKS.filled(number=number or "?"))
        return [works, self._age(), *missing, *self._receivers()]

    def _prove(self) -> None:
        """Have a refresh token show that it is good. An access token proves nothing of it, and lives for hours.

        Not in the last month: each use brings a new one then, so as long as an access token holds, that has to do.
        """
        known = self._stored
        token = self._api.tokens.access_token()
        if known is None or known.access_token is None or known.access_token.get_secret_value() != token:
            return  # it was renewed just now
        ends = known.refresh_expires_at
        if ends is not None and ends - self._clock.now() > ROTATES_WITHIN:
            self._api.tokens.renewed(token)

    def _ended(self) -> Finding | None:
        """The end of a login that needs no question. Kakao said it when the login began."""
        ends = self._stored.refresh_expires_at if self._stored else None
        if ends is None or ends > self._clock.now():
            return None
        return wrong(PART, _EXPIRED.filled(until=_day(ends)), words.SIGN_IN)

    def _age(self) -> Finding:
        ends = self._api.tokens.refresh_expires_at
        if ends is None:
            return ok(PART, _UNDATED)
        if ends - self._clock.now() < _SOON:
            return note(PART, _ENDS_SOON.filled(until=_day(ends)), _RENEW)
        return ok(PART, _HOLDS.filled(until=_day(ends)))

    def _missing_scopes(self) -> list[Finding]:
        """What the login may not do. Nothing is said where Kakao's answer is none of the known form."""
        reply = self._api.get(_SCOPES_PATH)
        listed = reply.body.get("scopes") if reply.status == 200 else None
        if not isinstance(listed, list):
            return []
        scopes = {each.get("id"): each for each in listed if isinstance(each, dict)}
        account = self._api.tokens.account
        needed = (account.mode if account else Mode.MEMO).scopes
        off = [name for name in needed if scopes.get(name, {"using": False}).get("using") is False]
        unticked = [name for name in needed if name not in off and scopes[name].get("agreed") is False]
        found = [(_OFF, "KOE205", off), (_UNTICKED, "unticked", unticked)]
        return [
            wrong(PART, what.filled(scopes=", ".join(names)), words.remedy_for(code, scopes=", ".join(names)))
            for what, code, names in found
            if names
        ]

    def _receivers(self) -> list[Finding]:
        """Where messages go, and whether any may go today."""
        account: Account | None = self._api.tokens.account
        receivers = destination_of(account).receivers
        if not receivers:
            return [wrong(PART, _NOBODY, _CHOOSE_FRIENDS)]
        if Quota(self._path, self._clock).left(self._api.tokens.client, receivers) > 0:
            return []
        return [note(PART, _NONE_LEFT.filled(most=PAIR_LIMIT))]


def explain(error: DeliveryError) -> Finding:
    """What a refusal of Kakao's means to a person, and the way out."""
    if isinstance(error, KakaoRefused):
        code = error.values.get("named") or _NUMBERS.get(error.code, error.code)
        return wrong(PART, words.REFUSED.filled(code=code), words.remedy_for(error.code, error.values))
    return wrong(PART, words.unreachable(error), words.TRY_AGAIN)


def _buttons(config: Config) -> list[Finding]:
    """Where a tap leads. Whether that site is registered with the app, Kakao tells nobody."""
    sites = button_sites(config)
    shown = ", ".join(sites)
    if is_out_of_reach(sites[0]):
        return [note(PART, _OUT_OF_REACH.filled(site=shown), _REACHABLE)]
    if sites == (DEFAULT_LINK,):
        return [note(PART, _NO_PAGE, _GIVE_A_PAGE.filled(place=LIVES_AT))]
    return [note(PART, _LEADS_TO.filled(site=shown), _REGISTER.filled(place=LIVES_AT))]


def _day(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d}"


_NOT_SET_UP = Both("KakaoTalk is not set up", "카카오톡이 설정되어 있지 않습니다")
_TO_SET_UP = Both(
    "to be told there: notifybot kakao login", "카카오톡으로 알림을 받으려면 notifybot kakao login을 실행하세요"
)
_NEVER_SIGNED_IN = Both(
    "NOTIFYBOT_KAKAO_REST_API_KEY is set, but nobody has signed in with it: {path} holds no login of this app",
    "NOTIFYBOT_KAKAO_REST_API_KEY는 있지만 로그인한 적이 없습니다. {path}에 이 앱의 로그인이 없습니다",
)
_NO_KEY = Both(
    "{name} is set, but NOTIFYBOT_KAKAO_REST_API_KEY is not, and nobody has signed in",
    "{name}은(는) 있지만 NOTIFYBOT_KAKAO_REST_API_KEY가 없고 로그인한 적도 없습니다",
)
_SIGN_IN_ONCE = Both("sign in once: notifybot kakao login", "한 번 로그인하세요: notifybot kakao login")
_CANNOT_KEEP = Both(
    "the login was not tried: a renewed one could not be kept in {path} ({why})",
    "로그인을 확인하지 못했습니다. 갱신된 로그인을 {path}에 저장할 수 없습니다({why})",
)
_CHOOSE_FILE = Both(
    "make its folder writable, or name another file with NOTIFYBOT_KAKAO_TOKEN_FILE",
    "폴더에 쓰기 권한을 주거나 NOTIFYBOT_KAKAO_TOKEN_FILE로 다른 파일을 지정하세요",
)
_WORKS = Both("Kakao knows the login: account {number}", "카카오가 로그인을 확인했습니다: 계정 {number}")
_UNDATED = Both(
    "until when it holds Kakao has not told: a configured refresh token lasts about 60 days from its issue",
    "만료일은 카카오가 알려 주지 않았습니다. 직접 설정한 리프레시 토큰은 발급하고 약 60일 동안 유효합니다",
)
_EXPIRED = Both("the login ended on {until}", "로그인이 {until}에 만료되었습니다")
_ENDS_SOON = Both("the login ends on {until}", "로그인이 {until}에 만료됩니다")
_RENEW = Both(
    "any training before then renews it; else sign in again: notifybot kakao login",
    "그 전에 학습을 한 번이라도 실행하면 연장됩니다. 아니면 다시 로그인하세요: notifybot kakao login",
)
_HOLDS = Both("the login holds until {until}", "로그인이 {until}까지 유효합니다")
_OFF = Both("the app may not ask for {scopes}", "앱에서 {scopes} 동의항목이 꺼져 있습니다")
_UNTICKED = Both("{scopes} was not agreed to", "{scopes} 항목에 동의하지 않았습니다")
_NOBODY = Both("no friend is chosen to receive messages", "메시지를 받을 친구를 고르지 않았습니다")
_CHOOSE_FRIENDS = Both("choose: notifybot kakao friends --choose 1", "고르세요: notifybot kakao friends --choose 1")
_NONE_LEFT = Both(
    "today's {most} messages are sent; what comes now waits for midnight in Korea",
    "오늘 보낼 수 있는 {most}건을 모두 보냈습니다. 새 메시지는 자정(한국 시각)까지 기다립니다",
)
_LEADS_TO = Both("a message's button opens {site}", "메시지 버튼은 {site} 사이트를 엽니다")
_REGISTER = Both(
    "if a tap opens nothing, that site is not registered with the app: add it at developers.kakao.com, {place}",
    "눌러도 열리지 않으면 등록되지 않은 사이트입니다. developers.kakao.com의 {place}에 추가하세요",
)
_NO_PAGE = Both(
    f"a message's button has no page of yours to open, and leads to {DEFAULT_LINK}",
    f"메시지 버튼이 열 페이지가 없어 {DEFAULT_LINK} 주소로 연결됩니다",
)
_GIVE_A_PAGE = Both(
    "set NOTIFYBOT_LINK_URL, a watchdog or W&B, and register that site at developers.kakao.com, {place}",
    "NOTIFYBOT_LINK_URL이나 감시 서버, W&B를 설정하고 그 사이트를 developers.kakao.com의 {place}에 등록하세요",
)
_OUT_OF_REACH = Both(
    "a message's button opens {site}, which a phone does not reach from everywhere",
    "메시지 버튼이 여는 {site} 주소는 휴대폰에서 열리지 않을 수 있습니다",
)
_REACHABLE = Both(
    "set NOTIFYBOT_LINK_URL to a page that it reaches, and register its site with the app",
    "NOTIFYBOT_LINK_URL을 휴대폰에서 열 수 있는 페이지로 설정하고 그 사이트를 앱에 등록하세요",
)
