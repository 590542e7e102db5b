"""Requests to Kakao: one session, short timeouts, and no transport error that could carry a token."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import requests
from pydantic import SecretStr
from requests.auth import AuthBase

from notifybot.clock import SYSTEM
from notifybot.errors import DeliveryError, not_pickled
from notifybot.notifiers.http import body_of, session_for
from notifybot.notifiers.kakao.codes import permanent, temporary

TIMEOUT_S = (5.0, 10.0)  # to connect, and for each read
LARGEST_ANSWER_BYTES = 1024 * 1024  # a page of a hundred friends is a tenth of it
_MALFORMED = (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema)
_NEVER_SENT = ("NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError")


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed answer. `body` is empty where the answer is no JSON object (maintenance pages are HTML)."""

    status: int
    body: dict[str, Any] = field(repr=False)  # the login's answers are tokens
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


class _Bearer(AuthBase):
    """Sets the header, or none. Given on every request, since without it requests would read ~/.netrc instead."""

    def __init__(self, token: str) -> None:
        self._token = SecretStr(token)

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token.get_secret_value()}"
        return request


class FormClient:
    """Asks and posts forms below one base URL. Open until `close`.

    Proxies of the environment are honoured, as labs need them, but never towards this machine itself.
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

    def _reply(self, method: str, path: str, **parts: Any) -> Reply:
        response, body = self._request(method, path, **parts)
        return Reply(response.status_code, _object_in(body), _retry_after(response))

    def _request(self, method: str, path: str, **parts: Any) -> tuple[requests.Response, bytes]:
        """Ask, and read the whole answer: no longer than for one read, and no more than Kakao ever says."""
        response = self._ask(method, path, **parts)
        body = body_of(response, clock=SYSTEM, most_bytes=LARGEST_ANSWER_BYTES, within_s=self._timeout_s[1])
        if body is None:
            raise temporary("no-end", ambiguous=True)
        return response, body

    def _ask(self, method: str, path: str, *, bearer: str = "", **parts: Any) -> requests.Response:
        try:
            return self._session.request(
                method,
                f"{self._base_url}{path}",
                auth=_Bearer(bearer),
                timeout=self._timeout_s,
                allow_redirects=False,
                stream=True,  # read by `body_of`, which has a deadline for all of it
                **parts,
            )
        except requests.RequestException as error:
            failure = _translated(error)
        except ValueError:  # requests lets urllib3 complain about some malformed addresses by itself
            failure = permanent("address", setup=True)
        raise failure from None

    def close(self) -> None:
        """Give back the sockets."""
        self._session.close()


def _object_in(answer: bytes) -> dict[str, Any]:
    try:
        body = json.loads(answer)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after(response: requests.Response) -> float | None:
    """The seconds form alone: Kakao documents neither form, and a clock of the far side is not ours to trust."""
    value = response.headers.get("Retry-After", "").strip()
    return float(value) if value.isascii() and value.isdigit() else None


def _translated(error: requests.RequestException) -> DeliveryError:
    """Name the kind of failure alone: the text of a transport error repeats the address, and may repeat more."""
    if isinstance(error, _MALFORMED):
        return permanent("address", setup=True)
    if isinstance(error, requests.ReadTimeout):
        return temporary("no-answer", ambiguous=True)
    if isinstance(error, requests.exceptions.SSLError):
        return temporary("no-secure-connection")
    if isinstance(error, requests.ConnectTimeout) or _reason(error) in _NEVER_SENT:
        return temporary("no-connection")
    return temporary("broken", kind=type(error).__name__, ambiguous=True)


def _reason(error: requests.RequestException) -> str:
    cause = error.args[0] if error.args else None
    return type(getattr(cause, "reason", cause)).__name__
