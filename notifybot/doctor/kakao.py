"""Examination of the KakaoTalk login without sending a message: account, consents, expiry, receivers, button links."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from notifybot.clock import Clock
from notifybot.config import Config
from notifybot.doctor.findings import Finding, Level, note, ok, wrong
from notifybot.doctor.machine import unusable
from notifybot.errors import ConfigError, DeliveryError
from notifybot.i18n import Localized, localized
from notifybot.notifiers.kakao import Credentials, credentials_from, open_api, token_file_of
from notifybot.notifiers.kakao.api import ROTATES_WITHIN, Api
from notifybot.notifiers.kakao.button_domains import LIVES_AT, button_sites, is_out_of_reach
from notifybot.notifiers.kakao.http import LOGIN_ENDED, KakaoRefused
from notifybot.notifiers.kakao.message import DEFAULT_LINK
from notifybot.notifiers.kakao.notifier import destination_of
from notifybot.notifiers.kakao.oauth import remedy
from notifybot.notifiers.kakao.quota import PAIR_LIMIT, Quota
from notifybot.notifiers.kakao.token_store import Account, Mode, TokenFile
from notifybot.rendering.error_text import KAKAO_API, error_line, kakao_error, kakao_line
from notifybot.types import Language

PART = "KakaoTalk"
_SOON = timedelta(days=14)
_SCOPES_PATH = "/v2/user/scopes"
_NUMBERS = {"ip": "-401", "rotation-lost": LOGIN_ENDED}  # our codes, by Kakao's numbers for them


def examine(config: Config, clock: Clock) -> list[Finding]:
    """Return the findings on the login: a refresh token lives about 60 days, and runs renew it in its last month."""
    try:
        credentials = credentials_from(config, clock=clock)
    except ConfigError:
        return [_half(config)]
    if credentials is None:
        return [note(PART, "doctor.kakao.not_set_up", "doctor.kakao.set_it_up")]
    path = token_file_of(config)
    why = unusable(path.parent)
    if why:  # a token that Kakao issued now could not be stored, and would be lost
        return [
            wrong(PART, "doctor.kakao.login_cannot_be_kept", "doctor.kakao.choose_another_file", path=path, why=why)
        ]
    with open_api(config, credentials, clock=clock) as api:
        found = Login(api, config, credentials, clock).findings()
    return found if any(each.verdict is Level.WRONG for each in found) else [*found, *_buttons(config)]


def _half(config: Config) -> Finding:
    """Return a finding that names the setting missing beside those that are given."""
    if config.kakao_rest_api_key is not None:
        return wrong(PART, "doctor.kakao.never_signed_in", "doctor.kakao.sign_in_once", path=token_file_of(config))
    given = ("kakao_refresh_token", "kakao_client_secret", "kakao_token_file")
    name = next(f"NOTIFYBOT_{each.upper()}" for each in given if getattr(config, each) is not None)
    return wrong(PART, "doctor.kakao.no_rest_api_key", "doctor.kakao.sign_in_once", name=name)


class Login:
    """Examination of one login by questions to Kakao."""

    def __init__(self, api: Api, config: Config, credentials: Credentials, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._path = token_file_of(config)
        stored = TokenFile(self._path, clock).load()
        self._stored = stored if stored and credentials.own(stored) else None

    def findings(self) -> list[Finding]:
        """Return all findings on the login; those that depend on a fault are left out."""
        ends = self._stored.refresh_expires_at if self._stored else None
        if ends is not None and ends <= self._clock.now():  # which is known: Kakao gave the end when the login began
            return [wrong(PART, "doctor.kakao.login_ended", "doctor.kakao.sign_in_again", until=_day(ends))]
        try:
            self._prove()
            number = self._api.user_id()
            missing = self._missing_scopes()
        except DeliveryError as error:
            return [explain(error)]
        works = ok(PART, "doctor.kakao.login_works", number=number or "?")
        return [works, self._age(), *missing, *self._receivers()]

    def _prove(self) -> None:
        """Use the refresh token to prove it valid. An access token proves nothing about it, and lives for hours.

        Not in the last month: each use brings a new one then, so as long as an access token holds, that has to do.
        """
        known = self._stored
        token = self._api.tokens.access_token()
        if known is None or known.access_token is None or known.access_token.get_secret_value() != token:
            return  # it was renewed just now
        ends = known.refresh_expires_at
        if ends is not None and ends - self._clock.now() > ROTATES_WITHIN:
            self._api.tokens.renewed(token)

    def _age(self) -> Finding:
        ends = self._api.tokens.refresh_expires_at
        if ends is None:
            return ok(PART, "doctor.kakao.end_is_not_known")
        if ends - self._clock.now() < _SOON:
            return note(PART, "doctor.kakao.login_ends", "doctor.kakao.renew_it", until=_day(ends))
        return ok(PART, "doctor.kakao.login_holds", until=_day(ends))

    def _missing_scopes(self) -> list[Finding]:
        """Return a finding for each missing consent; none where Kakao's answer has an unknown form."""
        reply = self._api.get(_SCOPES_PATH)
        listed = reply.body.get("scopes") if reply.status == 200 else None
        if not isinstance(listed, list):
            return []
        scopes = {each.get("id"): each for each in listed if isinstance(each, dict)}
        account = self._api.tokens.account
        needed = (account.mode if account else Mode.MEMO).scopes
        off = [name for name in needed if scopes.get(name, {"using": False}).get("using") is False]
        unticked = [name for name in needed if name not in off and scopes[name].get("agreed") is False]
        found = [
            ("doctor.kakao.scopes_are_off", "KOE205", ", ".join(off)),
            ("doctor.kakao.scopes_not_agreed_to", "unticked", ", ".join(unticked)),
        ]
        return [wrong(PART, key, remedy_for(code, scopes=names), scopes=names) for key, code, names in found if names]

    def _receivers(self) -> list[Finding]:
        """Return a finding when there is no receiver, or when today's quota is used up."""
        account: Account | None = self._api.tokens.account
        receivers = destination_of(account).receivers
        if not receivers:
            return [wrong(PART, "doctor.kakao.no_friend_is_chosen", "doctor.kakao.choose_friends")]
        if Quota(self._path, self._clock).left(self._api.tokens.client, receivers) > 0:
            return []
        return [note(PART, "doctor.kakao.none_left_today", most=PAIR_LIMIT)]


