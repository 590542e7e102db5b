"""Messages that the pretended Slack is to post later: the three methods, their rules, and the two traps in them.

The rules are Slack's documented ones: https://docs.slack.dev/reference/methods/chat.scheduleMessage and its siblings.
The traps: a message scheduled with `metadata` is accepted and never posted (documented there), and one that is deleted
within about five minutes of its time answers `ok`, leaves the list, and is posted all the same (reported since 2021,
https://github.com/slackapi/bolt-js/issues/1857).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notifybot.clock import Clock
from notifybot.sandbox.slack_state import SlackError

AHEAD_MOST_S = 120 * 86_400
REFUSED_S = 60  # seconds before its time from which a delete is refused
GHOST_S = 300  # seconds before its time from which a delete has no effect
WINDOW_S, WINDOW_MOST = 300, 30
PAGE_MOST = 100


@dataclass
class ScheduledMessage:
    """A message that waits. `stands` until it is posted or deleted; a `ghost` is deleted, and posted nevertheless."""

    id: str
    channel_id: str
    post_at: int
    created_at: int
    payload: Mapping[str, Any]
    stands: bool = True
    ghost: bool = False
    posted: bool = False


class ScheduledMessages:
    """Scheduled messages of a workspace. Knobs are plain attributes.

    `late_s` is how long after its time Slack posts; `counts_deleted` whether deleted messages count towards the 30 in
    one window (undocumented); `numeric_ids` lists ids as numbers, as in Slack's own example, which its delete does not
    take; `per_minute` is how many calls of each method one minute allows (None: any).
    """

    def __init__(self, clock: Clock) -> None:
        self.all: list[ScheduledMessage] = []
        self.late_s = 0.0
        self.counts_deleted = True
        self.numeric_ids = False
        self.per_minute: int | None = None
        self._calls: dict[str, list[float]] = {}
        self._clock = clock

    @property
    def pending(self) -> list[ScheduledMessage]:
        """Messages that are neither posted nor deleted, the next one first, as Slack lists them."""
        return sorted((each for each in self.all if each.stands), key=lambda each: each.post_at)

    def add(self, channel_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """chat.scheduleMessage, once channel and content were found to be fine."""
        self._limit("schedule")
        now_s = self._now_s()
        post_at = _whole(arguments.get("post_at"), "invalid_time")
        if post_at <= now_s:
            raise SlackError("time_in_past")
        if post_at > now_s + AHEAD_MOST_S:
            raise SlackError("time_too_far")
        counted = [each for each in self.all if each.stands or (self.counts_deleted and not each.posted)]
        beside = [each for each in counted if each.channel_id == channel_id]
        if sum(each.post_at // WINDOW_S == post_at // WINDOW_S for each in beside) >= WINDOW_MOST:
            raise SlackError("restricted_too_many")
        made = ScheduledMessage(f"Q{1_000_001 + len(self.all)}", channel_id, post_at, int(now_s), dict(arguments))
        self.all.append(made)
        described = {"text": arguments.get("text") or "", "type": "delayed_message", "subtype": "bot_message"}
        return {"channel": channel_id, "scheduled_message_id": made.id, "post_at": post_at, "message": described}

    def delete(self, channel_id: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """chat.deleteScheduledMessage: refused when it is over or due within a minute, a trap until five before it."""
        self._limit("delete")
        wanted = arguments.get("scheduled_message_id")
        left = (each for each in self.all if each.stands and each.channel_id == channel_id)
        found = next((each for each in left if each.id == wanted), None)
        if found is None or found.post_at - self._now_s() <= REFUSED_S:
            raise SlackError("invalid_scheduled_message_id")
        found.stands = False
        found.ghost = found.post_at - self._now_s() <= GHOST_S
        return {}

    def listing(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """chat.scheduledMessages.list: id, channel, times and text of what waits; no thread, no metadata."""
        self._limit("list")
        channel, oldest, latest = arguments.get("channel"), arguments.get("oldest"), arguments.get("latest")
        waiting = [
            each for each in self.pending
            if (not channel or each.channel_id == channel)
            and (not oldest or each.post_at >= float(oldest)) and (not latest or each.post_at <= float(latest))
        ]  # fmt: skip
        begin = _whole(arguments.get("cursor") or 0, "invalid_cursor")
        end = begin + min(max(_whole(arguments.get("limit") or PAGE_MOST, "invalid_time"), 1), PAGE_MOST)
        more = str(end) if end < len(waiting) else ""
        page = [self._described(each) for each in waiting[begin:end]]
        return {"scheduled_messages": page, "response_metadata": {"next_cursor": more}}

    def due(self) -> list[ScheduledMessage]:
        """Return the messages to be posted by now, oldest first; each is returned once."""
        now_s = self._now_s()
        ready = [each for each in self.all if not each.posted and each.post_at + self.late_s <= now_s]
        given = [each for each in ready if (each.stands or each.ghost) and not each.payload.get("metadata")]
        for each in ready:
            each.stands, each.posted = False, True
        return sorted(given, key=lambda each: each.post_at)

    def _described(self, each: ScheduledMessage) -> dict[str, Any]:
        number = int(each.id.removeprefix("Q"))
        return {
            "id": number if self.numeric_ids else each.id,
            "channel_id": each.channel_id,
            "post_at": each.post_at,
            "date_created": each.created_at,
            "text": each.payload.get("text") or "",
        }

    def _limit(self, method: str) -> None:
        if self.per_minute is None:
            return
        now_s = self._clock.monotonic()
        recent = [moment for moment in self._calls.get(method, []) if now_s - moment < 60]
        self._calls[method] = recent
        if len(recent) >= self.per_minute:
            raise SlackError("ratelimited")
        recent.append(now_s)

    def _now_s(self) -> float:
        return self._clock.now().timestamp()


def _whole(value: Any, error: str) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise SlackError(error) from None
