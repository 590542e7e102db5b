"""A wrapper of slack_sdk: one request a call, bounded in time, no secrets in logs, our own errors."""

from __future__ import annotations

import http.client
import json
import logging
import re
import ssl
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.webhook import WebhookClient, WebhookResponse

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import DeliveryError, PermanentError, TemporaryError, not_pickled
from notifybot.notifiers.base import is_loopback, permanent_error, temporary_error
from notifybot.redaction import RedactingFilter, guard_loggers, register
from notifybot.rendering.error_text import explained, in_words
from notifybot.retry import parse_retry_after

TIMEOUT_S = 10
_CODE = re.compile(r"[a-z][a-z0-9_]{1,63}")
_SCOPES = re.compile(r"[a-z][a-z0-9:._, -]{1,99}")
_ID = re.compile(r"[CDGU][A-Z0-9]{5,}")  # of a channel or a person

# All that slack_sdk lets through when a network fails or an answer is garbage. ValueError covers a truncated JSON
# body and bytes that are no text, LookupError an unknown charset, AttributeError and TypeError JSON of another shape.
_FAILURES = (
    SlackClientError, OSError, http.client.HTTPException, ValueError, LookupError, AttributeError, TypeError,
)  # fmt: skip
# The connection broke while the request went out: part of it, or all, may have arrived.
_CUT_OFF = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError)


def _quiet_logger() -> logging.Logger:
    """A logger for slack_sdk that prints nothing: its errors reach us as exceptions, its DEBUG lines hold the URL."""
    logger = logging.getLogger("notifybot.slack_sdk")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else Python prints warnings to stderr itself
        logger.addFilter(RedactingFilter())
    return logger


def opener_for(url: str) -> OpenerDirector:
    """urllib's opener with the proxies of the environment, but with none towards this machine itself."""
    return build_opener(*([ProxyHandler({})] if is_loopback(url) else []), HTTPSHandler())


class _Direct(WebClient):
    """slack_sdk's client for a Slack on this machine: it takes a proxy from the environment in any case.

    Overrides what the SDK does between the request it built and the answer it judges.
    """

    def __init__(self, token: str, base_url: str, **settings: Any) -> None:
        super().__init__(token, base_url=base_url, **settings)
        self._opener = opener_for(base_url)

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        with self._opener.open(req, timeout=self.timeout) as answer:
            charset = answer.headers.get_content_charset() or "utf-8"
            return {"status": answer.status, "headers": answer.headers, "body": answer.read().decode(charset)}


class _DirectHook(WebhookClient):
    """The same for a webhook."""

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        with opener_for(url).open(req, timeout=self.timeout) as answer:
            body = answer.read().decode(answer.headers.get_content_charset() or "utf-8")
            return WebhookResponse(url=url, status_code=answer.status, body=body, headers=answer.headers)


class Posted(NamedTuple):
    """Place of a posted message. `strayed`: outside the thread it was meant for, because its root was deleted.

    Slack does not refuse that: https://github.com/slack-go/slack/issues/1571
    """

    channel_id: str
    ts: str
    strayed: bool


class WebApi:
    """Calls of Slack's Web API with a bot token. `on_headers` is given the headers of each answer."""

    def __init__(
        self,
        token: str,
        url: str,
        *,
        timeout_s: int = TIMEOUT_S,
        clock: Clock = SYSTEM,
        on_headers: Callable[[Mapping[str, object]], None] | None = None,
    ) -> None:
        register([token])
        guard_loggers()
        base = url.rstrip("/") + "/"
        kind = _Direct if is_loopback(url) else WebClient
        self._client = kind(token, base_url=base, timeout=timeout_s, logger=_quiet_logger(), retry_handlers=[])
        self._clock = clock
        self._on_headers = on_headers

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def post(self, channel: str, message: Mapping[str, Any], **where: Any) -> Posted:
        """Post a message. Raises the two DeliveryErrors."""
        quiet = {"unfurl_links": False, "unfurl_media": False}
        answer = self.call("chat.postMessage", {"channel": channel, **quiet, **message, **where})
        posted = answer.get("message")
        alone = isinstance(posted, dict) and bool(posted.get("ts")) and not posted.get("thread_ts")
        strayed = alone and "thread_ts" in where
        return Posted(str(answer.get("channel") or channel), str(answer.get("ts") or ""), strayed)

    def update(self, channel_id: str, ts: str, message: Mapping[str, Any]) -> Posted:
        """Edit a message that the bot posted. Raises as `post` does."""
        self.call("chat.update", {"channel": channel_id, "ts": ts, **message})
        return Posted(channel_id, ts, strayed=False)

    def call(self, method: str, arguments: Mapping[str, Any] | None = None, *, as_form: bool = False) -> dict[str, Any]:
        """Call any method; return Slack's answer. Raises as `post` does.

        Some methods read a form and no JSON, such as those of files.
        """
        arguments = arguments or {}
        body = {"data": arguments} if as_form else {"json": {"parse": "none", **arguments}}
        try:
            response = self._client.api_call(method, **body)
            if self._on_headers is not None:
                self._on_headers(response.headers)
            if isinstance(response.data, dict):
                return response.data
            raise ValueError("no object")
        except SlackApiError as error:
            raise self._meaning(error, method, str(arguments.get("channel") or "")) from None  # its text holds the URL
        except _FAILURES as error:
            raise transport_error(error, method) from None

    def _meaning(self, error: SlackApiError, method: str, channel: str) -> DeliveryError:
        headers = getattr(error.response, "headers", None) or {}
        if self._on_headers is not None:
            self._on_headers(headers)
        answer = getattr(error.response, "data", None)
        data = answer if isinstance(answer, dict) else {}
        code, needed = data.get("error"), data.get("needed")
        code = code if isinstance(code, str) and _CODE.fullmatch(code) else ""  # else the SDK's words about garbage
        values = {
            "needed": needed if isinstance(needed, str) and _SCOPES.fullmatch(needed) else "",
            "channel": "" if _ID.fullmatch(channel) else channel.removeprefix("#"),  # as a person knows it
        }
        status = int(getattr(error.response, "status_code", 0) or 0)
        return answer_error(code, status, header(headers, "Retry-After"), self._clock.now(), method, **values)


