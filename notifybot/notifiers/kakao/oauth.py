"""The steps of Kakao's login, one by one: the address to open, the answer that comes back, the tokens for it.

There is no device flow, so the answer comes to a redirect URI on the person's own machine: to a listener there, or
into an address bar to copy from. https://developers.kakao.com/docs/ko/kakaologin/rest-api
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qs, urlencode, urlsplit

from pydantic import SecretStr

from notifybot.errors import ConfigError, DeliveryError
from notifybot.i18n import text
from notifybot.notifiers.kakao.http import FormClient, Reply
from notifybot.rendering.error_text import KAKAO_SIGN_IN, kakao_error, kakao_values
from notifybot.types import Language

REDIRECT_URI = "http://localhost:8765/callback"
AUTHORIZE_PATH = "/oauth/authorize"
TOKEN_PATH = "/oauth/token"  # noqa: S105 - a path
_CODE_OF_KAKAO = re.compile(r"KOE\d{3}")
_LONGEST_ANSWER = 8192
_OWN_CODES = ("access_denied", "state", "address", "early", "unticked", "same_account", "no_friend")
SETUP_CODES = frozenset({*KAKAO_SIGN_IN, *_OWN_CODES}) - {"KOE003", "KOE237"}


class SignInRefused(ConfigError):
    """A sign-in failed. `code` is Kakao's, such as KOE006, or our own."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the Kakao sign-in was refused ({code})")
        self.code = code


def remedy(code: str, language: Language, *, redirect_uri: str = "", scopes: str = "talk_message") -> str:
    """Return the remedy for Kakao's or our own code: one or two sentences without a final full stop."""
    values = {"scopes": scopes} | ({"redirect_uri": redirect_uri} if redirect_uri else {})
    if code in KAKAO_SIGN_IN:
        return kakao_error(code, values, language)
    known = code if code in _OWN_CODES else "unknown"
    return text(language, f"kakao.sign_in.{known}", **kakao_values(values, language))


def explained(code: str, language: Language, *, redirect_uri: str = "", scopes: str = "talk_message") -> str:
    """The remedy as a line to show, after the code where it is one of Kakao's."""
    line = remedy(code, language, redirect_uri=redirect_uri, scopes=scopes)
    return f"{code}: {line}." if code.startswith("KOE") else f"{line[0].upper()}{line[1:]}."


@dataclass(frozen=True, slots=True)
class App:
    """The app at Kakao, as far as a sign-in needs it. The redirect URI must be registered there exactly so."""

    rest_api_key: SecretStr
    client_secret: SecretStr | None = None
    redirect_uri: str = REDIRECT_URI


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to sign in. `state` comes back with the answer; `fresh` makes Kakao ask which account it is."""

    app: App
    scopes: tuple[str, ...]
    state: str
    fresh: bool = False

    @classmethod
    def begin(cls, app: App, scopes: tuple[str, ...], *, fresh: bool = False) -> Attempt:
        """Start an attempt with an unguessable `state`."""
        return cls(app, scopes, secrets.token_urlsafe(24), fresh)

    @property
    def query(self) -> dict[str, str]:
        """Query parameters of the authorization request."""
        asked = {
            "client_id": self.app.rest_api_key.get_secret_value(),
            "redirect_uri": self.app.redirect_uri,
            "response_type": "code",
            "scope": ",".join(self.scopes),
            "state": self.state,
        }
        return asked | ({"prompt": "login"} if self.fresh else {})

    def address(self, auth_url: str) -> str:
        """The page to open in a browser."""
        return f"{auth_url.rstrip('/')}{AUTHORIZE_PATH}?{urlencode(self.query)}"


def precheck_error(auth: FormClient, attempt: Attempt) -> str | None:
    """The code of the page that the browser would show instead of the login; None if it would show none.

    A look without cookies. What it cannot see (a proxy between, a page in another form) the browser will show.
    """
    try:
        status, text = auth.page(AUTHORIZE_PATH, attempt.query)
    except DeliveryError:
        return None
    found = _CODE_OF_KAKAO.search(text) if status >= 300 else None
    return found.group() if found else None


def code_in(answer: str, attempt: Attempt) -> SecretStr:
    """The authorization code in an address that a person pasted, or that a browser asked for.

    Raises SignInRefused: for a code of Kakao's error page typed instead, a state that is not ours, half an address.
    """
    text = "".join(answer[:_LONGEST_ANSWER].split()).strip("\"'<>`")
    host, query = "", dict[str, list[str]]()
    with suppress(ValueError):  # no address at all
        parts = urlsplit(text)
        host = parts.hostname or ""
        query = parse_qs(parts.query or text, keep_blank_values=True)  # browsers hide what stands before a query
    at_kakao = "client_id" in query or host.endswith("kakao.com")
    shown = (_CODE_OF_KAKAO.search if at_kakao else _CODE_OF_KAKAO.fullmatch)(text.upper())
    if shown:
        raise SignInRefused(shown.group())
    if at_kakao:
        raise SignInRefused("early")
    state, code, error = (query.get(name, []) for name in ("state", "code", "error"))
    if len(state) != 1 or len(code) + len(error) != 1:
        raise SignInRefused("address")
    if not secrets.compare_digest(state[0].encode(), attempt.state.encode()):
        raise SignInRefused("state")
    if error:
        raise SignInRefused(error[0] if error[0] == "access_denied" else "unknown")
    return SecretStr(code[0])


def tokens_for(auth: FormClient, attempt: Attempt, code: SecretStr) -> Reply:
    """Exchange a code for tokens. Raises SignInRefused; a DeliveryError where Kakao cannot be asked."""
    app = attempt.app
    fields = {
        "grant_type": "authorization_code",
        "client_id": app.rest_api_key.get_secret_value(),
        "redirect_uri": app.redirect_uri,
        "code": code.get_secret_value(),
    }
    secret = {"client_secret": app.client_secret.get_secret_value()} if app.client_secret else {}
    reply = auth.post(TOKEN_PATH, fields | secret)
    if reply.status != 200:
        raise SignInRefused(reply.text("error_code") or ("KOE003" if reply.status >= 500 else "unknown"))
    granted = reply.text("scope").replace(",", " ").split()
    if "scope" in reply.body and not set(attempt.scopes) <= set(granted):
        raise SignInRefused("unticked")
    return reply
