"""A Slack workspace that exists in memory: incoming webhook, Web API and uploads, with Slack's own answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from notifybot.clock import Clock
from notifybot.sandbox import blockkit
from notifybot.sandbox.http import Request, Response, json_response, picture_type, text_response
from notifybot.sandbox.slack_scheduled import ScheduledMessages
from notifybot.sandbox.slack_state import (
    BOT_ID,
    BOT_TOKEN,
    BOT_USER,
    CHANNEL,
    SCOPE_OF,
    TEAM,
    TEXT_CHARS,
    UPDATE_TEXT_CHARS,
    WEBHOOK_PATH,
    WEBHOOK_STATUS,
    SlackChannel,
    SlackError,
    SlackMessage,
    SlackRevision,
)

_ALT_CHARS = 1000
_UPLOAD, _DOWNLOAD = "/files/upload/", "/files/"


@dataclass
class SlackFile:
    """A file of the workspace. It is `shared` once its upload was completed; until then nobody sees it."""

    id: str
    name: str
    length: int
    alt: str = ""
    title: str = ""
    body: bytes = b""
    shared: bool = False

    @property
    def path(self) -> str:
        """Path of the file for the sandbox's own pages."""
        return f"{_DOWNLOAD}{self.id}"


class SlackService:
    """Answers as Slack does. Knobs are plain attributes, to be set while it runs.

    `messages` holds all that was accepted, oldest first; `schedule` what is to be posted later; `files` all that were
    announced, by their ids; `calls` each Web API method with its arguments (and "webhook"). `burst` is how many
    messages a channel may get at once before it is held to one a second (None: no limit). `refuse` orders an error for
    the next calls. `unknown_blocks` names block types to be refused, as where a new one is not rolled out yet. `scopes`
    is what the app was installed with.
    """

    def __init__(self, clock: Clock) -> None:
        self.schedule = ScheduledMessages(clock)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.tokens = {BOT_TOKEN}
        self.scopes = set(SCOPE_OF.values())
        rooms = (
            SlackChannel("C0TRAINING", CHANNEL),
            SlackChannel("C0ALERTS", "alerts"),
            SlackChannel("C0OTHER", "other"),
        )
        self.channels = {each.id: each for each in rooms}
        self.webhooks = {WEBHOOK_PATH: "C0TRAINING"}
        self.unknown_blocks: set[str] = set()
        self.burst: int | None = None
        self.files: dict[str, SlackFile] = {}
        self._messages: list[SlackMessage] = []
        self._refusals: list[tuple[str, str]] = []
        self._buckets: dict[str, tuple[float, float]] = {}
        self._last_s = 0.0
        self._clock = clock
        self._lock = threading.RLock()

    @property
    def messages(self) -> list[SlackMessage]:
        """All that was accepted, oldest first, with what was scheduled and is due by now."""
        with self._lock:
            for each in self.schedule.due():
                self._keep(each.payload, each.channel_id, "bot", each.post_at)
            return self._messages

    def refuse(self, method: str, error: str, times: int = 1) -> None:
        """Answer the next `times` calls of a method ("webhook" for the webhook) with this error."""
        self._refusals += [(method, error)] * times

    def thread(self, ts: str) -> list[SlackMessage]:
        """The replies to a root message, oldest first."""
        return [each for each in self.messages if each.thread_ts == ts]

    @property
    def roots(self) -> list[SlackMessage]:
        """The messages that are no replies, oldest first."""
        return [each for each in self.messages if each.thread_ts is None]

    @property
    def shared(self) -> list[SlackFile]:
        """The files that people see, oldest first."""
        return [each for each in self.files.values() if each.shared]

    def delete(self, message: SlackMessage) -> None:
        """Remove a message, as a person would."""
        self.messages.remove(message)

    def handle(self, request: Request) -> Response | None:
        """Answer a request under `/api/`, `/services/` or `/files/`; None for any other path."""
        path = request.path
        with self._lock:
            if path.startswith(_UPLOAD):
                return self._take(request)
            if path.startswith(_DOWNLOAD):
                return self._show(request)
            _ = self.messages  # posts the scheduled messages that are due before this request
            if path.startswith("/services/"):
                return self._webhook(request)
            if path.startswith("/api/"):
                response = self._api(path.removeprefix("/api/"), request)
                scopes = {"X-OAuth-Scopes": ",".join(sorted(self.scopes))}  # all that the token may do
                return Response(response.status, response.body, response.headers | scopes)
        return None

    # ------------------------------------------------------------------ webhook

    def _webhook(self, request: Request) -> Response:
        channel = self.channels.get(self.webhooks.get(request.path, ""))
        if channel is None:
            return text_response("no_service", 404)
        try:
            payload = json.loads(request.body)
            if request.method != "POST" or not isinstance(payload, dict):
                raise SlackError("invalid_payload")
            self.calls.append(("webhook", payload))
            self._refused("webhook")
            self._accept(payload, channel, "webhook")
        except ValueError:
            return text_response("invalid_payload", 400)
        except SlackError as error:
            if error.error == "ratelimited":
                return Response(429, b"rate_limited", {"Retry-After": "1"})
            return text_response(error.error, WEBHOOK_STATUS.get(error.error, 400))
        return text_response("ok")

    # ------------------------------------------------------------------ Web API

    def _api(self, method: str, request: Request) -> Response:
        try:
            arguments = _arguments(request)
            self.calls.append((method, arguments))
            return json_response({"ok": True, **self._call(method, request, arguments)})
        except SlackError as error:
            if error.error == "ratelimited":
                response = json_response({"ok": False, "error": "ratelimited"}, 429)
                return Response(429, response.body, response.headers | {"Retry-After": "1"})
            return json_response({"ok": False, "error": error.error, **error.more})

    def _call(self, method: str, request: Request, arguments: dict[str, Any]) -> dict[str, Any]:
        if request.bearer not in self.tokens:
            raise SlackError("invalid_auth" if request.bearer else "not_authed")
        self._refused(method)
        needed = SCOPE_OF.get(method)
        if needed is not None and needed not in self.scopes:
            raise SlackError("missing_scope", needed=needed, provided=",".join(sorted(self.scopes)))
        match method:
            case "auth.test":
                names = {"url": "https://sandbox.slack.com/", "team": "Sandbox", "user": "notifybot"}
                ids = {"team_id": TEAM, "user_id": BOT_USER, "bot_id": BOT_ID}
                return {**names, **ids, "is_enterprise_install": False}
            case "chat.postMessage":
                return self._post(arguments)
            case "chat.update":
                return self._update(arguments)
            case "chat.getPermalink":
                channel = self._channel(arguments, by_name=False)
                message = self._find(channel, arguments.get("message_ts"))
                link = f"https://sandbox.slack.com/archives/{channel.id}/p{message.ts.replace('.', '')}"
                return {"channel": channel.id, "permalink": link}
            case "chat.scheduleMessage":
                channel = self._channel(arguments, by_name=True)
                self._check(arguments, channel, "bot")
                if arguments.get("thread_ts") is not None:
                    self._find(channel, arguments["thread_ts"])
                return self.schedule.add(channel.id, arguments)
            case "chat.deleteScheduledMessage":
                return self.schedule.delete(self._channel(arguments, by_name=False).id, arguments)
            case "chat.scheduledMessages.list":
                return self.schedule.listing(arguments)
            case "files.getUploadURLExternal":
                return self._announce(arguments, request.headers.get("host", ""))
            case "files.completeUploadExternal":
                return self._complete(arguments)
        raise SlackError("unknown_method", req_method=method)

    def _post(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments, by_name=True)
        message = self._accept(arguments, channel, "bot")
        return {"channel": channel.id, "ts": message.ts, "message": _described(message)}

    def _update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        channel = self._channel(arguments, by_name=False)
        message = self._find(channel, arguments.get("ts"))
        if message.via != "bot":
            raise SlackError("cant_update_message")
        if len(arguments.get("text") or "") > UPDATE_TEXT_CHARS:
            raise SlackError("msg_too_long")
        self._validate(arguments)
        now = message.now
        says_text = arguments.get("text") is not None  # an update with text and no blocks removes the blocks
        blocks = arguments.get("blocks", [] if says_text else now.blocks)
        attachments = arguments.get("attachments", [] if says_text else now.attachments)
        message.revisions.append(SlackRevision(self._clock.now(), arguments.get("text") or "", blocks, attachments))
        return {"channel": channel.id, "ts": message.ts, "text": message.text, "message": _described(message)}

    # ------------------------------------------------------------------ files
    # https://docs.slack.dev/messaging/working-with-files#uploading_files

    def _announce(self, arguments: dict[str, Any], host: str) -> dict[str, Any]:
        name, length = str(arguments.get("filename") or ""), str(arguments.get("length") or "")
        if not name or not length.isdigit() or int(length) < 1:
            raise SlackError("missing_argument")
        alt = str(arguments.get("alt_txt") or "")
        if len(alt) > _ALT_CHARS:
            raise SlackError("alt_txt_too_large")
        file = SlackFile(f"F0SANDBOX{len(self.files) + 1}", name, int(length), alt)
        self.files[file.id] = file
        return {"upload_url": f"http://{host}{_UPLOAD}{file.id}", "file_id": file.id}

    def _take(self, request: Request) -> Response:
        file = self.files.get(request.path.removeprefix(_UPLOAD))
        if request.method != "POST" or file is None:
            return text_response("not found", 404)
        if len(request.body) != file.length:
            return text_response("wrong length", 400)
        file.body = request.body
        return text_response(f"OK - {file.length}")

    def _complete(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Share files; without a channel they stay the app's own. A file can be completed once."""
        wanted = json.loads(str(arguments.get("files") or "[]"))
        files = [self.files.get(str(each.get("id"))) for each in wanted]
        if not files or any(file is None or not file.body or file.shared for file in files):
            raise SlackError("file_not_found")
        whole = [file for file in files if file is not None]
        for file, each in zip(whole, wanted, strict=True):
            file.title = str(each.get("title") or file.name)
        if arguments.get("channel_id"):
            self._share(whole, arguments)
        return {"files": [{"id": file.id, "title": file.title} for file in whole]}  # no ts: it is shared a little later

    def _share(self, files: list[SlackFile], arguments: dict[str, Any]) -> None:
        channel = self._channel({"channel": arguments["channel_id"]}, by_name=False)
        blocks = [
            {
                "type": "image", "image_url": file.path, "alt_text": file.alt or file.name,
                "title": {"type": "plain_text", "text": file.title},
            }
            for file in files
        ]  # fmt: skip
        said = {"text": str(arguments.get("initial_comment") or ""), "blocks": blocks}
        thread = {"thread_ts": arguments["thread_ts"]} if arguments.get("thread_ts") else {}
        if thread:
            self._find(channel, thread["thread_ts"])
        self._limit(channel)
        for file in files:
            file.shared = True
        self._keep(said | thread, channel.id, "bot", self._clock.now().timestamp())

    def _show(self, request: Request) -> Response:
        file = self.files.get(request.path.removeprefix(_DOWNLOAD))
        kind = picture_type(file.body) if file is not None else ""
        if file is None or not kind:
            return text_response("not found", 404)
        return Response(200, file.body, {"Content-Type": kind, "Cache-Control": "no-store"})

    # ------------------------------------------------------------------ rules

    def _refused(self, method: str) -> None:
        for refusal in self._refusals:
            if refusal[0] == method:
                self._refusals.remove(refusal)
                raise SlackError(refusal[1])

    def _channel(self, arguments: Mapping[str, Any], *, by_name: bool) -> SlackChannel:
        wanted = str(arguments.get("channel") or "")
        channel = self.channels.get(wanted)
        if channel is None and by_name:
            channel = next((each for each in self.channels.values() if each.name == wanted.removeprefix("#")), None)
        if channel is None:
            raise SlackError("channel_not_found")
        if not channel.member:
            raise SlackError("not_in_channel")
        return channel

    def _find(self, channel: SlackChannel, ts: Any) -> SlackMessage:
        for message in self._messages:
            if message.channel == channel.id and message.ts == ts:
                return message
        raise SlackError("message_not_found")

    def _root_of(self, payload: Mapping[str, Any], channel_id: str) -> SlackMessage | None:
        """The message that is answered. A reply to one that was deleted stands in the channel, and no error says so:
        https://github.com/slack-go/slack/issues/1571
        """
        ts = payload.get("thread_ts")
        return next((each for each in self._messages if each.channel == channel_id and each.ts == ts), None)

    def _accept(self, payload: dict[str, Any], channel: SlackChannel, via: str) -> SlackMessage:
        self._check(payload, channel, via)
        self._limit(channel)
        return self._keep(payload, channel.id, via, self._clock.now().timestamp())

    def _check(self, payload: dict[str, Any], channel: SlackChannel, via: str) -> None:
        if channel.archived:
            raise SlackError("is_archived" if via == "bot" else "channel_is_archived")
        if not any(payload.get(key) for key in ("text", "blocks", "attachments")):
            raise SlackError("no_text")
        self._validate(payload)
        root = self._root_of(payload, channel.id)
        if root is not None and root.thread_ts is not None:
            raise SlackError("cannot_reply_to_message")

    def _keep(self, payload: Mapping[str, Any], channel_id: str, via: str, at_s: float) -> SlackMessage:
        text = (payload.get("text") or "")[:TEXT_CHARS]  # Slack silently cuts longer text
        at = datetime.fromtimestamp(at_s, UTC)
        revision = SlackRevision(at, text, payload.get("blocks") or [], payload.get("attachments") or [])
        root = self._root_of(payload, channel_id)
        thread_ts = root.ts if root else None
        broadcast = bool(thread_ts and payload.get("reply_broadcast"))
        message = SlackMessage(channel_id, self._ts(at_s), via, [revision], thread_ts, broadcast)
        self._messages.append(message)
        return message

    def _validate(self, payload: Mapping[str, Any]) -> None:
        found = blockkit.problems(payload)
        found += [
            blockkit.Problem(f"/{name}", f"unsupported type: {name}") for name in sorted(self.unknown_blocks)
            if f'"type": "{name}"' in json.dumps(payload)
        ]  # fmt: skip
        if found:
            raise SlackError(
                found[0].error,
                errors=[f"{each.text} [json-pointer:{each.pointer}]" for each in found],
                response_metadata={"messages": [str(each) for each in found]},
            )

    def _limit(self, channel: SlackChannel) -> None:
        if self.burst is None:
            return
        now = self._clock.monotonic()
        tokens, at = self._buckets.get(channel.id, (float(self.burst), now))
        tokens = min(float(self.burst), tokens + now - at)
        self._buckets[channel.id] = (max(tokens - 1, 0.0) if tokens >= 1 else tokens, now)
        if tokens < 1:
            raise SlackError("ratelimited")

    def _ts(self, at_s: float) -> str:
        """The moment as Slack names messages by: unique and growing, even where the clock stands still."""
        self._last_s = max(at_s, round(self._last_s + 0.000001, 6))
        return f"{self._last_s:.6f}"


def _arguments(request: Request) -> dict[str, Any]:
    """Arguments as JSON, as a form, or in the query; in the latter two, blocks and attachments are JSON strings."""
    if "json" in request.headers.get("content-type", ""):
        try:
            value = json.loads(request.body or b"{}")
        except ValueError:
            raise SlackError("invalid_json") from None
        if not isinstance(value, dict):
            raise SlackError("json_not_object")
        return value
    values: dict[str, Any] = {**request.query, **request.form}
    for name in ("blocks", "attachments"):
        if name in values:
            try:
                values[name] = json.loads(values[name])
            except ValueError:
                raise SlackError("invalid_blocks_format") from None
    return values


def _described(message: SlackMessage) -> dict[str, Any]:
    now = message.now
    described: dict[str, Any] = {"type": "message", "user": BOT_USER, "bot_id": BOT_ID, "ts": message.ts}
    described |= {"text": now.text, "blocks": now.blocks, "attachments": now.attachments}
    if message.thread_ts:
        described["thread_ts"] = message.thread_ts
    return described
