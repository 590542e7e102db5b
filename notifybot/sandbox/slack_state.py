"""State of the pretended Slack workspace: channels, messages with their revisions, and its error codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from notifybot.errors import NotifybotError

BOT_TOKEN = "xoxb-canary-not-a-token"  # noqa: S105  a stand-in, valid nowhere
CHANNEL = "training"
WEBHOOK_PATH = "/services/T0SANDBOX/B0SANDBOX/canary-not-a-webhook-secret"
TEAM, BOT_USER, BOT_ID = "T0SANDBOX", "U0NOTIFYBOT", "B0NOTIFYBOT"
TEXT_CHARS, UPDATE_TEXT_CHARS = 40_000, 4_000

# https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors
WEBHOOK_STATUS = {
    **dict.fromkeys(("invalid_payload", "no_text", "too_many_attachments", "invalid_blocks"), 400),
    **dict.fromkeys(("invalid_attachments", "user_not_found"), 400),
    **dict.fromkeys(("invalid_token", "action_prohibited", "posting_to_general_channel_denied", "team_disabled"), 403),
    **dict.fromkeys(("channel_not_found", "no_service", "no_service_id", "no_active_hooks", "no_team"), 404),
    "channel_is_archived": 410,
    "rollup_error": 500,
}

# The scope a method needs; the others need none: https://docs.slack.dev/reference/methods
SCOPE_OF = {
    **dict.fromkeys(("chat.postMessage", "chat.update", "chat.scheduleMessage"), "chat:write"),
    "chat.deleteScheduledMessage": "chat:write",
    **dict.fromkeys(("files.getUploadURLExternal", "files.completeUploadExternal"), "files:write"),
}


@dataclass
class SlackChannel:
    """A channel of the workspace. `member` says that the bot was invited."""

    id: str
    name: str
    member: bool = True
    archived: bool = False


@dataclass(frozen=True)
class SlackRevision:
    """Content of a message from a moment on."""

    at: datetime
    text: str
    blocks: list[dict[str, Any]] = field(default_factory=list)
    attachments: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class SlackMessage:
    """A message as the workspace keeps it: every revision, the newest last."""

    channel: str
    ts: str
    via: str  # "bot" or "webhook"
    revisions: list[SlackRevision]
    thread_ts: str | None = None
    broadcast: bool = False

    @property
    def now(self) -> SlackRevision:
        """The present revision."""
        return self.revisions[-1]

    @property
    def text(self) -> str:
        return self.now.text

    @property
    def blocks(self) -> list[dict[str, Any]]:
        """All blocks at present, those of the attachments after the message's own."""
        nested = [block for each in self.now.attachments for block in each.get("blocks") or []]
        return [*self.now.blocks, *nested]

    @property
    def edited(self) -> bool:
        return len(self.revisions) > 1

    @property
    def at(self) -> datetime:
        """Time of the first post."""
        return self.revisions[0].at


class SlackError(NotifybotError):
    """An answer with `ok: false`: the pretended Slack refuses a call."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.error, self.more = error, more
