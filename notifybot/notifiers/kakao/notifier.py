"""KakaoTalk as a notifier: to oneself (silent), or from a spare account to friends."""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from notifybot import redaction
from notifybot.clock import SYSTEM, Clock
from notifybot.errors import DeliveryError, TemporaryError, not_pickled, reader_text
from notifybot.events import Event
from notifybot.i18n import text
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.kakao import message as template
from notifybot.notifiers.kakao.api import Api, Credentials
from notifybot.notifiers.kakao.http import (
    AMBIGUOUS,
    BAD_PARAMETER,
    NO_FRIEND,
    QUOTA,
    TEMPORARY,
    TIMEOUT_S,
    Reply,
    friend_error,
    permanent,
)
from notifybot.notifiers.kakao.message import UploadedPicture
from notifybot.notifiers.kakao.quota import PAIR_LIMIT, Quota
from notifybot.notifiers.kakao.token_store import Account, Mode
from notifybot.policy import Pace, day_of
from notifybot.rendering.error_text import error_line
from notifybot.types import Language

_LOG = logging.getLogger("notifybot")
WARN_BEFORE = timedelta(days=14)
_HALF_SENT = "half_told"  # memory key: event id -> receivers who have the message, while others still wait for it
_MOST_HALF_SENT = 20
_NO_FRIEND_SINCE = "no_friend_since"  # memory key: when Kakao first said that a receiver is no friend, in UTC

Painter = Callable[[Event], bytes | None]
"""Draws an event's picture as PNG, 1080×1080 for a phone; None where there is nothing to draw. It must not raise."""


