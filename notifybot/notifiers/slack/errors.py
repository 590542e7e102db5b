"""What Slack's answers mean: try again, or never. The body is asked before the status."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from datetime import datetime
from urllib.error import URLError

from notifybot.errors import DeliveryError, PermanentError, TemporaryError
from notifybot.retry import parse_retry_after


class Refused(PermanentError):
    """Slack will not do this, and says why in `code`. React: another layout, another root message, or give up."""

    def __init__(self, text: str, code: str, *, setup: bool = False) -> None:
        super().__init__(text, setup=setup)
        self.code = code

    @property
    def layout(self) -> bool:
        """True when the same words without blocks may pass."""
        return self.code in _LAYOUT

    @property
    def root_gone(self) -> bool:
        """True when the message to edit or to answer is no more, or no longer ours to edit."""
        return self.code in _ROOT_GONE


_LAYOUT = {
    "attachment_payload_limit_exceeded",
    "invalid_attachments",
    "invalid_blocks",
    "invalid_blocks_format",
    "msg_blocks_too_long",
    "msg_too_long",
    "only_one_table_allowed",
    "too_many_attachments",
}
_ROOT_GONE = {
    "block_mismatch",
    "cannot_reply_to_message",
    "cant_update_message",
    "edit_window_closed",
    "message_not_found",
    "thread_not_found",
    "update_failed",
}
_LIMITED = {"ratelimited", "rate_limited"}
_AMBIGUOUS = {"internal_error", "fatal_error", "service_unavailable", "rollup_error"}
_INCOMPLETE = (408, 425)  # the server did not get or not begin the request
_MUCH_LATER = {"team_added_to_org", "org_login_required", "message_limit_exceeded"}
_MUCH_LATER_S = 900.0

_TOKEN = "make a new bot token in the Slack app and set NOTIFYBOT_SLACK_BOT_TOKEN"  # noqa: S105  words, no token
_HOOK = "make a new incoming webhook and set NOTIFYBOT_SLACK_WEBHOOK_URL"
_INVITE = "write /invite @notifybot in the channel"
_ASK = "ask an administrator of the workspace"
_SETUP = {  # https://docs.slack.dev/reference/methods/chat.postMessage#errors and the webhook's own list
    **dict.fromkeys(("invalid_auth", "not_authed", "token_revoked", "token_expired", "bad_token"), _TOKEN),
    **dict.fromkeys(("account_inactive", "not_allowed_token_type", "is_bot"), _TOKEN),
    "invalid_token": f"{_HOOK} (or, with a bot, a new token)",
    "missing_scope": "add the scope chat:write to the Slack app and install it again",
    **dict.fromkeys(("no_permission", "access_denied", "accesslimited", "ekm_access_denied"), _ASK),
    **dict.fromkeys(("enterprise_is_restricted", "team_access_not_granted", "two_factor_setup_required"), _ASK),
    **dict.fromkeys(("action_prohibited", "team_disabled", "team_not_found", "restricted_action"), _ASK),
    **dict.fromkeys(("posting_to_general_channel_denied", "posting_to_channel_denied"), f"{_ASK}, or choose another"),
    **dict.fromkeys(("no_service", "no_service_id", "no_active_hooks", "no_team", "user_not_found"), _HOOK),
    "not_in_channel": _INVITE,
    "channel_not_found": f"check NOTIFYBOT_SLACK_CHANNEL; if the channel is private, {_INVITE}",
    **dict.fromkeys(("is_archived", "channel_is_archived", "is_inactive"), "unarchive the channel or choose another"),
    "messages_tab_disabled": "turn on the messages tab of the Slack app",
}


def answer_error(code: str, status: int, retry_after: str | None, now: datetime, what: str) -> DeliveryError:
    """Say what an answer means that is no success. `code` is Slack's word, or empty where there was none."""
    if status == 429 or code in _LIMITED:
        return TemporaryError(f"Slack: too many messages ({what})", retry_after_s=parse_retry_after(retry_after, now))
    if code in _MUCH_LATER:
        return TemporaryError(f"Slack: {code} ({what}); tried again later", retry_after_s=_MUCH_LATER_S)
    if code == "request_timeout" or (status in _INCOMPLETE and not code):
        return TemporaryError(f"Slack: the request arrived incomplete ({what})")
    if code in _AMBIGUOUS or status >= 500:
        wait_s = parse_retry_after(retry_after, now)
        return TemporaryError(f"Slack: {code or status} ({what})", retry_after_s=wait_s, ambiguous=True)
    if code:
        return _refusal(code, what)
    if 400 <= status < 500:
        setup = status in (401, 403, 404, 410)
        return PermanentError(f"Slack: HTTP {status} ({what}); check the Slack settings", setup=setup)
    return TemporaryError(f"Slack: an answer that is not Slack's ({what}); a proxy in between?", ambiguous=True)


def _refusal(code: str, what: str) -> Refused:
    action = _SETUP.get(code) or (_ASK if code.startswith("restricted_action") else "")
    return Refused(f"Slack: {code} ({what})" + (f": {action}" if action else ""), code, setup=bool(action))


def transport_error(error: Exception, what: str) -> TemporaryError:
    """Say what a failed connection means. The text names the kind of failure alone: its own may carry the URL."""
    cause = error.reason if isinstance(error, URLError) else error
    if isinstance(error, URLError) and isinstance(cause, ssl.SSLError):
        return TemporaryError(f"Slack: no secure connection ({what}): {type(cause).__name__}")
    if isinstance(error, URLError) and not _cut_off(cause):  # refused, no such host, connect timed out: never sent
        return TemporaryError(f"Slack: no connection ({what}): {type(cause).__name__}")
    if isinstance(cause, TimeoutError):
        return TemporaryError(f"Slack: no answer in time ({what})", ambiguous=True)
    if isinstance(cause, OSError | http.client.HTTPException):
        return TemporaryError(f"Slack: the connection broke ({what}): {type(cause).__name__}", ambiguous=True)
    return TemporaryError(f"Slack: an answer that cannot be read ({what})", ambiguous=True)


def _cut_off(cause: object) -> bool:
    """True when the connection broke while the request went out: part of it, or all, may have arrived."""
    return isinstance(cause, ConnectionResetError | BrokenPipeError | ConnectionAbortedError)


def header(headers: Mapping[str, object], name: str) -> str | None:
    """A response header, whatever its case."""
    for key, value in headers.items():
        if key.lower() == name.lower():
            return str(value[0] if isinstance(value, list) and value else value)
    return None
