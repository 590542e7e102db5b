"""Requests to Kakao: one session, short timeouts, and no transport error that could carry a token."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import requests

from notifybot.clock import SYSTEM
from notifybot.errors import DeliveryError, PermanentError, TemporaryError
from notifybot.notifiers.base import permanent_error, temporary_error
from notifybot.notifiers.http import ask, read_body, session_for
from notifybot.policy import next_midnight
from notifybot.rendering.error_text import KAKAO_SIGN_IN, RENEWING, in_words

TIMEOUT_S = (5.0, 10.0)  # to connect, and for each read
LARGEST_ANSWER_BYTES = 1024 * 1024  # a page of a hundred friends is a tenth of it


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed answer. `body` is empty where the answer is no JSON object (maintenance pages are HTML)."""

    status: int
    body: dict[str, Any] = field(repr=False)  # answers to a login contain tokens
    retry_after_s: float | None = None

    @property
    def code(self) -> int | None:
        """Kakao's own number for what went wrong, if it gave one."""
        code = self.body.get("code")
        return code if isinstance(code, int) else None

    def text(self, key: str) -> str:
        """The field as text, or nothing."""
        value = self.body.get(key)
        return value if isinstance(value, str) else ""

    def number(self, key: str) -> float | None:
        """The field as a number of at least 0, or None."""
        value = self.body.get(key)
        return float(value) if isinstance(value, int | float) and value >= 0 else None


class FormClient:
    """Asks and posts forms below one base URL. Open until `close`.

    Raises TemporaryError, or PermanentError where the base URL itself is wrong.
    """

    def __init__(self, base_url: str, *, timeout_s: tuple[float, float] = TIMEOUT_S) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._session = session_for(base_url)

    def post(self, path: str, fields: dict[str, str], *, bearer: str = "") -> Reply:
        """Send the form and return the answer, whatever its status. A redirect is never followed."""
        headers = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"}
        return self._reply("POST", path, bearer=bearer, data=fields, headers=headers)

    def get(self, path: str, query: dict[str, str] | None = None, *, bearer: str = "") -> Reply:
        """Ask for a value, in the same way."""
        return self._reply("GET", path, bearer=bearer, params=query)

    def upload(self, path: str, name: str, picture: bytes, *, bearer: str) -> Reply:
        """Send a PNG as the part `file` of a multipart form, in the same way."""
        return self._reply("POST", path, bearer=bearer, files={"file": (name, picture, "image/png")})

    def page(self, path: str, query: dict[str, str]) -> tuple[int, str]:
        """Ask for a page that is meant for a browser: its status, and its text or where it leads."""
        response, body = self._request("GET", path, params=query)
        return response.status_code, response.headers.get("Location") or body.decode(errors="replace")

    def _reply(self, method: str, path: str, *, bearer: str, headers: Mapping[str, str] = {}, **parts: Any) -> Reply:
        token = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        response, body = self._request(method, path, headers={**headers, **token}, **parts)
        try:
            fields = json.loads(body)
        except ValueError:
            fields = None
        # The seconds form alone: Kakao documents neither form, and a clock of the far side is not ours to trust.
        after = response.headers.get("Retry-After", "").strip()
        after_s = float(after) if after.isascii() and after.isdigit() else None
        return Reply(response.status_code, fields if isinstance(fields, dict) else {}, after_s)

    def _request(self, method: str, path: str, **parts: Any) -> tuple[requests.Response, bytes]:
        """Ask, and read the whole answer: no longer than for one read, and no more than Kakao ever says."""
        response = ask(self._session, method, f"{self._base_url}{path}", SERVICE, timeout=self._timeout_s, **parts)
        body = read_body(response, clock=SYSTEM, most_bytes=LARGEST_ANSWER_BYTES, within_s=self._timeout_s[1])
        if body is None:
            raise temporary("no-end", ambiguous=True)
        return response, body

    def close(self) -> None:
        """Give back the sockets."""
        self._session.close()


SERVICE = "kakao"
_CODE = re.compile(r"KOE\d{3}")
TOKEN_REFUSED = -401
BAD_PARAMETER = -2
LOGIN_ENDED = "KOE322"

