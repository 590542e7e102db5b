"""The sandbox's pages: its messages as Slack and as a phone would show them, in Korean and English."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader

from notifybot.clock import Clock
from notifybot.i18n import text
from notifybot.sandbox import mrkdwn
from notifybot.sandbox.blockkit import drawn
from notifybot.sandbox.http import Request, Response, text_response
from notifybot.sandbox.kakao import KakaoService
from notifybot.sandbox.slack import SlackService
from notifybot.sandbox.slack_state import SlackMessage
from notifybot.types import Language

_PACKAGE = Path(__file__).resolve().parents[1]
_FOLDERS = [_PACKAGE / "_templates" / "web", _PACKAGE.parent / "templates" / "web"]  # in a wheel, in a checkout
_NAMES = {"/": "sandbox_slack.html", "/slack": "sandbox_slack.html", "/phone": "sandbox_phone.html"}
_NEWEST = 200


@dataclass(frozen=True)
class PageView:
    """The reader's choices in the address: language, open thread, refresh."""

    path: str
    language: str
    thread: str = ""
    live: bool = False

    def link(self, **changes: Any) -> str:
        """The address of the same view with something changed."""
        chosen = {"lang": self.language, "thread": self.thread, "live": "1" if self.live else ""}
        path = changes.pop("path", self.path)
        chosen |= {key: str(value) for key, value in changes.items()}
        return f"{path}?" + "&".join(f"{key}={value}" for key, value in chosen.items() if value)


@dataclass(frozen=True)
class Note:
    """One notification on a locked phone."""

    app: str
    title: str
    text: str
    at: datetime


class SandboxPages:
    """Shows what the two services hold. Everything is escaped; nothing on a page changes anything."""

    def __init__(self, slack: SlackService, kakao: KakaoService, clock: Clock, language: str) -> None:
        self._slack, self._kakao, self._clock, self._language = slack, kakao, clock, language
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDERS), autoescape=True, undefined=ChainableUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._environment.filters["drawn"] = drawn

    def handle(self, request: Request) -> Response | None:
        """Answer a GET of a page; None for any other path."""
        name = _NAMES.get(request.path)
        if name is None:
            return None
        if request.method not in ("GET", "HEAD"):
            return text_response("Method not allowed", 405)
        language = request.query.get("lang", self._language)
        language = language if language in tuple(Language) else "en"
        thread = request.query.get("thread", "")
        thread = thread if thread.replace(".", "", 1).isdigit() else ""
        view = PageView(request.path, language, thread, request.query.get("live") == "1")
        html = self._environment.get_template(name).render(self._context(view))
        return Response(200, html.encode(), {"Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store"})

    def _context(self, view: PageView) -> dict[str, Any]:
        now = self._clock.now().astimezone()
        messages = list(self._slack.messages)[-_NEWEST:]
        return {
            "view": view,
            "t": partial(text, view.language),
            "now": now,
            "mrkdwn": partial(mrkdwn.to_html, language=view.language, now=now),
            "plain": mrkdwn.unescape,
            "stamp": lambda moment, pattern="{time}": mrkdwn.formatted(
                pattern, moment.astimezone(now.tzinfo), view.language, now
            ),
            "day_of": lambda moment: mrkdwn.day_of(moment.astimezone(now.tzinfo), view.language),
            "channels": list(self._slack.channels.values()),
            "channel": next(iter(self._slack.channels.values())),
            "stream": [each for each in messages if each.thread_ts is None or each.broadcast],
            "root_of": lambda message: next(
                (each for each in self._slack.messages if each.ts == message.thread_ts), None
            ),
            "replies": lambda message: self._slack.thread(message.ts),
            "open_root": next((each for each in messages if view.thread and each.ts == view.thread), None),
            "notes": self._notes(messages),
            "kakao": list(self._kakao.messages)[-_NEWEST:],
        }

    def _notes(self, messages: list[SlackMessage]) -> list[Note]:
        """Return a locked phone's notifications, newest first: edits and replies that stay in a thread do not ring."""
        name = next(iter(self._slack.channels.values())).name
        notes = [
            Note("slack", f"#{name} · notifybot", mrkdwn.unescape(each.revisions[0].text), each.at)
            for each in messages
            if each.thread_ts is None or each.broadcast
        ]
        notes += [Note("kakao", each.receiver, each.text, each.at) for each in self._kakao.messages if each.pushed]
        return sorted(notes, key=lambda note: note.at, reverse=True)
