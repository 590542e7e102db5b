"""Requests of notifiers: sessions that ask this machine itself without a proxy, failures named without their address,
and answers read so that their connection serves again.

A body that is left unread costs the connection: https://requests.readthedocs.io/en/latest/user/advanced/#keep-alive
"""

from __future__ import annotations

import http.client
from typing import Any

import requests
from requests.exceptions import InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import ConnectTimeoutError, HTTPError, MaxRetryError, NewConnectionError, ProxyError

from notifybot.clock import Clock
from notifybot.errors import DeliveryError
from notifybot.notifiers.base import is_loopback, permanent_error, temporary_error

LARGEST_BYTES = 64 * 1024
WITHIN_S = 5.0
_AT_ONCE = 8 * 1024
_BROKEN = (HTTPError, http.client.HTTPException, OSError, ValueError)
_MALFORMED = (InvalidURL, InvalidSchema, MissingSchema)
_NEVER_SENT = (NewConnectionError, ConnectTimeoutError, ProxyError)  # the name that is not found is one of the first


def session_for(url: str) -> requests.Session:
    """A session for requests below one URL. Proxies of the environment are honoured, as labs need them, but not
    towards this machine itself: whoever sets HTTP_PROXY seldom knows of NO_PROXY, and no proxy can reach us here.
    What ~/.netrc holds for the host is for other programs, and takes the place of no token of ours."""
    session = requests.Session()
    session.trust_env = not is_loopback(url)
    session.auth = _unchanged
    return session


def _unchanged(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def ask(
    session: requests.Session,
    method: str,
    url: str,
    service: str,
    *,
    no_tls: str = "no-secure-connection",
    **parts: Any,
) -> requests.Response:
    """Send a request and return the answer, its body unread, a redirect not followed. Raises the two DeliveryErrors.

    They name the kind of failure alone, by a code of `service`: the text of a transport error repeats the address, and
    may repeat more. `no_tls` is the code for a certificate that does not hold.
    """
    try:
        return session.request(method, url, allow_redirects=False, stream=True, **parts)
    except requests.RequestException as error:
        failure = _transport_error(error, service, no_tls)
    except ValueError:  # requests lets urllib3 complain about some malformed addresses by itself
        failure = permanent_error(service, "address", setup=True)
    raise failure from None


def _transport_error(error: requests.RequestException, service: str, no_tls: str) -> DeliveryError:
    if isinstance(error, _MALFORMED):
        return permanent_error(service, "address", setup=True)
    if isinstance(error, requests.exceptions.SSLError):
        return temporary_error(service, no_tls)
    cause = error.args[0] if error.args else None
    if isinstance(cause, MaxRetryError) and isinstance(cause.reason, _NEVER_SENT):
        return temporary_error(service, "no-connection")
    if isinstance(error, requests.Timeout):
        return temporary_error(service, "no-answer", ambiguous=True)
    return temporary_error(service, "broken", kind=type(error).__name__, ambiguous=True)


def read_body(
    answer: requests.Response, *, clock: Clock, most_bytes: int = LARGEST_BYTES, within_s: float = WITHIN_S
) -> bytes | None:
    """Read the body of a streamed answer and give its connection back for the next request.

    None where it is longer than `most_bytes`, still not there after `within_s`, or broken off: then the connection is
    closed, for the rest of such a body would cost more than a new one.
    """
    ends_at_s = clock.monotonic() + within_s
    body = b""
    try:
        while (left_s := ends_at_s - clock.monotonic()) > 0 and len(body) <= most_bytes:
            _wait_at_most(answer, left_s)
            piece = answer.raw.read1(_AT_ONCE, decode_content=True)
            if not piece:
                return body
            body += piece
    except _BROKEN:  # the text of which may repeat the address
        pass
    answer.close()
    return None


def _wait_at_most(answer: requests.Response, seconds: float) -> None:
    """Bound the next read: the timeout of a request is for each read, and a drop at a time there is no end to them."""
    connection = answer.raw.connection
    if connection is not None and connection.sock is not None:
        connection.sock.settimeout(seconds)
