"""What every request passes first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from notifybot.web.middleware import RequestGuard


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


BEARER = (b"authorization", b"Bearer nb_canary")
REPORTS = "/api/v1/events"


def ask(
    parts: Sequence[Message], *, headers: Sequence[tuple[bytes, bytes]] = (), path: str = "/", **limits: Any
) -> list[Message]:
    """Send one request in parts; a client that stops sending stays connected."""
    answers: list[Message] = []
    waiting = list(parts)

    async def receive() -> Message:
        if waiting:
            return waiting.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("nobody sends any more")

    async def send(message: Message) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
    asyncio.run(RequestGuard(echo, admits=lambda token: token == "nb_canary", **limits)(scope, receive, send))
    return answers


def part(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_arrives_whole() -> None:
    start, body = ask([part(b"one "), part(b"two", more=False)])

    assert (start["status"], body["body"]) == (200, b"one two")


def test_a_body_that_does_not_come_in_time_is_given_up() -> None:
    start, body = ask([part(b"one ")], deadline_s=0.02)

    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert b"longer than 0.02 seconds" in body["body"]


def test_a_body_that_grows_too_large_is_cut() -> None:
    start, _ = ask([part(b"x" * 600), part(b"x" * 600)], most_bytes=1000, path=REPORTS, headers=[BEARER])

    assert start["status"] == 413


def test_a_body_announced_too_large_is_not_waited_for() -> None:
    start, _ = ask([], headers=[(b"content-length", b"1001")], most_bytes=1000)

    assert start["status"] == 413


def test_nothing_is_said_to_a_client_that_went_away() -> None:
    assert ask([part(b"one "), {"type": "http.disconnect"}]) == []


def test_a_report_without_a_token_is_refused_before_its_body_is_read() -> None:
    start, body = ask([], path=REPORTS, headers=[(b"content-length", b"1000000")])

    assert start["status"] == 401
    assert (b"connection", b"close") in start["headers"]
    assert b"this token gives no access here" in body["body"]


def test_a_small_refused_report_is_let_in_and_thrown_away() -> None:
    """Who is cut off while it still sends may never read why."""
    start, _ = ask([part(b"x" * 40), part(b"x" * 60, more=False)], path=REPORTS, headers=[(b"content-length", b"100")])

    assert start["status"] == 401


def test_a_stranger_may_send_no_more_than_a_form() -> None:
    start, _ = ask([part(b"x" * 9000, more=False)])
    report, _ = ask([part(b"x" * 9000, more=False)], path=REPORTS, headers=[BEARER])

    assert (start["status"], report["status"]) == (413, 200)


def test_all_bodies_together_have_a_bounded_room_that_is_given_back() -> None:
    done: list[int] = []

    async def flood() -> None:
        guard = RequestGuard(echo, admits=lambda _: True, all_bytes=1500)
        held, over = asyncio.Event(), asyncio.Event()

        async def report(size: int, ends: asyncio.Event | None) -> None:
            async def receive() -> Message:
                if ends is not None and held.is_set():
                    await ends.wait()
                    return part(b"", more=False)
                held.set()
                return part(b"x" * size, more=ends is not None)

            async def send(message: Message) -> None:
                if message["type"] == "http.response.start":
                    done.append(message["status"])

            await guard({"type": "http", "method": "POST", "path": REPORTS, "headers": [BEARER]}, receive, send)

        first = asyncio.create_task(report(1000, over))
        await held.wait()
        await report(1000, None)
        over.set()
        await first
        await report(1000, None)

    asyncio.run(flood())
    assert done == [503, 200, 200]