class KakaoTalk:
    """Tells people through the KakaoTalk account that signed in; where to is what the login chose.

    A new login, and a new choice of receivers, is taken up without a restart: when the access token ends, in hours.
    """

    name = "kakao"
    pace = Pace(gap_s=1.0, progress_gap_s=900.0, daily_budget=PAIR_LIMIT, reserved=8, wants_checkpoints=False)

    def __init__(
        self,
        credentials: Credentials,
        token_file: Path,
        *,
        api_url: str = "https://kapi.kakao.com",
        auth_url: str = "https://kauth.kakao.com",
        link_url: str | None = None,
        language: Language = Language.EN,
        picture: Painter = lambda _: None,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        clock: Clock = SYSTEM,
    ) -> None:
        redaction.guard_loggers()
        self.key = f"kakao:{credentials.client}"
        self._client = credentials.client
        self._link_url = link_url
        self._language = language
        self._picture = picture
        self.picture_error: str | None = None  # why the latest message has none: "" if it has one, None if none was due
        self._clock = clock
        self._quota = Quota(token_file, clock)
        self._api = Api(credentials, token_file, api_url=api_url, auth_url=auth_url, timeout_s=timeout_s, clock=clock)

    @property
    def expires_at(self) -> datetime | None:
        """Expiry of the refresh token, in UTC; None while unknown."""
        return self._api.tokens.refresh_expires_at

    @property
    def left_today(self) -> int | None:
        """Messages left today (the day in Korea), counting all jobs that share the token file.

        None while no receiver is chosen; sending then raises.
        """
        receivers = destination_of(self._api.tokens.account).receivers
        return self._quota.left(self._client, receivers) if receivers else None

    def expiring_warning(self, now: datetime) -> str | None:
        """One line for the person when the login needs renewing soon, else None.

        Also on the day that a configured token was exchanged: Kakao takes the old one no more, and a machine that
        forgets its disk (Colab) will start from it again. https://devtalk.kakao.com/t/topic/126899
        """
        outdated_at = self._api.tokens.seed_outdated_at
        if self.expires_at and self.expires_at - now <= WARN_BEFORE:
            return text(self._language, "kakao.message.login_expires", day=day_of(self.expires_at))
        if outdated_at and now - outdated_at < timedelta(days=1):
            return text(self._language, "kakao.message.token_used_up")
        return None

    def send(self, envelope: Envelope) -> None:
        """Send as a feed with the picture and a table, and as plain text where Kakao refuses the feed."""
        self._api.tokens.access_token()  # first: this also loads the login's expiry and its receivers
        remembered = envelope.memory.get("")
        having = frozenset(remembered.get(_HALF_SENT, {}).get(envelope.event.id, ()))
        destination = destination_of(self._api.tokens.account, without=having)
        if not destination.receivers:
            if not having:
                raise permanent("no-friend", setup=True)
            return
        now = self._clock.now()
        warning = self.expiring_warning(now)
        note = warning if warning and remembered.get("warned_on") != day_of(now) else ""
        self._quota.take(self._client, destination.receivers)
        try:
            reply = self._answer(envelope, destination, note)
        except DeliveryError as error:
            self._uncounted(error, destination)
            raise
        failures = destination.failures(reply)
        if failures is None:
            raise self._refused(envelope, reply, destination)
        if note:
            self._remember(envelope, "warned_on", day_of(self._clock.now()))
        self._try_later(envelope, having | set(destination.receivers), failures)

    def close(self) -> None:
        """Give back the sockets."""
        self._api.close()

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def _answer(self, envelope: Envelope, destination: Destination, note: str) -> Reply:
        picture = self._uploaded(envelope.event)
        message, link = envelope.message, self._link_url
        whole = template.template_for(message, link=link, note=note, picture=picture)
        reply = self._api.post(destination.path, destination.fields(whole))
        if reply.code != BAD_PARAMETER or whole["object_type"] != "feed":
            return reply
        if picture:
            self.picture_error = NotTaken(reply.code, with_message=True).in_(self._language)
        plain = template.text(message, link=link, note=note)
        return self._api.post(destination.path, destination.fields(plain))

    def _uploaded(self, event: Event) -> UploadedPicture | None:
        """Draw and upload the event's picture; where that fails in any way, say why: the message goes without it."""
        self.picture_error = None
        png = self._picture(event)
        if not png:
            return None
        taken = upload(self._api, png, self._language)
        if isinstance(taken, NotTaken):
            self.picture_error = taken.in_(self._language)
            _LOG.warning("%s", self.picture_error)
            return None
        self.picture_error = ""
        return taken

    def _refused(self, envelope: Envelope, reply: Reply, destination: Destination) -> DeliveryError:
        if reply.code in QUOTA:
            self._quota.use_up(self._client, destination.receivers)
            return self._api.error(reply)
        error = self._no_friend(envelope) if reply.code == NO_FRIEND else self._api.error(reply)
        return self._uncounted(error, destination)

    def _no_friend(self, envelope: Envelope) -> DeliveryError:
        """Patience with Kakao's list of friends, at most once a day: it does not start anew with each message."""
        now = self._clock.now()
        since = envelope.memory.get("").get(_NO_FRIEND_SINCE)
        waited = now - datetime.fromisoformat(since) if isinstance(since, str) else timedelta(days=1)
        if not timedelta(0) <= waited < timedelta(days=1):
            waited = timedelta(0)
            self._remember(envelope, _NO_FRIEND_SINCE, now.isoformat())
        return friend_error(waited.total_seconds())

    def _uncounted(self, error: DeliveryError, destination: Destination) -> DeliveryError:
        """Return the error. A message that surely did not arrive is uncounted; one that may have arrived is not."""
        if not (isinstance(error, TemporaryError) and error.ambiguous):
            self._quota.give_back(self._client, destination.receivers)
        return error

    def _try_later(self, envelope: Envelope, receivers: frozenset[str], failures: tuple[ReceiverFailure, ...]) -> None:
        """See to the friends who did not get what others got: those who may get it later are tried alone then."""
        later: list[ReceiverFailure] = []
        for failure in failures:
            if failure.code in QUOTA:
                self._quota.use_up(self._client, failure.receivers)
            elif failure.code not in AMBIGUOUS:
                self._quota.give_back(self._client, failure.receivers)
            if failure.code in QUOTA or failure.code in TEMPORARY:
                later.append(failure)
            else:
                number, why = len(failure.receivers), str(self._api.error(Reply(200, {}), failure.code))
                _LOG.warning("%s", reader_text("notifiers.kakao.notifier.friends_not_told", why=why, number=number))
        if later:
            having = receivers.difference(*(failure.receivers for failure in later))
            half_sent = envelope.memory.get("").get(_HALF_SENT, {}) | {envelope.event.id: sorted(having)}
            self._remember(envelope, _HALF_SENT, dict(list(half_sent.items())[-_MOST_HALF_SENT:]))
            raise self._api.error(Reply(200, {}), later[0].code)

    def _remember(self, envelope: Envelope, key: str, value: object) -> None:
        envelope.memory.put("", envelope.memory.get("") | {key: value})


