"""State of the pretended Kakao: one app, one account, its tokens, the messages it was sent, and the counts.

Shapes and texts follow the test fixtures of Kakao's own SDK (github.com/kakao/kakao_flutter_sdk, test_resources) and
developers.kakao.com/docs. The attributes are the knobs: set them at any time.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any
from urllib.parse import urlsplit

from notifybot.clock import Clock
from notifybot.sandbox.http import Request, Response

REST_API_KEY = "kakao-canary-rest-api-key"
CLIENT_SECRET = "kakao-canary-client-secret"  # noqa: S105 - a canary: tests search for it in logs
REFRESH_TOKEN = "kakao-canary-refresh-token"  # noqa: S105
REDIRECT_URI = "https://localhost"
MYSELF = "me"
KST = timezone(timedelta(hours=9), "KST")


@dataclass
class KakaoMessage:
    """A message that arrived in a chat room. `pushed`: the phone rang. `link_dead`: a tap leads nowhere."""

    at: datetime
    text: str
    template: dict[str, Any]
    ok: bool = True
    pushed: bool = False
    link_dead: bool = False
    truncated: bool = False
    receiver: str = "me"


@dataclass
class KakaoFault:
    """Wrong answer for the next `times` requests to a path with `path` in it.

    `code` is a number of the API (-1, -7, -10, -9798, …) or a code of the login ("KOE003"); -603 comes after the
    message was delivered. Without a code, `status` and `body` are sent as they stand: an empty 502, a 200 with HTML.
    """

    code: int | str | None = None
    path: str = ""
    times: int = 1
    status: int = 0
    body: bytes = b""


@dataclass
class Grant:
    """A token that was given out. `account` is `MYSELF` or a friend's uuid."""

    scopes: frozenset[str]
    expires_at: datetime
    account: str = MYSELF


@dataclass
class Code:
    """An authorization code: good once, for one redirect address."""

    redirect_uri: str
    scopes: frozenset[str]
    expires_at: datetime
    account: str = MYSELF


@dataclass
class Friend:
    """A friend of the account. The list shows who `agreed`: signed in to the app once and ticked `friends`."""

    uuid: str
    nickname: str
    refuses: bool = False
    agreed: bool = True


@dataclass
class KakaoWorld:
    """The state, all of it open to tests."""

    clock: Clock
    # the app, as its console pages would show it
    rest_api_key: str = REST_API_KEY
    client_secret: str | None = None  # if set, it is required, as for keys made since December 2025
    client_secret_status: int = 401  # some people report 400
    redirect_uris: set[str] = field(default_factory=lambda: {REDIRECT_URI, "http://localhost:8765/callback"})
    domains: set[str] = field(default_factory=lambda: {"https://developers.kakao.com"})
    login_on: bool = True
    enabled_scopes: set[str] = field(default_factory=lambda: {"talk_message", "friends"})
    ip_allowed: bool = True
    # the person
    user_id: int = 2043789651
    app_id: int = 1043126
    linked: bool = True
    denies: bool = False
    unticked: set[str] = field(default_factory=set)  # scopes that the person leaves unticked while agreeing to the rest
    browser_account: str = MYSELF  # who is signed in to Kakao in the browser: this account, or a friend by uuid
    friends: list[Friend] = field(default_factory=list)
    old_refresh_token_survives: bool = False  # False: a refresh that brings a new token ends the old one
    # how Kakao behaves where its documents leave it open
    strict_text: bool = True  # False: a text over 200 is accepted and cut
    memo_counts_as_pair: bool = True
    access_lives_s: float = 21599.0
    refresh_lives_s: float = 5183999.0
    rotates_below_s: float = 30 * 86400.0
    code_lives_s: float = 600.0
    sender_limit: int = 100
    receiver_limit: int = 100
    pair_limit: int = 20
    app_limit: int = 30_000
    image_limit_bytes: int = 5 * 1024 * 1024
    day_zone: tzinfo = KST
    # what happened
    faults: list[KakaoFault] = field(default_factory=list)
    messages: list[KakaoMessage] = field(default_factory=list)
    images: list[bytes] = field(default_factory=list)
    access_tokens: dict[str, Grant] = field(default_factory=dict)
    refresh_tokens: dict[str, Grant] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    refreshes: int = 0
    sent_by_day: Counter[tuple[str, str]] = field(default_factory=Counter)  # (day, name of the count)
    _issued: int = 0

    def __post_init__(self) -> None:
        self.refresh_tokens[REFRESH_TOKEN] = self.grant(frozenset({"talk_message"}), self.refresh_lives_s)

    def grant(self, scopes: frozenset[str], lives_s: float, account: str = MYSELF) -> Grant:
        """A token's rights from now on."""
        return Grant(scopes, self.clock.now() + timedelta(seconds=lives_s), account)

    def number_of(self, account: str) -> int:
        """Kakao's number of an account."""
        uuids = [friend.uuid for friend in self.friends]
        return self.user_id + (uuids.index(account) + 1 if account in uuids else 0)

    def name_for(self, kind: str) -> str:
        """A fresh value for a token or code; the same ones in the same order every time."""
        self._issued += 1
        return f"kakao-canary-{kind}-{self._issued}"

    def used_up(self, receiver: str, *, pair: bool) -> int | None:
        """The code of the first daily limit that one more message would break."""
        limits = [("app", self.app_limit, -10), ("sender", self.sender_limit, -532)]
        limits += [(f"receiver {receiver}", self.receiver_limit, -533)]
        limits += [(f"pair {receiver}", self.pair_limit, -536)] if pair else []
        return next((code for what, limit, code in limits if self.sent_today(what) >= limit), None)

    def sent_today(self, what: str) -> int:
        """The count of today: "app", "sender", "receiver NAME" or "pair NAME"; the memo's receiver is "me"."""
        return self.sent_by_day[(self._day(), what)]

    def deliver(self, message: KakaoMessage) -> None:
        """Put a message into its room and count it."""
        self.messages.append(message)
        for what in ("app", "sender", f"receiver {message.receiver}", f"pair {message.receiver}"):
            self.sent_by_day[(self._day(), what)] += 1

    def leads_nowhere(self, template: dict[str, Any]) -> bool:
        """True when a link of the template is on a domain that the app has not registered."""
        parts = map(urlsplit, _web_urls(template))
        return not all(f"{each.scheme}://{each.netloc}" in self.domains for each in parts)

    def _day(self) -> str:
        return self.clock.now().astimezone(self.day_zone).date().isoformat()


