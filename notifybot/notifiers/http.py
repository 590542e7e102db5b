"""Sessions that ask this machine itself without a proxy, and answers read so that their connection serves again.

A body that is left unread costs the connection: https://requests.readthedocs.io/en/latest/user/advanced/#keep-alive
"""

from __future__ import annotations

import http.client

import requests
from urllib3.exceptions import HTTPError

from notifybot.clock import Clock
from notifybot.notifiers.base import is_loopback

LARGEST_BYTES = 64 * 1024
WITHIN_S = 5.0
_AT_ONCE = 8 * 1024
_BROKEN = (HTTPError, http.client.HTTPException, OSError, ValueError)


def session_for(url: str) -> requests.Session:
    """A session for requests below one URL. Proxies of the environment are honoured, as labs need them, but not
    towards this machine itself: whoever sets HTTP_PROXY seldom knows of NO_PROXY, and no proxy can reach us here."""
    session = requests.Session()
    session.trust_env = not is_loopback(url)
    return session


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
