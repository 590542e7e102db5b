"""What every request passes first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from notifybot.web.guard import Guard


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    await PlainTextResponse(body)(scope, receive, send)


def ask(parts: Sequence[Message], *, headers: Sequence[tuple[bytes, bytes]] = (), **limits: Any) -> list[Message]:
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

    scope = {"type": "http", "method": "POST", "path": "/", "headers": list(headers)}
    asyncio.run(Guard(echo, **limits)(scope, receive, send))
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
    start, _ = ask([part(b"x" * 600), part(b"x" * 600)], most_bytes=1000)

    assert start["status"] == 413


def test_a_body_announced_too_large_is_not_waited_for() -> None:
    start, _ = ask([], headers=[(b"content-length", b"1001")], most_bytes=1000)

    assert start["status"] == 413


def test_nothing_is_said_to_a_client_that_went_away() -> None:
    assert ask([part(b"one "), {"type": "http.disconnect"}]) == []
