"""Who may see the pages.

A browser shows a token once, at the login form, and keeps it in a cookie that scripts cannot read and other sites
cannot send. A server that listens on loopback only shows its pages to its own machine without one, but not to what
a proxy or tunnel forwards, nor under a foreign host name (a web page could have its name resolve to 127.0.0.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from notifybot.store.engine import Store
from notifybot.watchdog import tokens

COOKIE = "notifybot_token"
_FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


@dataclass(frozen=True, slots=True)
class Sight:
    """What a visitor may see: one project, or (None) all of them. `logged_in`: by a token in the cookie."""

    project: str | None
    logged_in: bool

    def covers(self, project: str) -> bool:
        """True when a run of that project may be shown."""
        return self.project is None or self.project == project


def sight_of(request: Request, store: Store, *, local: bool) -> Sight | None:
    """Return what a visitor may see; None: nothing before a login. Raises StoreError."""
    token = request.cookies.get(COOKIE)
    if token is not None:
        project = tokens.verify(store, token)
        if project is not None:
            return Sight(project, logged_in=True)
    return Sight(None, logged_in=False) if local and _is_own_machine(request) else None


def bearer(request: Request) -> str | None:
    """The token of an API request."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def remember(response: Response, token: str, *, secure: bool) -> None:
    """Keep the token in the browser until it is closed."""
    response.set_cookie(COOKIE, token, httponly=True, samesite="strict", secure=secure, path="/")


def forget(response: Response) -> None:
    """Take the token from the browser."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", path="/")


def from_here(request: Request) -> bool:
    """False when another site's page sent the form."""
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def is_loopback(host: str) -> bool:
    """True when an address or name reaches only this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_own_machine(request: Request) -> bool:
    if any(name in request.headers for name in _FORWARDED):
        return False
    try:
        name = urlsplit("//" + request.headers.get("host", "")).hostname or ""
    except ValueError:
        return False
    return is_loopback(name)
