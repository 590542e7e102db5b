"""Checks before every request: token, size limit and deadline of the body; security headers on every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notifybot.errors import StoreError
from notifybot.web.auth import bearer

MOST_BYTES = 1024 * 1024
FORM_BYTES = 8 * 1024  # largest body of a request without a token
ALL_BODIES_BYTES = 24 * 1024 * 1024
DEADLINE_S = 10.0
_DRAINED_BYTES = 64 * 1024  # read of a refused body: a client cut off while sending may miss the answer
_REPORTS = "/api/"

_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
NO_ACCESS = "this token gives no access here: it is missing, wrong or revoked, or its project has no such run"


class _Refusal(Exception):
    def __init__(self, status: int, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = headers


class RequestGuard:
    """ASGI middleware. A body is read here, whole and in time, before the application sees the request.

    No byte of a report is kept before `admits` accepts its token, and all bodies together have a size limit: strangers
    can take up no more memory than a few forms need.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        admits: Callable[[str | None], bool],
        most_bytes: int = MOST_BYTES,
        all_bytes: int = ALL_BODIES_BYTES,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._app = app
        self._admits = admits
        self._most_bytes = most_bytes
        self._left_bytes = all_bytes
        self._deadline_s = deadline_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        send, body = _with_headers(send), _Body()
        try:
            async with asyncio.timeout(self._deadline_s):
                there = await self._read(scope, receive, body)
        except _Refusal as refusal:
            await _refuse(refusal, scope, receive, send)
        except TimeoutError:
            late = _Refusal(408, f"the body took longer than {self._deadline_s:g} seconds")
            await _refuse(late, scope, receive, send)
        else:
            if there:
                await self._app(scope, _replay(body, receive), send)
        finally:
            self._left_bytes += body.size

    async def _read(self, scope: Scope, receive: Receive, body: _Body) -> bool:
        """Fill the body; False when the client went away. Raises _Refusal."""
        headers, reports = Headers(scope=scope), scope["path"].startswith(_REPORTS)
        if reports and scope["method"] == "POST":
            await self._check(headers, receive)
        most = self._most_bytes if reports else min(FORM_BYTES, self._most_bytes)
        announced = headers.get("content-length", "0")
        if announced.isdecimal() and int(announced) > most:
            raise _too_large(most)
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            part = message.get("body", b"")
            if body.size + len(part) > most:
                raise _too_large(most)
            if len(part) > self._left_bytes:
                raise _Refusal(503, "too many requests at once: try again", **{"retry-after": "1"})
            self._left_bytes -= len(part)
            body.add(part)
            if not message.get("more_body", False):
                return True

    async def _check(self, headers: Headers, receive: Receive) -> None:
        """Raise _Refusal for a request without a valid token; its body is discarded."""
        try:
            if await run_in_threadpool(self._admits, bearer(headers)):
                return
        except StoreError as error:
            raise _Refusal(503, str(error), **{"retry-after": "5"}) from None
        announced, size, more = headers.get("content-length", ""), 0, True
        while announced.isdecimal() and int(announced) <= _DRAINED_BYTES and more and size <= _DRAINED_BYTES:
            message = await receive()
            size += len(message.get("body", b""))
            more = message.get("more_body", False)
        raise _Refusal(401, NO_ACCESS, **{"www-authenticate": "Bearer"})


class _Body:
    """The bytes of one request."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        self.size += len(part)
        self._parts.append(part)

    def take(self) -> bytes:
        """Return the whole body and release it."""
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole


def _too_large(most: int) -> _Refusal:
    return _Refusal(413, f"the body is larger than {most} bytes: send fewer events at once")


def _replay(body: _Body, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body.take(), "more_body": False}

    return again


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending


async def _refuse(refusal: _Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"connection": "close", **refusal.headers}
    await JSONResponse({"error": refusal.text}, refusal.status, headers=headers)(scope, receive, send)
