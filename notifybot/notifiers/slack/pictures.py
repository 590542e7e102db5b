"""Pictures in a run's thread: learning curves, drawn while texts go on, uploaded after them, and never in their way;
and those that alerts bring themselves.

An upload is three calls, and needs the scope files:write:
https://docs.slack.dev/messaging/working-with-files#uploading_files
"""

from __future__ import annotations

import http.client
import json
import logging
import unicodedata
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.error import HTTPError

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import DeliveryError, PermanentError, TemporaryError
from notifybot.events import AlertRaised, EpochFinished, Event, RunEnded
from notifybot.i18n import text
from notifybot.notifiers.base import ChartSource, Envelope, PendingChart, permanent_error, temporary_error
from notifybot.notifiers.slack.api import (
    SERVICE,
    TIMEOUT_S,
    SlackRefused,
    WebApi,
    opener_for,
    transport_error,
)
from notifybot.notifiers.slack.mrkdwn import escaped
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.redaction import redact
from notifybot.rendering.error_text import PASTE_MANIFEST, error_line
from notifybot.rendering.text import defang_links, one_line, shorten
from notifybot.store.pictures import suffix_of
from notifybot.types import Language, Message

log = logging.getLogger("notifybot")

GAP_S = 60.0  # least seconds between two pictures of a run's epochs
_PICTURES_A_RUN = 10  # besides new bests
_EVERY = 10  # epochs, where nobody knows how many there will be
_TITLE_CHARS, _COMMENT_CHARS, _ALT_CHARS = 120, 1000, 900
_REPORTED = "pictures_told"  # memory key: the refusal that was reported, so that it is reported once
_FAILURES_MOST = 3
_TRIES_MOST = 20  # of a picture that an alert brings
_WAITING_MOST = 3  # pictures that are drawn at the same time
_ANSWER_BYTES = 1024
_NAME_CHARS, _NAME_BYTES = 60, 200


def upload(api: WebApi, png: bytes, place: RunThread, *, name: str, title: str, alt: str, comment: str = "") -> None:
    """Put a picture into a thread. Raises the two DeliveryErrors; nothing stands in the thread then."""
    file = {"filename": name, "length": len(png), "alt_txt": shorten(alt, _ALT_CHARS)}
    answer = api.call("files.getUploadURLExternal", file, as_form=True)
    url, file_id = str(answer.get("upload_url") or ""), str(answer.get("file_id") or "")
    if not (url.startswith(("https://", "http://")) and file_id):
        raise temporary_error(SERVICE, "foreign")
    _send(url, png)
    files = json.dumps([{"id": file_id, "title": shorten(title, _TITLE_CHARS)}])
    where = {"files": files, "channel_id": place.channel_id, "thread_ts": place.root_ts}
    more = {"initial_comment": comment} if comment else {}
    api.call("files.completeUploadExternal", where | more, as_form=True)


def _send(url: str, png: bytes) -> None:
    request = urllib.request.Request(url, png, {"Content-Type": "application/octet-stream"})  # noqa: S310 - http(s)
    try:
        with opener_for(url).open(request, timeout=TIMEOUT_S) as answer:
            answer.read(_ANSWER_BYTES)
    except HTTPError as error:
        error.close()
        raise permanent_error(SERVICE, "http", status=str(error.code)) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise transport_error(error, "upload") from None  # its text holds the URL, which lets anybody upload