def explain(error: DeliveryError) -> Finding:
    """Return a finding on a refusal of Kakao's: its meaning and the remedy."""
    if isinstance(error, KakaoRefused):
        code = error.values.get("named") or _NUMBERS.get(error.code, error.code)
        return wrong(PART, "doctor.kakao.login_is_refused", remedy_for(error.code, error.values), code=code)

    def why(language: str) -> str:
        return error_line(error, Language(language))

    return wrong(PART, "doctor.kakao.could_not_be_asked", "doctor.kakao.check_the_network", error=why)


def remedy_for(code: str, values: Mapping[str, str] | None = None, *, scopes: str = "talk_message") -> Localized:
    """Return the remedy for a code of the login (KOE…) or the API (-…), or for one of notifybot's own codes."""

    def line(spoken: str) -> str:
        language = Language(spoken)
        if code in KAKAO_API:
            return kakao_error(code, {"scopes": scopes, **(values or {})}, language)
        if code.startswith("KOE") or code == "unticked":
            return remedy(code, language, scopes=scopes)
        return kakao_line(code, values or {}, language)

    return localized("doctor.as_it_is", text=line)


def _buttons(config: Config) -> list[Finding]:
    """Return a finding on the site that a button opens. No call of Kakao's says which sites its app has registered."""
    sites = button_sites(config)
    shown = ", ".join(sites)
    if is_out_of_reach(sites[0]):
        return [note(PART, "doctor.kakao.button_is_out_of_reach", "doctor.kakao.set_a_reachable_page", site=shown)]
    if sites == (DEFAULT_LINK,):
        remedy = localized("doctor.kakao.give_a_page", place=LIVES_AT)
        return [note(PART, "doctor.kakao.button_has_no_page", remedy, site=DEFAULT_LINK)]
    remedy = localized("doctor.kakao.register_the_site", place=LIVES_AT)
    return [note(PART, "doctor.kakao.button_opens", remedy, site=shown)]


def _day(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d}"
