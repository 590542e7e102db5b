"""Relay to the watchdog: raw events, not messages. The watchdog ignores an event id that it knows."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import requests
from pydantic import SecretStr
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, SSLError

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import PermanentError, StoreError, not_pickled
from notifybot.events import Event, in_older_words, to_json
from notifybot.notifiers.base import Envelope, permanent_error, temporary_error
from notifybot.notifiers.http import read_body, session_for
from notifybot.policy import Pace
from notifybot.redaction import fingerprint, redact, register
from notifybot.retry import parse_retry_after
from notifybot.types import RunRef

TIMEOUTS_S = (3.05, 10.0)

NotifierState = Callable[[str], Mapping[str, Any]]
"""Memories of this process's own notifiers about a run, by its key (`store.notifier_state.export_for`)."""

_SERVICE = "watchdog"
_NEVER_SENT = (NewConnectionError, ConnectTimeoutError, SSLError)
_NOT_PROCESSED = (408, 425, 429)
_REASON_CHARS = 200
_SETUP = (403, 404, 405)


class WatchdogRelay:
    """Posts events to the watchdog. With `direct` this process sends to people, the watchdog only keeps the events.

    `notifier_state` travels with the events whenever it has changed, so that what the watchdog has to tell of the
    run later goes into the same thread. `on_superseded` hears of a run that a newer process reports, once for each
    session, and may not raise.
    """

    name = "watchdog"
    pace = Pace(folds=False, wants_held=True)

    def __init__(
        self,
        url: str,
        token: SecretStr,
        *,
        direct: bool,
        clock: Clock = SYSTEM,
        timeouts_s: tuple[float, float] = TIMEOUTS_S,
        notifier_state: NotifierState | None = None,
        on_superseded: Callable[[RunRef], None] | None = None,
    ) -> None:
        register([token.get_secret_value()])
        self._url = url.rstrip("/") + "/api/v1/events"
        self._direct = direct
        self._clock = clock
        self._timeouts_s = timeouts_s
        self._notifier_state = notifier_state
        self._on_superseded = on_superseded
        self._carried: dict[str, str] = {}
        self._superseded: set[tuple[str, str]] = set()
        self._session = session_for(url)
        self._session.headers["Authorization"] = f"Bearer {token.get_secret_value()}"
        self._session.headers["Content-Type"] = "application/json"
        self.key = f"watchdog:{fingerprint(url)}"

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def send(self, envelope: Envelope) -> None:
        """Post one event. Raises TemporaryError or PermanentError."""
        run = envelope.event.run
        notifier_state = self._packed(run.key)
        memories = (
            f',"memories":{{{json.dumps(run.id)}:{notifier_state}}}'
            if notifier_state != self._carried.get(run.key, "")
            else ""
        )
        answer = self._post_event(envelope.event, memories)
        if memories:
            self._carried[run.key] = notifier_state
        self._hear(run, answer.get("superseded"))

    def _post_event(self, event: Event, memories: str) -> dict[str, Any]:
        """Post an event, again in an older version's words where the watchdog does not take ours."""
        direct = "true" if self._direct else "false"

        def post(event: Event) -> dict[str, Any]:
            return self._post(f'{{"events":[{to_json(event)}],"direct":{direct}{memories}}}')

        try:
            return post(event)
        except PermanentError as refusal:
            if refusal.code != "not-taken":
                raise
            for older in in_older_words(event):
                with contextlib.suppress(PermanentError):
                    return post(older)
            raise

    def _hear(self, run: RunRef, superseded: object) -> None:
        if (
            not isinstance(superseded, list)
            or run.session not in superseded
            or (run.key, run.session) in self._superseded
        ):
            return
        self._superseded.add((run.key, run.session))
        if self._on_superseded is not None:
            self._on_superseded(run)

    def _packed(self, run_key: str) -> str:
        if self._notifier_state is None:
            return ""
        try:
            notifier_state = self._notifier_state(run_key)
        except StoreError:
            return self._carried.get(run_key, "")  # it goes with the next event
        return json.dumps(notifier_state, sort_keys=True) if notifier_state else ""

    def _post(self, body: str) -> dict[str, Any]:
        try:
            answer = self._session.post(
                self._url, data=body.encode(), timeout=self._timeouts_s, allow_redirects=False, stream=True
            )
        except requests.ConnectionError as error:
            raise temporary_error(_SERVICE, "no-connection", ambiguous=not _never_sent(error)) from None
        except requests.RequestException as error:
            raise temporary_error(_SERVICE, "no-answer", kind=type(error).__name__, ambiguous=True) from None
        said = read_body(answer, clock=self._clock, within_s=self._timeouts_s[1])  # also of a refusal: one connection
        if answer.status_code != requests.codes.ok:
            raise self._refusal(answer, said)
        return _read(said)

    def _refusal(self, answer: requests.Response, said: bytes | None) -> Exception:
        status = answer.status_code
        if status == requests.codes.unauthorized:
            return permanent_error(_SERVICE, "refused", setup=True)
        if status in _NOT_PROCESSED or status >= 500:
            after = parse_retry_after(answer.headers.get("Retry-After"), self._clock.now())
            ambiguous = status not in _NOT_PROCESSED
            return temporary_error(_SERVICE, "failing", status=str(status), retry_after_s=after, ambiguous=ambiguous)
        if status < 400:  # a redirect to a login page
            return temporary_error(_SERVICE, "log-in", status=str(status), ambiguous=True)
        if status == requests.codes.unprocessable and (why := _reason(said)):
            return permanent_error(_SERVICE, "not-taken", why=why)
        return permanent_error(_SERVICE, "strange", status=str(status), setup=status in _SETUP)

    def close(self) -> None:
        """Close the connection. Closing twice is fine."""
        self._session.close()


def _never_sent(error: requests.ConnectionError) -> bool:
    """True when there was no connection to send anything on."""
    cause = error.args[0] if error.args else None
    return isinstance(cause, MaxRetryError) and isinstance(cause.reason, _NEVER_SENT)


def _reason(said: bytes | None) -> str:
    """Return the watchdog's own reason for refusing an event; empty if another server answered."""
    try:
        answer = json.loads(said or b"")
    except ValueError:
        return ""
    error = answer.get("error") if isinstance(answer, dict) else None
    return redact(" ".join(error.split()))[:_REASON_CHARS] if isinstance(error, str) else ""


def _read(answer: bytes | None) -> dict[str, Any]:
    """Return the watchdog's answer. A proxy that answers 200 to everything took no event."""
    try:
        said = json.loads(answer or b"")
    except ValueError:
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("accepted"), int):
        raise temporary_error(_SERVICE, "foreign", ambiguous=True)
    return said
