"""Texts of the dead man's switch: the alarm, frozen when it is scheduled, and the correction of a false one."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from html import unescape

from notifybot.events import RunLost, RunRecovered
from notifybot.i18n import text
from notifybot.notifiers.slack import blocks
from notifybot.notifiers.slack.mrkdwn import escape
from notifybot.rendering import Renderer
from notifybot.rendering.error_text import slack_line
from notifybot.rendering.text import one_line, shorten
from notifybot.types import Host, Progress, RunRef, uuid7

_NAME_CHARS = 60
_MARK = re.compile(r"\[nb:([^\]\s]+)\]")


@dataclass(frozen=True, slots=True)
class Said:
    """A message as laid out, and in plain words for where Slack refuses the layout."""

    layout: blocks.Payload
    plain: blocks.Payload


def mark_of(run: RunRef) -> str:
    """Return the mark of a run in its alarms' text: of our data, a listed alarm shows only the text."""
    return f"[nb:{escape(run.id)}]"


def marked_run(said: str) -> str | None:
    """The id of the run that an alarm with this text is about; None for anybody else's message."""
    found = _MARK.findall(said)
    return unescape(found[-1]) if found else None


@dataclass(frozen=True, slots=True)
class Speech:
    """Words about one run. `link` is where a message leads; `mention` calls people in the alarm, in Slack's markup."""

    run: RunRef
    host: Host
    renderer: Renderer
    link: str | None = None
    mention: str = ""

    def alarm(self, progress: Progress, *, now_s: float, post_at: int) -> Said:
        """The alarm that Slack posts at `post_at` when nothing is heard from now on; Unix seconds."""
        silent_s = post_at - now_s
        event = RunLost(
            id=uuid7(now_s), run=self.run, at=_moment(post_at),
            silent_s=silent_s, limit_s=silent_s, host=self.host, progress=progress,
        )  # fmt: skip
        message = self.renderer.render(event, link=self.link)
        # of a moment, Slack shows what it is in the reader's own time zone
        moment = f"<!date^{int(now_s)}^{{date_short_pretty}} {{time}}|{_moment(now_s):%Y-%m-%d %H:%M} UTC>"
        note = text(message.language, "slack.deadman.posted_by_slack", moment=moment)
        element = {"type": "mrkdwn", "text": note, "verbatim": True}
        context = {"type": "context", "elements": [element], "block_id": f"{message.event_id}.note"}
        layout = blocks.reply(message)
        card, *rest = layout.attachments
        layout = replace(layout, attachments=({**card, "blocks": [*card["blocks"], context]}, *rest))
        both = (layout, blocks.text_only(message))
        called = (each.calling(self.mention, message) if self.mention else each for each in both)
        return Said(*(replace(each, text=f"{each.text}\n{mark_of(self.run)}") for each in called))

    def void(self, progress: Progress, *, now_s: float, away_s: float, sure: bool) -> Said:
        """An alarm was posted about a living run, for `sure` or perhaps: it is heard of again after `away_s`."""
        event = RunRecovered(
            id=uuid7(now_s), run=self.run, at=_moment(now_s), was="lost", away_s=away_s, progress=progress
        )
        message = self.renderer.render(event, link=self.link)
        if not sure:
            name = shorten(one_line(self.run.name) or self.run.id, _NAME_CHARS)
            title = text(message.language, "slack.deadman.void_title", name=name)
            body = text(message.language, "slack.deadman.void_body")
            message = replace(message, title=title, body=body, brief=f"{title}\n{body}")
        return Said(blocks.reply(message), blocks.text_only(message))

    def stands(self) -> Said:
        """Message that an alarm stands, after Slack had refused it."""
        payload = blocks.Payload(text(self.renderer.language, "slack.deadman.stands"))
        return Said(payload, payload)

    def refused(self, code: str) -> str:
        """For the log: Slack takes no alarm, and why."""
        language = self.renderer.language
        why = slack_line(code, {"method": "chat.scheduleMessage"}, language)
        return text(language, "slack.deadman.refused", name=shorten(one_line(self.run.name), _NAME_CHARS), why=why)


def _moment(at_s: float) -> datetime:
    return datetime.fromtimestamp(at_s, UTC)
