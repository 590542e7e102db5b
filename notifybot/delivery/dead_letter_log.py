"""Log of the messages that a notifier gave up: the first of each run and reason in full, the others as a number."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from dataclasses import dataclass

from notifybot.events import Event
from notifybot.i18n import text
from notifybot.rendering.error_text import brief_reason, reason_line
from notifybot.rendering.text import one_line, shorten
from notifybot.store.held import HeldBatch
from notifybot.types import Language, Reason, RunRef

log = logging.getLogger("notifybot")

_MOST_COUNTED = 256  # runs and reasons that a notifier's refusals are counted for: a standing service sees thousands
_NAME_CHARS = 60


@dataclass(slots=True)
class _Count:
    """Count of the messages of a run given up for one reason, and how many of them were reported."""

    run: str
    why: Reason
    number: int = 0
    reported: int = 0


class DeadLetterLog:
    """Logs the messages that a notifier gave up: the first of each run and reason in full, the others as a number.

    The number is logged when nothing more is to be sent about an ended run, and by `sum_up`. Any thread may call.
    """

    def __init__(self, name: str, language: Language) -> None:
        self._name = name
        self._language = language
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[str, str, str], _Count] = OrderedDict()
        self._over: deque[tuple[str, str]] = deque(maxlen=_MOST_COUNTED)

    def add(self, event: Event, reason: Reason, together: HeldBatch | None) -> None:
        """Count a message, and those that were to be sent with it."""
        language, run = self._language, event.run
        line = reason_line(reason, language)  # reasons that read alike are one
        name = shorten(one_line(run.name) or run.id, _NAME_CHARS)
        key = (run.key, run.session, line)
        if together is not None and len(together.runs) > 1:
            name, key = text(language, "delivery.digest.runs", number=len(together.runs)), ("", "", line)
        with self._lock:
            is_first = key not in self._counts
            count = self._counts.setdefault(key, _Count(name, reason, reported=1))
            self._counts.move_to_end(key)
            count.number += 1 + (len(together.ids) if together is not None else 0)
            outdated = self._counts.popitem(last=False)[1] if len(self._counts) > _MOST_COUNTED else None
        if outdated is not None:
            self._report(outdated)
        if is_first:
            kind = text(language, f"delivery.one_of.{event.kind}")
            log.error("%s", text(language, "delivery.log.given_up", name=self._name, run=name, kind=kind, why=line))

    def over(self, run: RunRef) -> None:
        """Note that a run has ended: few messages will follow."""
        with self._lock:
            self._over.append((run.key, run.session))

    def has(self, run: RunRef, code: str) -> bool:
        """True when a message of this session was given up for a reason of that code, and this was logged."""
        with self._lock:
            return any(
                key[:2] == (run.key, run.session) and each.why.code == code for key, each in self._counts.items()
            )

    def sum_up(self, *, ended: bool = False) -> None:
        """Log the numbers that are not logged yet; with `ended`, only those of runs that have ended."""
        with self._lock:
            found = [each for key, each in self._counts.items() if not ended or key[:2] in self._over]
        for each in found:
            self._report(each)

    def _report(self, count: _Count) -> None:
        with self._lock:
            number, reported, count.reported = count.number, count.reported, count.number
        if number > reported:
            values = {"name": self._name, "run": count.run, "number": number}
            why = brief_reason(count.why, self._language)
            log.warning("%s", text(self._language, "delivery.log.not_sent", **values, why=why))
