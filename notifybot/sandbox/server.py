"""The sandbox: Slack and KakaoTalk on one loopback port, with faults to order and pages to look at."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from notifybot.clock import SYSTEM, Clock
from notifybot.sandbox.http import Fault, FaultList, Request, Response, reset, text_response
from notifybot.sandbox.kakao import KakaoService
from notifybot.sandbox.kakao_state import REFRESH_TOKEN, REST_API_KEY
from notifybot.sandbox.pages import SandboxPages
from notifybot.sandbox.slack import SlackService
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, WEBHOOK_PATH

_LARGEST_BODY_BYTES = 32 * 1024 * 1024
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


class Sandbox:
    """Pretends to be Slack and KakaoTalk while it is open. Listens on loopback alone.

    `.slack` and `.kakao` are the services with their messages and knobs, `.faults` what is to go wrong next,
    `.requests` everything that came in, over so many `.connections`. Slack lives under `/api/` and `/services/`,
    KakaoTalk under `/kakao/`, the pages under `/`.
    """

    def __init__(self, *, clock: Clock = SYSTEM, port: int = 0, language: str = "en") -> None:
        self.clock = clock
        self.faults = FaultList()
        self.requests: list[Request] = []
        self.connections = 0
        self.slack = SlackService(clock)
        self.kakao = KakaoService(clock)
        self.closing = threading.Event()
        self._pages = SandboxPages(self.slack, self.kakao, clock, language)
        self._port = port
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Sandbox:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def open(self) -> None:
        """Start to listen. Opening twice is fine; after `close` it comes back on the same port."""
        if self._server is not None:
            return
        self.closing.clear()
        self._server = _Server(self, self._port)
        self._port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="notifybot-sandbox", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening and drop every connection. Closing twice is fine."""
        server, self._server = self._server, None
        if server is None:
            return
        self.closing.set()
        server.shutdown()
        server.server_close()
        server.drop_connections()
        if self._thread is not None:
            self._thread.join(5)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """While inside, connections are refused, as when nobody listens; then the same port answers again."""
        self.close()
        try:
            yield
        finally:
            self.open()

    @property
    def url(self) -> str:
        """The address it listens on, such as `http://127.0.0.1:8123`, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    def environment(self) -> dict[str, str]:
        """The NOTIFYBOT_* variables that point a training process here. Nothing in them is a real secret."""
        return {
            "NOTIFYBOT_SLACK_BOT_TOKEN": BOT_TOKEN,
            "NOTIFYBOT_SLACK_CHANNEL": CHANNEL,
            "NOTIFYBOT_SLACK_API_URL": f"{self.url}/api/",
            "NOTIFYBOT_SLACK_WEBHOOK_URL": f"{self.url}{WEBHOOK_PATH}",
            "NOTIFYBOT_KAKAO_REST_API_KEY": REST_API_KEY,
            "NOTIFYBOT_KAKAO_REFRESH_TOKEN": REFRESH_TOKEN,
            "NOTIFYBOT_KAKAO_API_URL": f"{self.url}/kakao/api",
            "NOTIFYBOT_KAKAO_AUTH_URL": f"{self.url}/kakao/auth",
        }

    def answer(self, request: Request) -> Response:
        """Hand a request to the service that its path belongs to."""
        if request.path.startswith("/kakao/"):
            response = self.kakao.handle(replace(request, path=request.path.removeprefix("/kakao")))
        else:
            response = self.slack.handle(request) or self._pages.handle(request)
        return response or text_response("Not found", 404)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, sandbox: Sandbox, port: int) -> None:
        self.sandbox = sandbox
        self._lock = threading.Lock()
        self._live: dict[threading.Thread, socket.socket] = {}
        super().__init__(("127.0.0.1", port), _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.sandbox.connections += 1  # no lock: only the accepting thread counts
        if self.sandbox.faults.take("", "refuse") is None:
            return True
        reset(request)
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._live[threading.current_thread()] = request
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._live.pop(threading.current_thread(), None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback for a bug of the sandbox, and nothing for a client that hangs up."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)

    def drop_connections(self) -> None:
        with self._lock:
            live = dict(self._live)
        for thread, connection in live.items():
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(2)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "notifybot-sandbox"
    sys_version = ""
    server: _Server
    timeout = 60
    disable_nagle_algorithm = True  # else each answer on a connection in use waits for an acknowledgement, 40 ms

    def _serve(self) -> None:
        sandbox = self.server.sandbox
        request = self._read()
        sandbox.requests.append(request)
        fault = sandbox.faults.take(request.path, "hang", "reset_before", "reset_after", "status", "garbage", "delay")
        if fault is None:
            self._write(sandbox.answer(request))
        else:
            self._fail(sandbox, request, fault)

    def _fail(self, sandbox: Sandbox, request: Request, fault: Fault) -> None:
        match fault.kind:
            case "hang":
                sandbox.closing.wait(fault.seconds or None)
                self.close_connection = True
            case "reset_before":
                self._reset()
            case "reset_after":
                sandbox.answer(request)
                self._reset()
            case "delay":
                sandbox.closing.wait(fault.seconds)
                self._write(sandbox.answer(request))
            case _:
                self._write(fault.answer())

    def _reset(self) -> None:
        self.close_connection = True
        self.rfile.close()  # a socket closes only after its file objects
        reset(self.connection)

    def _read(self) -> Request:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        length = min(int(headers.get("content-length") or 0), _LARGEST_BODY_BYTES)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(self.command, parts.path, query, headers, self.rfile.read(length))

    def _write(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in (_HEADERS | response.headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(response.body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date of an answer: by the sandbox's clock, which may be moved."""
        return super().date_time_string(self.server.sandbox.clock.now().timestamp() if timestamp is None else timestamp)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def log_message(self, format: str, *args: object) -> None:
        """Silent: requests are kept in `Sandbox.requests`."""
