"""Uploads to the pretended Slack: an address for the bytes, the bytes, and a message in the thread.

https://docs.slack.dev/messaging/working-with-files#uploading_files
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from notifybot.clock import Clock
from notifybot.sandbox.http import Request, Response, text_response
from notifybot.sandbox.slack import SlackService
from notifybot.sandbox.slack_state import SlackError, check_scope

_ALT_CHARS = 1000
_UPLOAD, _DOWNLOAD = "/files/upload/", "/files/"
_KINDS = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


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


class FilingSlack(SlackService):
    """The pretended Slack, with files. `files` holds all that were announced, by their ids."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.files: dict[str, SlackFile] = {}
        self._host = ""

    @property
    def shared(self) -> list[SlackFile]:
        """The files that people see, oldest first."""
        return [each for each in self.files.values() if each.shared]

    def handle(self, request: Request) -> Response | None:
        """Answer as without files; besides, take uploads and show what was uploaded."""
        with self._lock:
            self._host = request.headers.get("host", "")
            if request.path.startswith(_UPLOAD):
                return self._take(request)
            if request.path.startswith(_DOWNLOAD):
                return self._show(request)
        return super().handle(request)

    def _call(self, method: str, token: str | None, arguments: dict[str, Any]) -> dict[str, Any]:
        if not method.startswith("files."):
            return super()._call(method, token, arguments)
        if token not in self.tokens:
            raise SlackError("invalid_auth" if token else "not_authed")
        check_scope(method, self.scopes)
        self._refused(method)
        match method:
            case "files.getUploadURLExternal":
                return self._announce(arguments)
            case "files.completeUploadExternal":
                return self._complete(arguments)
        raise SlackError("unknown_method", req_method=method)

    def _announce(self, arguments: dict[str, Any]) -> dict[str, Any]:
        name, length = str(arguments.get("filename") or ""), str(arguments.get("length") or "")
        if not name or not length.isdigit() or int(length) < 1:
            raise SlackError("missing_argument")
        alt = str(arguments.get("alt_txt") or "")
        if len(alt) > _ALT_CHARS:
            raise SlackError("alt_txt_too_large")
        file = SlackFile(f"F0SANDBOX{len(self.files) + 1}", name, int(length), alt)
        self.files[file.id] = file
        return {"upload_url": f"http://{self._host}{_UPLOAD}{file.id}", "file_id": file.id}

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
        kind = next((kind for start, kind in _KINDS.items() if file and file.body.startswith(start)), "")
        if file is None or not kind:
            return text_response("not found", 404)
        return Response(200, file.body, {"Content-Type": kind, "Cache-Control": "no-store"})