def _is_taken(status: int, body: str) -> bool:
    """True for Slack's "ok", and for what other servers that take Slack's messages answer, such as Rocket.Chat."""
    if not 200 <= status < 300:
        return False
    if status == 204 or body.lower() == "ok":
        return True
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and (True in (answer.get("ok"), answer.get("success")))


class Hook:
    """Posts to an incoming webhook."""

    def __init__(self, url: str, *, timeout_s: int = TIMEOUT_S, clock: Clock = SYSTEM) -> None:
        register([url])
        guard_loggers()
        self._is_like_slack = not url.startswith("https://hooks.slack.com/")
        kind = _DirectHook if is_loopback(url) else WebhookClient
        self._client = kind(url, timeout=timeout_s, logger=_quiet_logger(), retry_handlers=[])
        self._clock = clock

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def post(self, payload: dict[str, Any], attempts: int = 0) -> None:
        """Post a message that was tried so often before. Raises the two DeliveryErrors.

        An answer that nobody knows is no reason to post again and again: after one repeat the message is given up, but
        at Slack's own address, where such an answer is a proxy's, who has posted nothing.
        """
        try:
            response = self._client.send_dict(payload)
            status, body = response.status_code, (response.body or "").strip()
        except _FAILURES as error:
            raise transport_error(error, "webhook") from None  # its text may hold the URL
        if _is_taken(status, body):
            return
        if self._is_like_slack and 200 <= status < 300 and attempts and not _CODE.fullmatch(body):
            raise permanent_error(SERVICE, "foreign")
        code = body if _CODE.fullmatch(body) and body != "ok" else ""
        raise answer_error(code, status, header(response.headers, "Retry-After"), self._clock.now(), "webhook")


SERVICE = "slack"


class SlackRefused(PermanentError):
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
    """Return the error for a failed answer to `method`. `code` is Slack's word, or empty if there was none.

    `values` are what the words for it may name besides: the channel, the scope that is needed.
    """
    named = {"status": str(status), "method": method, **{name: value for name, value in values.items() if value}}
    wait_s = parse_retry_after(retry_after, now)
    if status == 429 or code in _LIMITED:
        return temporary_error(SERVICE, code or "slow-down", retry_after_s=wait_s, ambiguous=False, **named)
    if code in _MUCH_LATER:
        return temporary_error(SERVICE, code, retry_after_s=_MUCH_LATER_S, ambiguous=False, **named)
    if code == "request_timeout" or (status in _INCOMPLETE and not code):
        return temporary_error(SERVICE, code or "incomplete", retry_after_s=None, ambiguous=False, **named)
    if code in _AMBIGUOUS or status >= 500:
        return temporary_error(SERVICE, code or "failing", retry_after_s=wait_s, ambiguous=True, **named)
    if code:
        known = explained(code)
        setup = known is not None and known.setup  # a person has to mend it before any message can pass
        return SlackRefused(in_words(SERVICE, code, named), setup=setup, service=SERVICE, code=code, values=named)
    if 400 <= status < 500:
        return permanent_error(SERVICE, "http", setup=status in (401, 403, 404, 410), **named)
    return temporary_error(SERVICE, "foreign", retry_after_s=None, ambiguous=True, **named)


def is_fault(error: DeliveryError) -> bool:
    """True where Slack itself fails. It answers so to layouts that it cannot show, too."""
    return error.code in _FAULTS


def transport_error(error: Exception, method: str) -> TemporaryError:
    """Say what a failed connection means. The text names the kind of failure alone: its own may carry the URL."""
    cause = error.reason if isinstance(error, URLError) else error
    kind = {"kind": type(cause).__name__, "method": method}
    never_sent = isinstance(error, URLError) and not isinstance(cause, _CUT_OFF)
    if never_sent and isinstance(cause, ssl.SSLError):
        code = "no-secure-connection"
    elif never_sent:  # refused, no such host, connect timed out
        code = "no-connection"
    elif isinstance(cause, TimeoutError):
        code = "no-answer"
    elif isinstance(cause, OSError | http.client.HTTPException):
        code = "broken"
    else:
        code = "unreadable"
    return temporary_error(SERVICE, code, retry_after_s=None, ambiguous=not never_sent, **kind)


def header(headers: Mapping[str, object], name: str) -> str | None:
    """A response header, whatever its case."""
    for key, value in headers.items():
        if key.lower() == name.lower():
            return str(value[0] if isinstance(value, list) and value else value)
    return None
