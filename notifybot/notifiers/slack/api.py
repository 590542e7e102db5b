"""slack_sdk held the way we need it: one request a call, bounded in time, silent about secrets, our errors."""

from __future__ import annotations

import http.client
import json
import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.request import HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.webhook import WebhookClient, WebhookResponse

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import not_pickled
from notifybot.notifiers.base import is_loopback
from notifybot.notifiers.slack.errors import answer_error, header, permanent, transport_error
from notifybot.redaction import RedactingFilter, guard_loggers, register

TIMEOUT_S = 10
_CODE = re.compile(r"[a-z][a-z0-9_]{1,63}")
_SCOPES = re.compile(r"[a-z][a-z0-9:._, -]{1,99}")
_ID = re.compile(r"[CDGU][A-Z0-9]{5,}")  # of a channel or a person

# All that slack_sdk lets through when a network fails or an answer is garbage. ValueError covers a truncated JSON
# body and bytes that are no text, LookupError an unknown charset, AttributeError and TypeError JSON of another shape.
_FAILURES = (
    SlackClientError, OSError, http.client.HTTPException, ValueError, LookupError, AttributeError, TypeError,
)  # fmt: skip


def _quiet_logger() -> logging.Logger:
    """A logger for slack_sdk that prints nothing: its errors reach us as exceptions, its DEBUG lines hold the URL."""
    logger = logging.getLogger("notifybot.slack_sdk")
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())  # else Python prints warnings to stderr itself
        logger.addFilter(RedactingFilter())
    return logger


def _scopes(needed: object) -> str:
    """What Slack says is missing, where that is a list of scopes; else nothing."""
    return needed if isinstance(needed, str) and _SCOPES.fullmatch(needed) else ""


def _name_of(channel: str) -> str:
    """The name of a channel as a person knows it; nothing for an id."""
    return "" if _ID.fullmatch(channel) else channel.removeprefix("#")


def opener_for(url: str) -> OpenerDirector:
    """urllib's opener with the proxies of the environment, but with none towards this machine itself."""
    return build_opener(*([ProxyHandler({})] if is_loopback(url) else []), HTTPSHandler())


class _Direct(WebClient):
    """slack_sdk's client for a Slack on this machine: it takes a proxy from the environment and cannot be told not to.

    Overrides what the SDK does between the request it built and the answer it judges.
    """

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        with opener_for(url).open(req, timeout=self.timeout) as answer:
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
    """Where a message is. `strayed`: not in the thread that it was meant for, as its root was deleted.

    Slack does not refuse that: https://github.com/slack-go/slack/issues/1571
    """

    channel_id: str
    ts: str
    strayed: bool


class WebApi:
    """Calls of Slack's Web API with a bot token."""

    def __init__(self, token: str, url: str, *, timeout_s: int = TIMEOUT_S, clock: Clock = SYSTEM) -> None:
        register([token])
        guard_loggers()
        base = url.rstrip("/") + "/"
        kind = _Direct if is_loopback(url) else WebClient
        self._client = kind(token, base_url=base, timeout=timeout_s, logger=_quiet_logger(), retry_handlers=[])
        self._clock = clock

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call any method; return Slack's answer. Raises as `post` does."""
        return self._call(method, **arguments)

    def post(self, channel: str, **arguments: Any) -> Posted:
        """Post a message. Raises the two DeliveryErrors."""
        answer = self._call("chat.postMessage", channel=channel, unfurl_links=False, unfurl_media=False, **arguments)
        message = answer.get("message")
        alone = isinstance(message, dict) and bool(message.get("ts")) and not message.get("thread_ts")
        strayed = alone and "thread_ts" in arguments
        return Posted(str(answer.get("channel") or channel), str(answer.get("ts") or ""), strayed)

    def update(self, channel_id: str, ts: str, **arguments: Any) -> None:
        """Edit a message of ours. Raises as `post` does."""
        self._call("chat.update", channel=channel_id, ts=ts, **arguments)

    def form(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Call a method that reads a form and no JSON, such as those of files. Raises as `post` does."""
        return self._ask(method, data=arguments)

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        return self._ask(method, json={"parse": "none", **arguments})

    def _ask(self, method: str, **body: Any) -> dict[str, Any]:
        try:
            response = self._client.api_call(method, **body)
            self._heard(response.headers)
            data = response.data
            if isinstance(data, dict):
                return data
            raise ValueError("no object")
        except SlackApiError as error:
            place = (body.get("json") or body.get("data") or {}).get("channel")
            raise self._meaning(error, method, str(place or "")) from None  # its text holds the URL
        except _FAILURES as error:
            raise transport_error(error, method) from None

    def _meaning(self, error: SlackApiError, method: str, channel: str) -> Exception:
        answer = getattr(error.response, "data", None)
        data = answer if isinstance(answer, dict) else {}
        code = data.get("error")
        code = code if isinstance(code, str) and _CODE.fullmatch(code) else ""  # else the SDK's words about garbage
        status = int(getattr(error.response, "status_code", 0) or 0)
        headers = getattr(error.response, "headers", None) or {}
        self._heard(headers)
        values = {"needed": _scopes(data.get("needed")), "channel": _name_of(channel)}
        return answer_error(code, status, header(headers, "Retry-After"), self._clock.now(), method, **values)

    def _heard(self, headers: Mapping[str, object]) -> None:
        """An answer came. Nothing is done with its headers here."""


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
            raise permanent("foreign")
        code = body if _CODE.fullmatch(body) and body != "ok" else ""
        raise answer_error(code, status, header(response.headers, "Retry-After"), self._clock.now(), "webhook")
