"""The person and their browser: it opens Kakao's page, and its answer is heard here or pasted at a prompt."""

from __future__ import annotations

import getpass
import html
import secrets
import sys
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import UsageError
from notifybot.i18n import text
from notifybot.notifiers.kakao.oauth import Attempt, SignInRefused, code_in, explained
from notifybot.runtime import in_notebook
from notifybot.types import Language

LISTEN_S = 300.0
STOP = ("q", "ㅂ")  # the same key, with the Korean layout on
_ASK_AGAIN = ("early", "address", "state")


class Prompt(Protocol):
    """Somebody who reads lines and answers questions."""

    def say(self, text: str) -> None:
        """Show some lines."""
        ...

    def ask(self, prompt: str) -> str:
        """Ask for one line. Raises UsageError where nobody can answer."""
        ...

    def ask_secretly(self, prompt: str) -> str:
        """Ask for one line that is not shown while it is typed."""
        ...


class Console:
    """The person at this process's standard input and output."""

    def __init__(self, language: Language) -> None:
        self._no_answer = text(language, "kakao.login.no_answer")

    def say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def ask(self, prompt: str) -> str:
        try:
            return input(prompt).strip()
        except (EOFError, NotImplementedError):  # the latter is what a notebook run without a person raises
            raise UsageError(self._no_answer) from None

    def ask_secretly(self, prompt: str) -> str:
        if not in_notebook() and not sys.stdin.isatty():
            return self.ask(prompt)  # getpass would bypass a pipe and read from the terminal
        try:
            return getpass.getpass(prompt).strip()
        except (EOFError, NotImplementedError):
            raise UsageError(self._no_answer) from None


@dataclass(frozen=True, slots=True)
class LoginEnvironment:
    """Dependencies of a sign-in other than Kakao. `listen_s`: how long to wait for the browser, in seconds."""

    person: Prompt
    clock: Clock = SYSTEM
    open_browser: Callable[[str], object] = webbrowser.open
    listen_s: float = LISTEN_S


