"""Access to the pages: only with a login, whatever address the request comes from.

A loopback address proves nothing: behind a proxy every visitor has it, and on a shared machine every user. A browser
shows a key or a token once and keeps a session in a cookie that scripts cannot read and other sites cannot send.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from notifybot.store.database import Store
from notifybot.watchdog import logins
from notifybot.watchdog.logins import Visitor

COOKIE = "notifybot_session"


def visitor_of(request: Request, store: Store) -> Visitor | None:
    """Return the logged-in visitor; None before a login. Raises StoreError."""
    session = request.cookies.get(COOKIE)
    return None if session is None else logins.visitor(store, session)


def bearer(headers: Headers) -> str | None:
    """The token of an API request."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def remember(response: Response, session: str, *, secure: bool) -> None:
    """Set the session cookie, until the browser is closed. SameSite=Lax, so that a message's button brings it along."""
    response.set_cookie(COOKIE, session, httponly=True, samesite="lax", secure=secure, path="/")


def forget(response: Response) -> None:
    """Delete the session cookie."""
    response.delete_cookie(COOKIE, httponly=True, samesite="lax", path="/")


def is_encrypted(request: Request, *, behind_proxy: bool) -> bool:
    """True when the browser came by HTTPS, to us or to the proxy before us.

    A proxy's header counts if it runs on this machine, or if the operator said that there is one.
    """
    if request.url.scheme == "https":
        return True
    near = request.client is not None and is_loopback(request.client.host)
    said = request.headers.get("x-forwarded-proto", "").split(",")[0].strip().lower()
    return said == "https" and (near or behind_proxy)


def is_same_origin(request: Request) -> bool:
    """False when another site's page sent the form.

    Browsers say so themselves where the connection is safe; that also holds behind a proxy that changes the host.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
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
