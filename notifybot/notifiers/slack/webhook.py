"""Slack by incoming webhook: one message an event, to the one channel the webhook belongs to."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import Any

from notifybot.clock import SYSTEM, Clock
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.slack import blocks
from notifybot.notifiers.slack.api import TIMEOUT_S, Hook
from notifybot.notifiers.slack.native_charts import Layout, send_with_fallbacks, untabled
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.policy import Pace
from notifybot.redaction import fingerprint
from notifybot.rendering.text import defang_links


class SlackWebhook:
    """Posts every event as a message of its own: a webhook can neither edit nor learn where its message went."""

    name = "slack"
    pace = Pace(gap_s=1.0, progress_gap_s=60.0)

    def __init__(self, url: str, *, timeout_s: int = TIMEOUT_S, clock: Clock = SYSTEM, mention: str = "") -> None:
        self.key = f"{self.name}:{fingerprint('webhook', url)}"
        self._hook = Hook(url, timeout_s=timeout_s, clock=clock)
        self._mention = mention
        self._clock = clock

    def send(self, envelope: Envelope) -> None:
        """Post the message, without what Slack does not take here; people are called once an incident."""
        event, memory = envelope.event, envelope.memory
        known = RunThread.from_value(memory.get(event.run.id))
        calls = bool(self._mention) and known.calls_for(event)

        def build(without: Set[Layout]) -> blocks.Payload:
            message = envelope.message
            payload = blocks.text_only(message) if Layout.BLOCKS in without else blocks.full_message(message)
            # No link in the words that Slack looks for links in: a webhook cannot forbid it, and the bot's `parse`
            # is not heeded here: https://gist.github.com/seanmarpo/723e18a4e2353188ea95f679ae30c3be
            cards = tuple({**each, "fallback": defang_links(each["fallback"])} for each in payload.attachments)
            payload = replace(payload, text=defang_links(payload.text), attachments=cards)
            payload = untabled(payload) if Layout.TABLE in without else payload
            return payload.calling(self._mention, message) if calls else payload

        def post(payload: dict[str, Any]) -> None:
            self._hook.post({**payload, "unfurl_links": False, "unfurl_media": False}, envelope.attempts)

        send_with_fallbacks(post, build, memory, envelope.attempts, self._clock.now())
        if self._mention and (now := known.having_called(event)) != known:
            memory.put(event.run.id, now.to_value())

    def close(self) -> None:
        """Nothing is held open."""
