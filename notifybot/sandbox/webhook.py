"""A receiver of webhooks that trusts nobody: it verifies each signature by the specification, written anew.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass
from typing import Any

from notifybot.clock import Clock
from notifybot.sandbox.http import Request, Response, text_response

PATH = "/webhook"
SECRET = "whsec_" + base64.b64encode(b"sandbox key, not a secret at all").decode()
TOLERANCE_S = 300.0  # "webhook-timestamp": an older post may be a replay


@dataclass(frozen=True)
class Received:
    """One post whose signature was right. `repeat` where its id was known already."""

    id: str
    payload: dict[str, Any]
    repeat: bool = False


class WebhookService:
    """Takes signed posts under `/webhook`. `messages` holds what was accepted, `refused` why the others were not."""

    def __init__(self, clock: Clock, secret: str = SECRET) -> None:
        self.secret = secret
        self.messages: list[Received] = []
        self.refused: list[str] = []
        self._clock = clock

    def handle(self, request: Request) -> Response | None:
        """Answer a post: 204 where it is verified, 401 where it is not. None for any other path."""
        if request.path != PATH:
            return None
        why = self._doubt(request)
        if why:
            self.refused.append(why)
            return text_response(why, 401)
        message_id = request.headers["webhook-id"]
        repeat = any(each.id == message_id for each in self.messages)
        self.messages.append(Received(message_id, json.loads(request.body), repeat))
        return Response(204)

    def _doubt(self, request: Request) -> str:
        """Why a request is not to be believed; empty where it is."""
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        message_id, timestamp, signatures = (request.headers.get(name, "") for name in names)
        if not (message_id and timestamp and signatures):
            return "a header is missing"
        if not timestamp.isdecimal() or abs(self._clock.now().timestamp() - int(timestamp)) > TOLERANCE_S:
            return "too old, or from the future"
        key, head = base64.b64decode(self.secret.removeprefix("whsec_")), f"{message_id}.{timestamp}.".encode()
        expected = base64.b64encode(hmac.digest(key, head + request.body, "sha256")).decode()
        given = (each.partition(",") for each in signatures.split(" "))  # several during a key's replacement
        right = (version == "v1" and hmac.compare_digest(expected, value) for version, _, value in given)
        return "" if any(right) else "no signature fits"