def is_due(event: Event) -> bool:
    """True for an event that deserves a picture: a new best, each tenth of a run, an ending, an alert."""
    if isinstance(event, EpochFinished):
        done, total = event.progress.done, event.progress.total
        every = max(1, -(-total // _PICTURES_A_RUN)) if total else _EVERY
        return event.new_best is not None or done % every == 0
    return isinstance(event, RunEnded | AlertRaised)


@dataclass(frozen=True, slots=True)
class _Pending:
    """A picture that was begun for an event."""

    sketch: PendingChart
    event: Event
    message: Message


class PictureReplies:
    """Answers events with their learning curves. `busy` says that a text of this notifier waits: it goes first.

    A picture that is not ready by then is looked for again after the next text. An epoch's gives way to a newer one,
    which shows more; an alert's and an ending's are waited for, the oldest first. `error` says why the last one that
    was due did not arrive; empty where it did, None where the last text had none.
    """

    def __init__(
        self,
        api: WebApi,
        artist: ChartSource | None,
        *,
        busy: Callable[[], bool] = lambda: False,
        clock: Clock = SYSTEM,
        picture_of: Callable[[Event], bytes | None] = lambda _: None,
    ) -> None:
        self._api = api
        self._artist = artist
        self._picture_of = picture_of
        self._busy = busy
        self._clock = clock
        self._pending: list[_Pending] = []
        self._prepared = ""
        self._begun_s: dict[str, float] = {}
        self._failures = 0
        self._off = False
        self.error: str | None = None

    @property
    def works(self) -> bool:
        """False once Slack has refused a picture for good."""
        return not self._off

    def may_follow(self, event: Event) -> bool:
        """True where a picture may come after the text of an event."""
        return self._artist is not None or brings_its_own(event)

    def prepare(self, envelope: Envelope) -> None:
        """Before the text of an ending: begin its picture, as the process may be gone soon after the text.

        Raises StoreError where the memory does.
        """
        if self.works and isinstance(envelope.event, RunEnded) and self._wanted(envelope):
            self._prepared = envelope.event.id
            self._begin(envelope.event, envelope.message)

    def will_show(self, event: Event) -> bool:
        """True when an event's curves can be left to its picture: an ending's must be ready, others' may come later."""
        if not self.works or self._artist is None or brings_its_own(event):
            return False
        if not isinstance(event, RunEnded):
            return True
        mine = next((each.sketch for each in self._pending if each.event.id == event.id), None)
        return mine is not None and mine.wait(lambda: True) and mine.png is not None

    def follow(self, envelope: Envelope) -> None:
        """After the text of an event: its picture, or an earlier one that is ready by now.

        Raises StoreError where the memory does, and TemporaryError where the picture that an alert brings has to be
        sent later: the delivery is tried again then, and its text is not repeated.
        """
        self.error = None
        if self._off:
            return
        if isinstance(envelope.event, EpochFinished) and self._artist is not None:
            self._artist.warm_up()
        self._put_own(envelope)
        if envelope.event.id != self._prepared and self._wanted(envelope):
            self._begin(envelope.event, envelope.message)
        while self._pending and self._pending[0].sketch.wait(self._busy):
            self._put_drawn(envelope, self._pending.pop(0))
            if not self.works:
                self._give_up(self._pending)
            if self._busy():
                return

    def close(self) -> None:
        """Give up what is not done; nothing is drawn any more."""
        self._give_up(self._pending)
        if self._artist is not None:
            self._artist.close()

    def _give_up(self, some: Sequence[_Pending]) -> None:
        self._pending = [each for each in self._pending if each not in some]
        for each in some:
            each.sketch.cancel()

    def _wanted(self, envelope: Envelope) -> bool:
        event = envelope.event
        if not is_due(event) or brings_its_own(event):
            return False
        if f"{event.id}/picture" in _thread_of(envelope, event.run.id).answered:
            return False
        if any(each.event.id == event.id for each in self._pending):  # the text of this event is being sent again
            return False
        last_s = self._begun_s.get(event.run.id)
        return not isinstance(event, EpochFinished) or last_s is None or self._clock.monotonic() - last_s >= GAP_S

    def _begin(self, event: Event, message: Message) -> None:
        sketch = None if self._artist is None else self._artist.begin(event)
        if sketch is not None:
            self._give_up([each for each in self._pending if isinstance(each.event, EpochFinished)])
            self._give_up(self._pending[: -(_WAITING_MOST - 1)])
            self._pending.append(_Pending(sketch, event, message))
            self._begun_s[event.run.id] = self._clock.monotonic()

    def _put_own(self, envelope: Envelope) -> None:
        """Put the picture that an alert brings below its text, again and again while Slack cannot take it."""
        event, place = envelope.event, _thread_of(envelope, envelope.event.run.id)
        if not brings_its_own(event) or f"{event.id}/picture" in place.answered:
            return
        picture = self._picture_of(event)
        if picture is None:
            return
        try:
            self._put(envelope, event, envelope.message, picture)
        except TemporaryError as error:
            if error.ambiguous or envelope.attempts >= _TRIES_MOST:
                self._failed(envelope, place, error)
                return
            envelope.memory.put(event.run.id, place.to_value())  # it may be tried again
            raise

    def _put_drawn(self, envelope: Envelope, pending: _Pending) -> None:
        if pending.sketch.png is None:
            return
        try:
            self._put(envelope, pending.event, pending.message, pending.sketch.png)
        except TemporaryError as error:
            self._failed(envelope, _thread_of(envelope, pending.event.run.id), error)

    def _put(self, envelope: Envelope, event: Event, message: Message, picture: bytes) -> None:
        """Put a picture into the thread of its event's run, once. Raises TemporaryError."""
        place = _thread_of(envelope, event.run.id)
        if not place.root_ts:
            return
        tried = place.answering(f"{event.id}/picture")  # once, never twice
        envelope.memory.put(event.run.id, tried.to_value())
        title = one_line(message.title)
        silent = isinstance(event, EpochFinished) and event.new_best is None  # no text before it
        try:
            upload(
                self._api, picture, place, name=file_name(event, picture), title=title, alt=message.brief or title,
                comment=defang_links(escaped(title, _COMMENT_CHARS)) if silent else "",  # an upload knows no `parse`
            )  # fmt: skip
            self._failures, self.error = 0, ""
        except PermanentError as error:
            self._failed(envelope, place, error)

    def _failed(self, envelope: Envelope, place: RunThread, error: DeliveryError) -> None:
        self._failures += 1
        refused = error.code if isinstance(error, SlackRefused) and not error.root_gone else ""
        self._off = bool(refused) or self._failures >= _FAILURES_MOST
        language = envelope.message.language
        self.error = remedy_for(refused, language) if refused else error_line(error, language)
        if self._failures == 1:
            log.warning("%s", text(language, "slack.picture.one_not_taken", why=self.error))
        elif self._off:
            log.warning("%s", text(language, "slack.picture.no_more", failures=self._failures))
        if refused:
            self._report(envelope, place, refused)

    def _report(self, envelope: Envelope, place: RunThread, code: str) -> None:
        """Say in the thread what keeps pictures away and what to do, once for each reason."""
        known = envelope.memory.get("")
        if known.get(_REPORTED) == code:
            return
        envelope.memory.put("", known | {_REPORTED: code})
        text = escaped(remedy_for(code, envelope.message.language), _COMMENT_CHARS)
        try:
            self._api.post(place.channel_id, {"text": text}, thread_ts=place.root_ts)
        except DeliveryError as error:
            log.debug("what keeps pictures away could not be reported: %s", redact(str(error)))


def _thread_of(envelope: Envelope, run_id: str) -> RunThread:
    return RunThread.from_value(envelope.memory.get(run_id))


def brings_its_own(event: Event) -> bool:
    """True for an alert with a picture of its own; no curves are drawn for it."""
    return isinstance(event, AlertRaised) and bool(event.picture)


def file_name(event: Event, picture: bytes = b"") -> str:
    """A picture's name after its run: letters and digits of any script, and nothing that a file system or a URL minds.

    At most 200 bytes of the run's name, as many file systems take 255 in all.
    """
    composed = unicodedata.normalize("NFC", event.run.name)  # macOS writes a Korean syllable as several characters
    kept = (each if each in "._-" or unicodedata.category(each)[0] in "LMN" else " " for each in composed)
    name = "-".join("".join(kept).split())[:_NAME_CHARS].encode()[:_NAME_BYTES].decode(errors="ignore").strip("-._")
    return f"{name or 'run'}-{event.progress.done}{suffix_of(picture) or '.png'}"


_NO_SCOPE = ("missing_scope", "no_permission")
_UPLOADS_OFF = ("file_uploads_disabled", "file_uploads_except_images_disabled", "file_type_not_allowed")
_NO_ROOM = ("storage_limit_reached", "file_upload_size_restricted")


def remedy_for(code: str, language: Language) -> str:
    """Return the remedy for a refused upload, for a person. The codes are Slack's."""
    kinds = {"no_scope": _NO_SCOPE, "uploads_off": _UPLOADS_OFF, "no_room": _NO_ROOM}
    kind = next((kind for kind, codes in kinds.items() if code in codes), "not_taken")
    return text(language, f"slack.picture.{kind}", code=code, remedy=PASTE_MANIFEST.in_(language))