class Browser:
    """Gets the code of an attempt: by listening where `listens`, and where that brings nothing, by asking for it."""

    def __init__(self, auth_url: str, surroundings: LoginEnvironment, language: Language, *, listens: bool) -> None:
        self._auth_url = auth_url
        self._outside = surroundings
        self._person = surroundings.person
        self._language = language
        self._listens = listens

    def code(self, attempt: Attempt) -> SecretStr:
        """The authorization code. Raises SignInRefused; UsageError when the person stops."""
        answer = self._heard(attempt) if self._listens else None
        if answer is not None:
            return code_in(answer, attempt)
        if not self._listens:
            self._show(text(self._language, "kakao.login.open_this"), attempt)
        self._person.say(text(self._language, "kakao.login.paste_how"))
        return self._pasted(attempt)

    def _show(self, text: str, attempt: Attempt) -> None:
        self._person.say(f"{text}\n\n{attempt.address(self._auth_url)}\n")

    def _heard(self, attempt: Attempt) -> str | None:
        """Return the address that the browser requested from this machine; None if it requested none in time."""
        redirect_uri = attempt.app.redirect_uri
        try:
            with Listener(redirect_uri, attempt.state, self._language, self._outside.clock) as listener:
                self._show(text(self._language, "kakao.login.opened"), attempt)
                self._person.say(text(self._language, "kakao.login.waiting", minutes=int(self._outside.listen_s // 60)))
                self._outside.open_browser(attempt.address(self._auth_url))
                answer = listener.wait(self._outside.listen_s)
        except OSError:
            self._show(text(self._language, "kakao.login.open_this"), attempt)
            self._person.say(text(self._language, "kakao.login.port_taken", port=urlsplit(redirect_uri).port))
            return None
        except KeyboardInterrupt:  # the person has something to type
            return None
        if answer is None:
            self._person.say(text(self._language, "kakao.login.not_heard"))
        return answer

    def _pasted(self, attempt: Attempt) -> SecretStr:
        while True:
            answer = self._person.ask(text(self._language, "kakao.login.paste"))
            if answer.lower() in STOP:
                raise UsageError(text(self._language, "kakao.login.stopped"))
            try:
                return code_in(answer, attempt)
            except SignInRefused as refusal:
                if refusal.code not in _ASK_AGAIN:
                    raise
                self._person.say(explained(refusal.code, self._language))


_LOOPBACK = ("localhost", "127.0.0.1")
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address of the page holds the code
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Connection": "close",
}
_PAGE = """<!DOCTYPE html><html lang="{lang}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>notifybot</title><style>body{{font:18px/1.6 system-ui,sans-serif;max-width:34em;margin:18vh auto;padding:0 1em;
color:#222;background:#fff;word-break:keep-all}}h1{{font-size:1.5em;margin-bottom:.2em}}section+section{{margin-top:2em;color:#555}}</style>
{sections}</html>"""


def can_listen(redirect_uri: str) -> bool:
    """True where a redirect URI leads to this machine by plain HTTP."""
    parts = urlsplit(redirect_uri)
    return parts.scheme == "http" and parts.hostname in _LOOPBACK


class Listener:
    """Waits on loopback for the answer to one attempt, then stops. Open while it is held with `with`.

    Raises OSError on entering where the port is taken.
    """

    def __init__(self, redirect_uri: str, state: str, language: Language, clock: Clock = SYSTEM) -> None:
        parts = urlsplit(redirect_uri)
        self.path = parts.path or "/"
        self.state = state
        self.language = language
        self.answer: str | None = None
        self._answered = threading.Event()
        self._lock = threading.Lock()
        self._port = parts.port if parts.port is not None else 80
        self._clock = clock
        self._server: _LoginServer | None = None

    def __enter__(self) -> Listener:
        self._server = _LoginServer(("127.0.0.1", self._port), self)
        threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="notifybot-kakao-login", daemon=True
        ).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._server.server_port if self._server else self._port

    def wait(self, timeout_s: float) -> str | None:
        """The address that the browser asked for, or None when the time is over."""
        self._clock.wait(self._answered, timeout_s)
        return self.answer

    def takes(self, target: str) -> bool:
        """Whether a request is the one that is waited for. Only the first one is."""
        parts = urlsplit(target)
        state = parse_qs(parts.query).get("state", [""])
        with self._lock:
            if self.answer is not None or len(state) != 1:
                return False
            if not secrets.compare_digest(state[0].encode(), self.state.encode()):
                return False
            self.answer = target
            return True

    def finish(self) -> None:
        """End the wait: the browser has its page."""
        self._answered.set()


class _LoginServer(ThreadingHTTPServer):
    """Threads, because a browser may open a connection beforehand and say nothing on it."""

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], listener: Listener) -> None:
        self.listener = listener
        super().__init__(address, _LoginHandler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Silent: a traceback would show the address, and the code in it."""


class _LoginHandler(BaseHTTPRequestHandler):
    server: _LoginServer
    server_version = "notifybot"
    sys_version = ""
    timeout = 10

    def do_GET(self) -> None:
        listener = self.server.listener
        host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
        if host not in _LOOPBACK:  # DNS rebinding: a foreign name that resolves to loopback
            self.send_error(403)
        elif urlsplit(self.path).path != listener.path:
            self.send_error(404)
        elif listener.takes(self.path):
            try:
                self._show(200, "done")
            finally:
                listener.finish()
        else:
            self._show(400, "not_this")

    def _show(self, status: int, outcome: str) -> None:
        page = _page(outcome, self.server.listener.language).encode()
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """Silent: the request line holds the code."""


def _page(outcome: str, first: Language) -> str:
    """The page that the browser shows, in both languages."""
    sections = ""
    for each in (first, *(other for other in Language if other is not first)):
        title, line = (html.escape(text(each, f"kakao.page.{outcome}_{part}")) for part in ("title", "text"))
        sections += f'<section lang="{each}"><h1>{title}</h1><p>{line}</p></section>'
    return _PAGE.format(lang=first, sections=sections)
