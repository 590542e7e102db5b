"""Faults between a client and a service, made to order on the raw socket."""

from __future__ import annotations

import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Literal, Protocol
from urllib.parse import parse_qsl

FaultKind = Literal["hang", "reset_before", "reset_after", "status", "garbage", "delay", "refuse"]
_PICTURES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}
HTML = b"<!DOCTYPE html><html><body><h1>Bad gateway</h1></body></html>"


@dataclass
class Fault:
    """A fault for the next `times` requests whose path contains `path`.

    hang: no answer (until `seconds`, or the end when 0), then the connection drops · reset_before: RST, nothing was
    processed · reset_after: processed, then RST instead of the answer · status: answered with `status`, `body`,
    `headers`, nothing processed · garbage: 200 with `body`, or with an HTML page · delay: answered after `seconds` ·
    refuse: RST as soon as it is accepted, before a byte is read, whatever the path. (`Sandbox.down` closes the port.)
    """

    kind: FaultKind
    path: str = ""
    times: int = 1
    status: int = 500
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    def answer(self) -> Response:
        """The ready-made answer of a `status` or `garbage` fault."""
        if self.kind == "garbage":
            return Response(200, self.body or HTML, {"Content-Type": "text/html", **self.headers})
        return Response(self.status, self.body, {"Content-Type": "text/plain", **self.headers})


class FaultList(list[Fault]):
    """The faults still to happen; the first that fits a request is used up by it."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def take(self, path: str, *kinds: FaultKind) -> Fault | None:
        """Use up one occurrence of the first fault of these kinds that fits `path`."""
        with self._lock:
            for fault in self:
                if fault.kind in kinds and fault.path in path:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.remove(fault)
                    return fault
        return None


def reset(connection: socket.socket) -> None:
    """End a connection with RST, as a crashing proxy does."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


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


class PretendedService(Protocol):
    """A pretended service: answers requests, or returns None for a path that is not its own."""

    def handle(self, request: Request) -> Response | None: ...


def picture_type(body: bytes) -> str:
    """Return the content type of a picture by its first bytes; empty for anything else."""
    return next((kind for start, kind in _PICTURES.items() if body.startswith(start)), "")


def json_response(value: object, status: int = 200) -> Response:
    """Answer with JSON."""
    body = json.dumps(value, ensure_ascii=False).encode()
    return Response(status, body, {"Content-Type": "application/json; charset=utf-8"})


def text_response(text: str, status: int = 200) -> Response:
    """Answer with plain text."""
    return Response(status, text.encode(), {"Content-Type": "text/html"})  # as Slack labels its plain answers
