"""What people were told, in order of arrival, as the sandbox's Slack and KakaoTalk got it."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from notifybot.events import Event
from notifybot.sandbox import Sandbox
from notifybot.sandbox.kakao import KakaoMessage
from notifybot.sandbox.slack_state import SlackMessage

SLACK, KAKAO = "slack", "kakao"
POSTED, EDITED, REPLIED, BROADCAST = "posted", "edited", "replied", "broadcast"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call that a service took. `raw` is all that was sent, `thread` the root message it belongs to."""

    key: str
    at: datetime
    service: str
    how: str
    text: str
    raw: str = ""
    thread: str = ""
    title: str = ""

    @property
    def headline(self) -> str:
        """Its title, or its first line."""
        return self.title or self.text.strip().partition("\n")[0]

    def tells(self, event: Event) -> bool:
        """True when it carries the visible mark of this event."""
        return event.id[-8:] in self.raw


def arrivals_of(sandbox: Sandbox) -> list[Arrival]:
    """Everything that came in so far, oldest first; an edit is an arrival of its own."""
    slack = [each for message in list(sandbox.slack.messages) for each in _slack(message)]
    kakao = [_kakao(number, message) for number, message in enumerate(list(sandbox.kakao.messages))]
    return sorted(slack + kakao, key=lambda each: each.at)


def _kakao(number: int, message: KakaoMessage) -> Arrival:
    return Arrival(
        key=f"kakao {number}",
        at=message.at,
        service=KAKAO,
        how=POSTED,
        text=message.text,
        raw=json.dumps(message.template, ensure_ascii=False),
        title=str(message.template.get("content", {}).get("title", "")),
    )


def _slack(message: SlackMessage) -> list[Arrival]:
    posted = POSTED if message.thread_ts is None else BROADCAST if message.broadcast else REPLIED
    return [
        Arrival(
            key=f"slack {message.ts} {number}",
            at=revision.at,
            service=SLACK,
            how=EDITED if number else posted,
            text=html.unescape(revision.text),
            raw=json.dumps([revision.text, revision.blocks, revision.attachments], ensure_ascii=False),
            thread=message.thread_ts or message.ts,
            title="" if revision.text else _picture(revision.blocks),
        )
        for number, revision in enumerate(message.revisions)
    ]


def _picture(blocks: list[dict[str, Any]]) -> str:
    """What a message without words shows."""
    titles = [str(block.get("title", {}).get("text", "")) for block in blocks if block.get("type") == "image"]
    return "".join(f"🖼 {title}" for title in titles[:1])
