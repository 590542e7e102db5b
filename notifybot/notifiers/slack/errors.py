"""What Slack's answers mean: try again, or never. The body is asked before the status."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from datetime import datetime
from urllib.error import URLError

from notifybot.errors import DeliveryError, PermanentError, TemporaryError
from notifybot.notifiers import refusals
from notifybot.rendering.delivery_reasons import in_words
from notifybot.rendering.slack_reasons import explained
from notifybot.retry import parse_retry_after

SERVICE = "slack"


class Refused(PermanentError):
    """Slack will not do this, and says why in `code`. React: another layout, another root message, or give up."""

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
_FAULTS = {"internal_error", "fatal_error"}
FAULTS_BEFORE_LESS = 2
_INCOMPLETE = (408, 425)  # the server did not get or not begin the request
_MUCH_LATER = {"team_added_to_org", "org_login_required", "message_limit_exceeded"}
_MUCH_LATER_S = 900.0


def answer_error(
    code: str, status: int, retry_after: str | None, now: datetime, method: str, **values: str
) -> DeliveryError:
    """Say what an answer to `method` means that is no success. `code` is Slack's word, or empty where there was none.

    `values` are what the words for it may name besides: the channel, the scope that is needed.
    """
    named = {"status": str(status), "method": method, **{name: value for name, value in values.items() if value}}
    wait_s = parse_retry_after(retry_after, now)
    if status == 429 or code in _LIMITED:
        return _temporary(code or "slow-down", named, retry_after_s=wait_s)
    if code in _MUCH_LATER:
        return _temporary(code, named, retry_after_s=_MUCH_LATER_S)
    if code == "request_timeout" or (status in _INCOMPLETE and not code):
        return _temporary(code or "incomplete", named)
    if code in _AMBIGUOUS or status >= 500:
        return _temporary(code or "failing", named, retry_after_s=wait_s, ambiguous=True)
    if code:
        return Refused(in_words(SERVICE, code, named), setup=_is_setup(code), service=SERVICE, code=code, values=named)
    if 400 <= status < 500:
        return permanent("http", setup=status in (401, 403, 404, 410), **named)
    return _temporary("foreign", named, ambiguous=True)


def is_layout(error: DeliveryError) -> bool:
    """True where the same words with fewer blocks may pass."""
    return isinstance(error, Refused) and error.layout


def is_fault(error: DeliveryError) -> bool:
    """True where Slack itself fails."""
    return error.code in _FAULTS


def may_be_layout(error: DeliveryError, attempts: int) -> bool:
    """True where Slack fails at one message for the third time: it answers so to layouts that it cannot show, too."""
    return is_fault(error) and attempts >= FAULTS_BEFORE_LESS


def permanent(code: str, *, setup: bool = False, **values: str) -> PermanentError:
    """A PermanentError that says why by a code of `rendering.slack_reasons`."""
    return refusals.permanent(SERVICE, code, setup=setup, **values)


def foreign_answer() -> TemporaryError:
    """An answer that is of another shape than Slack's."""
    return _temporary("foreign", {}, ambiguous=False)


def _is_setup(code: str) -> bool:
    """True for what a person has to mend before any message can pass."""
    known = explained(code)
    return known is not None and known.setup


def _temporary(
    code: str, values: Mapping[str, str], *, retry_after_s: float | None = None, ambiguous: bool = False
) -> TemporaryError:
    return refusals.temporary(SERVICE, code, retry_after_s=retry_after_s, ambiguous=ambiguous, **values)


def transport_error(error: Exception, method: str) -> TemporaryError:
    """Say what a failed connection means. The text names the kind of failure alone: its own may carry the URL."""
    cause = error.reason if isinstance(error, URLError) else error
    kind = {"kind": type(cause).__name__, "method": method}
    if isinstance(error, URLError) and isinstance(cause, ssl.SSLError):
        return _temporary("no-secure-connection", kind)
    if isinstance(error, URLError) and not _cut_off(cause):  # refused, no such host, connect timed out: never sent
        return _temporary("no-connection", kind)
    if isinstance(cause, TimeoutError):
        return _temporary("no-answer", kind, ambiguous=True)
    if isinstance(cause, OSError | http.client.HTTPException):
        return _temporary("broken", kind, ambiguous=True)
    return _temporary("unreadable", kind, ambiguous=True)


def _cut_off(cause: object) -> bool:
    """True when the connection broke while the request went out: part of it, or all, may have arrived."""
    return isinstance(cause, ConnectionResetError | BrokenPipeError | ConnectionAbortedError)


def header(headers: Mapping[str, object], name: str) -> str | None:
    """A response header, whatever its case."""
    for key, value in headers.items():
        if key.lower() == name.lower():
            return str(value[0] if isinstance(value, list) and value else value)
    return None