MEMO_PATH = "/v2/api/talk/memo/default/send"
FRIENDS_PATH = "/v1/api/talk/friends/message/default/send"
MYSELF = "me"


@dataclass(frozen=True, slots=True)
class ReceiverFailure:
    """Receivers whom a message did not reach, and Kakao's code for why."""

    code: int | None
    receivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Destination:
    """The receivers of one message: `MYSELF` for a memo, else the uuids of friends."""

    mode: Mode
    receivers: tuple[str, ...]

    @property
    def path(self) -> str:
        return MEMO_PATH if self.mode is Mode.MEMO else FRIENDS_PATH

    def fields(self, template: dict[str, Any]) -> dict[str, str]:
        """The form of a message: JSON inside form fields, as Kakao wants it."""
        form = {"template_object": json.dumps(template, ensure_ascii=False)}
        return form if self.mode is Mode.MEMO else form | {"receiver_uuids": json.dumps(list(self.receivers))}

    def failures(self, reply: Reply) -> tuple[ReceiverFailure, ...] | None:
        """Return the receivers that an accepted message did not reach; None if Kakao did not accept it at all.

        Kakao answers 200 when some friends got it and others did not.
        """
        if reply.status != 200:
            return None
        if self.mode is Mode.MEMO:
            return () if reply.number("result_code") == 0 else None
        reached = reply.body.get("successful_receiver_uuids")
        if not isinstance(reached, list) or not reached:
            return None
        failures = []
        for info in _list(reply.body.get("failure_info")):
            fields = info if isinstance(info, dict) else {}
            code, uuids = fields.get("code"), _list(fields.get("receiver_uuids"))
            if known := tuple(each for each in uuids if isinstance(each, str)):
                failures.append(ReceiverFailure(code if isinstance(code, int) else None, known))
        return tuple(failures)


def destination_of(account: Account | None, *, without: frozenset[str] = frozenset()) -> Destination:
    """Return the destination of a login's messages, less the receivers who already have this one."""
    if account is None or account.mode is Mode.MEMO:
        return Destination(Mode.MEMO, (MYSELF,))
    return Destination(Mode.FRIEND, tuple(each.uuid for each in account.receivers if each.uuid not in without))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


UPLOAD_PATH = "/v2/api/talk/message/image/upload"
LARGEST_BYTES = 5 * 1024 * 1024  # what Kakao's storage recommends; its own limit is not documented
_PNG = b"\x89PNG\r\n\x1a\n"


def upload(api: Api, png: bytes, language: Language) -> UploadedPicture | NotTaken:
    """Hand a PNG to Kakao, which keeps it for the message."""
    if not png.startswith(_PNG) or not 24 <= len(png) <= LARGEST_BYTES:
        return NotTaken(TOO_LARGE)
    code = None
    try:
        reply = api.upload(UPLOAD_PATH, "curve.png", png)
        if reply.status != 200:
            code = reply.code
            raise api.error(reply)
    except DeliveryError as error:
        return NotTaken(code, error_line(error, language))
    width, height = struct.unpack(">II", png[16:24])  # the first chunk of a PNG says its size
    infos = reply.body.get("infos")
    original = infos.get("original") if isinstance(infos, dict) else None
    url = original.get("url") if isinstance(original, dict) else None
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        return NotTaken()
    return UploadedPicture(url, width, height)


TOO_LARGE = -602
_CONSENT = (-3, -402)
_SHAPE = (TOO_LARGE, -606, -911)


@dataclass(frozen=True, slots=True)
class NotTaken:
    """A picture that Kakao did not take: its code, if it gave one, and what that means in the reader's language."""

    code: int | None = None
    why: str = ""
    with_message: bool = False  # Kakao refused the message with the picture, not the upload

    def in_(self, language: Language) -> str:
        """Return the sentence for a person."""
        if self.with_message:
            kind = "feed"
        elif self.code in _CONSENT or self.code in _SHAPE:
            kind = "consent" if self.code in _CONSENT else "shape"
        else:
            kind = "permission" if self.code == -5 else "other" if self.why else "unknown"
        return text(language, f"kakao.picture.{kind}", code=self.code, why=self.why)