TEMPORARY = frozenset({-1, -7, -603, -9798})
NO_FRIEND = -502
AMBIGUOUS = frozenset({-603})  # sent or not, Kakao itself does not know
QUOTA = frozenset({-10, -531, -532, -533, -536})
_MESSAGE = frozenset({-2, -6, -8, -9})
_SETUP = frozenset({-3, -4, -5, -11, -12, -101, -103, -401, -402, -405, -406, -501, -504, -530, -903})
NO_FRIEND_AGAIN_S = 600.0
NO_FRIEND_PATIENCE_S = 3600.0
_CONSENT = frozenset({-3, -402})  # off in the app, or not agreed to by the person
_SIGN_IN_TEMPORARY = frozenset({"KOE003", "KOE237"})  # a fault of the service, and a limit on its rate


class KakaoRefused(PermanentError):
    """Kakao refuses the request. `code` is the login's ("KOE322"), the API's ("-101") or our own."""


# The errors that say why by a code of `rendering.error_text`.
temporary, permanent = partial(temporary_error, SERVICE), partial(permanent_error, SERVICE)


def while_renewing(error: TemporaryError) -> TemporaryError:
    """The same fault, where it kept a login from being renewed; never ambiguous: no message was on its way."""
    code = f"{RENEWING}{error.code}"
    return TemporaryError(in_words(SERVICE, code, error.values), service=SERVICE, code=code, values=error.values)


def refused_again(error: PermanentError) -> KakaoRefused:
    """The same refusal, for another try that was not made."""
    return _refused(error.code, **error.values)


def rotation_lost(since: datetime) -> KakaoRefused:
    """KOE322 for a token that a renewal begun at `since` was to replace, and no answer to it was ever stored."""
    return _refused("rotation-lost", since=f"{since.astimezone():%Y-%m-%d %H:%M}")


def _refused(code: str, **values: str) -> KakaoRefused:
    return KakaoRefused(in_words(SERVICE, code, values), setup=True, service=SERVICE, code=code, values=values)


def api_error(
    status: int, code: int | None, *, text: str, now: datetime, retry_after_s: float | None, scopes: Sequence[str] = ()
) -> DeliveryError:
    """Turn a refusal of kapi.kakao.com into the error to raise.

    `text` is Kakao's own; it is read only to tell an address refusal from a token refusal, and is never repeated.
    `scopes` are those that it may be about.
    """
    if code in QUOTA:
        return temporary(str(code), retry_after_s=(next_midnight(now) - now).total_seconds())
    if code in TEMPORARY:
        return temporary(str(code), retry_after_s=retry_after_s, ambiguous=code in AMBIGUOUS)
    if code == TOKEN_REFUSED and "ip mismatch" in text.lower():
        return _refused("ip")
    if code == NO_FRIEND:
        return friend_error(0.0)
    if code in _CONSENT and scopes:
        return _refused(str(code), scopes=", ".join(scopes))
    if code in _SETUP:
        return _refused(str(code))
    if code in _MESSAGE:
        return permanent(str(code))
    named = f"HTTP {status}" if code is None else f"HTTP {status}, code {code}"
    if status in (408, 425, 429):
        return temporary("slow-down", named=named, retry_after_s=retry_after_s)
    if status >= 500:
        return temporary("failing", named=named, retry_after_s=retry_after_s, ambiguous=True)
    if status >= 400:
        return permanent("refused", named=named)
    return temporary("unknown-answer", named=named, ambiguous=True)


def friend_error(waited_s: float) -> DeliveryError:
    """A receiver of whom Kakao has said for `waited_s` that it is no friend.

    Kakao keeps the list of friends for a while and advises to try again when that is over, so a new friend gets the
    message later. Without end it is not tried: the person has to choose again.
    """
    if waited_s < NO_FRIEND_PATIENCE_S:
        return temporary(str(NO_FRIEND), retry_after_s=NO_FRIEND_AGAIN_S)
    return _refused(str(NO_FRIEND))


def sign_in_error(status: int, error_code: str, *, retry_after_s: float | None) -> DeliveryError:
    """Turn a refusal of kauth.kakao.com into the error to raise. No message was sent, so nothing is ambiguous."""
    named = ", ".join(filter(None, (error_code, f"HTTP {status}")))
    if error_code in KAKAO_SIGN_IN and error_code not in _SIGN_IN_TEMPORARY:
        return _refused(error_code, http=f"HTTP {status}")
    if error_code in _SIGN_IN_TEMPORARY or status >= 500 or status in (408, 425, 429):
        return temporary("sign-in-failing", named=named, retry_after_s=retry_after_s)
    if status >= 400:
        return _refused(error_code if _CODE.fullmatch(error_code) else "sign-in-refused", named=named)
    return temporary("sign-in-unknown", named=named)
