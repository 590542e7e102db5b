"""What a pretended service sees of HTTP, and how it answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import parse_qsl


@dataclass(frozen=True)
class Request:
    """One HTTP request. Header names are lower case; `path` has no query."""

    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def form(self) -> dict[str, str]:
        """The body read as `application/x-www-form-urlencoded`."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def bearer(self) -> str | None:
        """The token of the Authorization header, or None."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else None


@dataclass(frozen=True)
class Response:
    """One HTTP response."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Service(Protocol):
    """A pretended service: answers requests, or says None for a path that is not its own."""

    def handle(self, request: Request) -> Response | None: ...


def json_response(value: object, status: int = 200) -> Response:
    """Answer with JSON."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Response(status, body, {"Content-Type": "application/json; charset=utf-8"})


def text_response(text: str, status: int = 200) -> Response:
    """Answer with plain text."""
    return Response(status, text.encode(), {"Content-Type": "text/html"})  # as Slack labels its plain answers
