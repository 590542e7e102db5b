"""Slack by incoming webhook: one message an event, to the one channel the webhook belongs to."""

from __future__ import annotations

from dataclasses import replace

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import TemporaryError
from notifybot.notifiers.base import Envelope, fingerprint
from notifybot.notifiers.slack import blocks
from notifybot.notifiers.slack.client import TIMEOUT_S, Hook
from notifybot.notifiers.slack.errors import Refused, may_be_layout
from notifybot.notifiers.unlinked import unlinked
from notifybot.policy import Pace


class SlackWebhook:
    """Posts every event as a message of its own: a webhook can neither edit nor learn where its message went."""

    name = "slack"
    pace = Pace(gap_s=1.0, progress_gap_s=60.0)

    def __init__(self, url: str, *, timeout_s: int = TIMEOUT_S, clock: Clock = SYSTEM) -> None:
        self.key = f"{self.name}:{fingerprint('webhook', url)}"
        self._hook = Hook(url, timeout_s=timeout_s, clock=clock)

    def send(self, envelope: Envelope) -> None:
        """Post the message; where Slack refuses its layout, once more in plain words."""
        try:
            self._post(blocks.whole(envelope.message), envelope.attempts)
        except Refused as error:
            if not error.layout:
                raise
        except TemporaryError as error:
            if not may_be_layout(error, envelope.attempts):
                raise
        else:
            return
        self._post(blocks.text_only(envelope.message), envelope.attempts)

    def _post(self, payload: blocks.Payload, attempts: int) -> None:
        self._hook.post({**_unlinked(payload).arguments(), "unfurl_links": False, "unfurl_media": False}, attempts)

    def close(self) -> None:
        """Nothing is held open."""


def _unlinked(payload: blocks.Payload) -> blocks.Payload:
    """The same with no link in the words that Slack looks for links in: a webhook cannot tell it not to.

    The bot's `parse` is not heeded here: https://gist.github.com/seanmarpo/723e18a4e2353188ea95f679ae30c3be
    """
    cards = ({**each, "fallback": unlinked(each["fallback"])} for each in payload.attachments)
    return replace(payload, text=unlinked(payload.text), attachments=tuple(cards))
