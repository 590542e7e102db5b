"""Heartbeat thread: reports to the watchdog every few seconds that the process lives, and whether its loop moves."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import READER, StoreError, reader_text
from notifybot.events import LONGEST_PROMISE_S
from notifybot.files import started
from notifybot.redaction import redact
from notifybot.rendering.error_text import watchdog_line
from notifybot.training.tracebacks import thread_stack
from notifybot.types import Language, RunRef

if TYPE_CHECKING:
    import requests

log = logging.getLogger("notifybot")

_TIMEOUTS_S = (3.0, 5.0)
_STACK_AFTER_S = 60.0
_LOOK_EVERY_S = 5.0  # so the time of the last movement is known to five seconds
PATH = "/api/v1/heartbeats"


@dataclass(frozen=True, slots=True)
class Pulse:
    """Position of the training thread; two equal pulses mean that it has not moved."""

    epoch: int | None
    done: int
    steps: int
    moves: int


class Heartbeat:
    """Beats until stopped. Raises nothing: a failure is counted, the first of a row is logged.

    `notifier_state` (what the process's notifiers remember of the run) travels along whenever it has changed.
    `on_superseded` is called once, on the heartbeat's thread, when a newer process reports the run; `on_back` when the
    watchdog answers after it did not.
    """

    def __init__(
        self,
        url: str,
        token: str,
        run: RunRef,
        pulse: Callable[[], Pulse],
        *,
        beat_s: float,
        clock: Clock = SYSTEM,
        notifier_state: Callable[[], Mapping[str, Any]] | None = None,
        on_superseded: Callable[[], None] | None = None,
        on_back: Callable[[], None] = lambda: None,
    ) -> None:
        self.beats = 0
        self.failures = 0
        self.state = ""
        self._url = url.rstrip("/") + PATH
        self._token = SecretStr(token)
        self._run = run
        self._pulse = pulse
        self._beat_s = beat_s
        self._clock = clock
        self._notifier_state = notifier_state
        self._carried: Mapping[str, Any] = {}
        self._on_superseded = on_superseded
        self._on_back = on_back
        self._next_by_s: float | None = None
        self._watched = threading.get_ident()
        self._stopped = threading.Event()
        self._last: Pulse | None = None
        self._moved_s = clock.monotonic()
        self._ailing = False
        self._thread = threading.Thread(target=self._live, name="notifybot-heartbeat", daemon=True)

    def start(self) -> None:
        """Start, with one beat at once. If the calling thread hangs later, its stack is reported."""
        self._watched = threading.get_ident()
        started(self._thread)  # without a thread the run has no heartbeats

    def stop(self) -> None:
        """Beat no more. Does not wait. Stopping twice is fine."""
        self._stopped.set()

    def promise(self, seconds: float) -> None:
        """Announce to the watchdog that the loop may stand still for so many seconds from now."""
        if not math.isnan(seconds):
            self._next_by_s = self._clock.monotonic() + min(seconds, LONGEST_PROMISE_S)  # JSON has no infinity

    def look(self) -> None:
        """Notice whether the loop has moved."""
        pulse = self._pulse()
        if pulse != self._last:
            if self._last is not None and (pulse.epoch, pulse.moves) != (self._last.epoch, self._last.moves):
                self._next_by_s = None  # the loop has moved: the announced pause is over
            self._last, self._moved_s = pulse, self._clock.monotonic()

    def beat(self, session: requests.Session) -> None:
        """Send one heartbeat."""
        import requests  # the import takes 60 ms, here not of the training thread

        self.beats += 1
        notifier_state = self._packed()
        body = self._body() | ({"memories": notifier_state} if notifier_state != self._carried else {})
        try:
            headers = {"Authorization": f"Bearer {self._token.get_secret_value()}"}
            answer = session.post(self._url, json=body, timeout=_TIMEOUTS_S, headers=headers)
            answer.raise_for_status()
            before, self.state = self.state, str(answer.json().get("state", ""))
            if self.state == "superseded" and self.state != before and self._on_superseded is not None:
                self._on_superseded()
        except (requests.RequestException, ValueError, AttributeError) as error:
            self.failures += 1
            if not self._ailing:
                self._ailing = True
                log.warning("%s", reader_text("training.heartbeat.not_delivered", why=redact(_why(error))[:200]))
        else:
            was_ailing, self._carried, self._ailing = self._ailing, notifier_state, False
            if was_ailing:
                self._on_back()

    def _packed(self) -> Mapping[str, Any]:
        try:
            return self._notifier_state() if self._notifier_state is not None else {}
        except StoreError:
            return self._carried  # the database is busy: the next beat carries it

    def _live(self) -> None:
        from notifybot.notifiers.http import session_for

        with session_for(self._url) as session:
            due_s = self._clock.monotonic()
            while not self._stopped.is_set():
                self.look()
                # The notifiers' first state, such as a thread, goes at once: the watchdog needs it if the run dies.
                is_due = self._clock.monotonic() >= due_s
                if is_due or (not self._ailing and not self._carried and self._packed()):
                    self.beat(session)
                    due_s = self._clock.monotonic() + self._beat_s
                self._clock.wait(self._stopped, min(_LOOK_EVERY_S, max(due_s - self._clock.monotonic(), 0.0)))

    def _body(self) -> dict[str, object]:
        now_s = self._clock.monotonic()
        pulse = self._last or self._pulse()
        age_s = now_s - self._moved_s
        body: dict[str, object] = {
            "run": {
                "id": self._run.id, "name": self._run.name, "project": self._run.project, "session": self._run.session,
            },
            "seq": self.beats,
            "beat_s": self._beat_s,
            "epoch": pulse.epoch,
            "done": pulse.done,
            "steps": pulse.steps,
            "progress_age_s": round(age_s, 3),
            "next_in_s": None if self._next_by_s is None else round(max(self._next_by_s - now_s, 0.0), 3),
        }  # fmt: skip
        if age_s > _STACK_AFTER_S:
            body["stack"] = thread_stack(self._watched)
        return body


def _why(error: Exception) -> str:
    """Return why a heartbeat did not arrive, and the remedy, as a line for people."""
    import requests

    answer = error.response if isinstance(error, requests.HTTPError) else None
    code, values = "foreign", {}
    if answer is not None:
        code = "refused" if answer.status_code == requests.codes.unauthorized else "failing"
        values = {"status": str(answer.status_code)}
    elif isinstance(error, requests.ConnectionError):
        code = "no-connection"
    elif isinstance(error, requests.RequestException) and not isinstance(error, ValueError):
        code, values = "no-answer", {"kind": type(error).__name__}
    return watchdog_line(code, values, Language(READER.language))