def _web_urls(value: object) -> list[str]:
    """Every `web_url` and `mobile_web_url` below a value."""
    if isinstance(value, list):
        return [url for each in value for url in _web_urls(each)]
    if not isinstance(value, dict):
        return []
    own = [value[key] for key in ("web_url", "mobile_web_url") if isinstance(value.get(key), str)]
    return own + [url for each in value.values() for url in _web_urls(each)]


_JSON = {"Content-Type": "application/json;charset=UTF-8"}

_API = {
    -1: (400, "internal server error"),
    -2: (400, "failed to parse parameter."),
    -3: (403, "App disabled [talk_message] scopes for [TALK_MEMO_DEFAULT_SEND] API on console. Enable it first."),
    -4: (403, "account is blocked."),
    -5: (403, "permission denied"),
    -7: (400, "service is under maintenance."),
    -9: (400, "this API is deprecated."),
    -10: (400, "API limit has been exceeded."),
    -101: (400, "NotRegisteredUserException"),
    -103: (400, "not existing user account."),
    -401: (401, "this access token does not exist"),
    -402: (403, "insufficient scopes."),
    -501: (400, "given account is not connected to any talk user."),
    -502: (400, "given receiver is not a friend."),
    -530: (400, "receiver refuses messages."),
    -532: (400, "daily message limit per sender has been exceeded."),
    -533: (400, "daily message limit per receiver has been exceeded."),
    -536: (400, "daily message limit per sender and receiver has been exceeded."),
    -602: (400, "image is too large."),
    -603: (400, "internal timeout"),
    -606: (400, "too many images."),
    -911: (400, "unsupported image format."),
    -9798: (503, "service is temporarily unavailable."),
}

_LOGIN = {
    "KOE003": (500, "server_error", "temporarily unavailable"),
    "KOE010": (401, "invalid_client", "Bad client credentials"),
    "KOE101": (401, "invalid_client", "Not exist client_id"),
    "KOE237": (400, "temporarily_unavailable", "too many requests"),
    "KOE303": (400, "invalid_grant", "Redirect URI mismatch."),
    "KOE310": (400, "invalid_request", "grant_type is missing or not supported"),
    "KOE319": (400, "invalid_grant", "refresh_token is missing"),
    "KOE320": (400, "invalid_grant", "authorization code not found"),
    "KOE322": (400, "invalid_grant", "expired_or_invalid_refresh_token"),
}


def form_of(request: Request) -> dict[str, str]:
    """The fields of a form body; a body of any other type has none, as Kakao reads only forms."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    return request.form if kind == "application/x-www-form-urlencoded" else {}


def answer(value: object) -> Response:
    """A successful answer."""
    return Response(200, json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(), _JSON)


def api_failure(code: int, text: str | None = None, **more: object) -> Response:
    """A refusal of the API: `msg`, `code`, and for some codes more."""
    status, usual = _API.get(code, (400, "refused"))
    headers = _JSON | ({"WWW-Authenticate": "Bearer error=invalid_token"} if status == 401 else {})
    body = {"msg": text or usual, "code": code, **more}
    return Response(status, json.dumps(body).encode(), headers)


def login_failure(code: str, status: int | None = None) -> Response:
    """A refusal of the login's token endpoint."""
    usual, error, text = _LOGIN.get(code, (400, "invalid_request", "refused"))
    body = {"error": error, "error_description": text, "error_code": code}
    return Response(status or usual, json.dumps(body).encode(), _JSON)


def login_page(code: str) -> Response:
    """A refusal that the person sees in the browser."""
    body = f"<!DOCTYPE html><html><body><h1>{code}</h1></body></html>"
    return Response(400, body.encode(), {"Content-Type": "text/html;charset=UTF-8"})
