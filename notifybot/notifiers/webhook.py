"""A webhook of one's own: each event as signed JSON, in the way of Standard Webhooks.

The headers, the signature and what an answer means are the specification's, so that any of its libraries verifies what
arrives: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json

from pydantic import SecretBytes, SecretStr

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.errors import ConfigError, DeliveryError, not_pickled, reader_text
from notifybot.events import to_json
from notifybot.notifiers.base import Envelope, Notifier, Surroundings, permanent_error, temporary_error
from notifybot.notifiers.http import ask, read_body, session_for
from notifybot.policy import Pace
from notifybot.redaction import fingerprint, guard_loggers, register
from notifybot.retry import parse_retry_after

TIMEOUTS_S = (3.05, 10.0)  # to connect, and for each read
LARGEST_BODY_BYTES, BODY_S = 16 * 1024, 1.0  # what is read of an answer, to use its connection again
KEY_BYTES = range(24, 65)
PREFIX = "whsec_"
_SERVICE = "webhook"

_NOT_PROCESSED = (408, 425, 429)
_SETUP = (401, 403, 404, 405)
_MOVED = (301, 308)
_GONE = 410  # the specification: the receiver wants no more of it, ever


def from_config(config: Config, around: Surroundings) -> list[Notifier]:
    """The webhook that the settings name, if any. Raises ConfigError for a secret that is no key."""
    if config.webhook_url is None:
        return []
    secret = config.webhook_secret.get_secret_value() if config.webhook_secret else None
    return [Webhook(config.webhook_url.get_secret_value(), secret, clock=around.clock)]


class Webhook:
    """Posts every event to one address, where a program reads it. Without a secret the posts are not signed.

    `secret` is a key in base64, with or without `whsec_` before it. Raises ConfigError where it is not.
    """

    name = "webhook"
    pace = Pace(folds=False)  # a program can read them all

    def __init__(
        self,
        url: str,
        secret: str | None = None,
        *,
        clock: Clock = SYSTEM,
        timeouts_s: tuple[float, float] = TIMEOUTS_S,
    ) -> None:
        register([url, secret, (secret or "").removeprefix(PREFIX)])
        guard_loggers()
        self.key = f"{self.name}:{fingerprint(url)}"
        self._url = SecretStr(url)
        self._key = SecretBytes(signing_key(secret)) if secret else None
        self._clock = clock
        self._timeouts_s = timeouts_s
        self._session = session_for(url)

    def send(self, envelope: Envelope) -> None:
        """Post the event. A repeat carries the same `webhook-id`, by which the receiver tells it."""
        body = payload(envelope)
        answer = ask(
            self._session, "POST", self._url.get_secret_value(), _SERVICE, no_tls="certificate",
            data=body, headers=self._headers(envelope.event.id, body), timeout=self._timeouts_s,
        )  # fmt: skip
        read_body(answer, clock=self._clock, most_bytes=LARGEST_BODY_BYTES, within_s=BODY_S)  # only the status counts
        if not 200 <= answer.status_code < 300:
            raise self._refusal(answer.status_code, answer.headers.get("Retry-After"))

    def close(self) -> None:
        """Give back the sockets."""
        self._session.close()

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def _headers(self, event_id: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(self._clock.now().timestamp()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "notifybot",
            "webhook-id": event_id,
            "webhook-timestamp": timestamp,
        }
        if self._key is not None:
            headers["webhook-signature"] = signature(self._key.get_secret_value(), event_id, timestamp, body)
        return headers

    def _refusal(self, status: int, retry_after: str | None) -> DeliveryError:
        if status == _GONE:
            return permanent_error(_SERVICE, "gone", setup=True)
        if status in _MOVED:
            return permanent_error(_SERVICE, "moved", status=str(status), setup=True)
        if status in _NOT_PROCESSED or status >= 500:
            wait_s = parse_retry_after(retry_after, self._clock.now())
            ambiguous = status not in _NOT_PROCESSED
            return temporary_error(_SERVICE, "failing", status=str(status), retry_after_s=wait_s, ambiguous=ambiguous)
        if status < 400:
            return temporary_error(_SERVICE, "log-in", status=str(status), ambiguous=True)
        return permanent_error(_SERVICE, "refused", status=str(status), setup=status in _SETUP)


def payload(envelope: Envelope) -> bytes:
    """The body: type and moment on top, then the event as it is stored and its message in the reader's language."""
    event, message = envelope.event, envelope.message
    rendered = {
        "language": message.language,
        "severity": message.severity,
        "title": message.title,
        "body": message.body,
        "brief": message.brief,
        "link": message.link,
    }
    data = {"event": json.loads(to_json(event)), "message": rendered, "skipped": envelope.skipped}
    whole = {"type": event.kind, "timestamp": event.at.isoformat(), "data": data}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def signing_key(secret: str) -> bytes:
    """The key of a secret. Raises ConfigError, without the secret in it."""
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) not in KEY_BYTES:
        raise ConfigError(
            reader_text("notifiers.webhook.secret_is_no_key", least=KEY_BYTES[0], most=KEY_BYTES[-1])
        ) from None
    return key


def signature(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`: version 1, HMAC-SHA256 over the id, the moment and the body, with dots."""
    digest = hmac.new(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()
