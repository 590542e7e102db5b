"""Receivers on loopback for the benchmarks, in processes of their own: what they do costs the sender no CPU time."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

HANG_S = 3600.0


@dataclass(frozen=True)
class Heard:
    """A message as it arrived: the event's id, and the machine's monotonic clock in seconds."""

    event_id: str
    at_s: float


@contextmanager
def receiver(delay_s: float) -> Iterator[str]:
    """A receiver in a process of its own; its address."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.receiver", str(delay_s)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


@contextmanager
def closed() -> Iterator[str]:
    """An address where nobody listens, and nobody else can meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def heard(url: str) -> list[Heard]:
    """What the receiver heard from the outbox, in order."""
    return [Heard(event_id, at_s) for event_id, at_s in requests.get(url, timeout=30).json()]


def _receive(delay_s: float) -> None:
    arrived: list[tuple[str, float]] = []
    never = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            at_s = time.monotonic()
            never.wait(delay_s)
            event_id = self.headers.get("webhook-id") or _slack_id(body)
            if event_id:
                arrived.append((event_id, at_s))
            self._answer(b"" if "webhook-id" in self.headers else b"ok")  # what is left unread costs the connection

        def do_GET(self) -> None:
            self._answer(json.dumps(arrived).encode())

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            """Silent: who sends may hang up."""

    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def _slack_id(body: bytes) -> str:
    """The event's id in a message for Slack, whose blocks are named by it; empty for any other body."""
    blocks = json.loads(body).get("blocks") or [{}]
    return str(blocks[0].get("block_id", "")).partition(".")[0]


if __name__ == "__main__":
    _receive(float(sys.argv[1]))
