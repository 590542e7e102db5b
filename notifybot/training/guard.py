"""Guard: keeps notifybot's own errors out of the training; counts them and logs the first of each kind."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple

from notifybot.errors import READER, UsageError, reader_text
from notifybot.i18n import has_text
from notifybot.training.signals import SIGNALS
from notifybot.training.tracebacks import error_line

log = logging.getLogger("notifybot")

_ERROR_CHARS = 300
_SKIPPED = "metric "  # begins a kind that counts skipped metric values


class Guard:
    """Counts the faults of one run by kind, and logs the first of each.

    A kind is a key of the catalog, `training.guard.kinds.…`, and after a blank the name of a thing: "tracker wandb".
    """

    def __init__(self) -> None:
        self.faults: dict[str, int] = {}

    def __call__(self, kind: str, *, loud: tuple[type[Exception], ...] = (UsageError,)) -> Section:
        """Return a guarded `with` block for our own work, named for the log. Errors of the `loud` types pass."""
        return Section(self, kind, loud)

    def count(self, kind: str, error: BaseException) -> None:
        """Take note of a fault; log the first of its kind."""
        self.faults[kind] = self.faults.get(kind, 0) + 1
        if self.faults[kind] == 1:
            log.warning(
                "%s", reader_text("training.guard.failed", kind=_named(kind), why=error_line(error, _ERROR_CHARS))
            )


class Section(NamedTuple):
    """A `with` block that swallows every Exception that is not loud, and in which signals wait.

    KeyboardInterrupt and SystemExit pass: they are the user's.
    """

    guard: Guard
    kind: str
    loud: tuple[type[Exception], ...]

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            SIGNALS.depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        swallow = isinstance(error, Exception) and not isinstance(error, self.loud)
        if swallow and error is not None:
            self.guard.count(self.kind, error)
        if threading.current_thread() is threading.main_thread():
            SIGNALS.depth = max(SIGNALS.depth - 1, 0)  # whoever begins to watch in a section has begun the count anew
            if SIGNALS.depth == 0 and SIGNALS.waiting is not None:
                SIGNALS.act_on_waiting()
        return swallow


def failures_line(name: str, faults: Mapping[str, int]) -> str:
    """Return a line on notifybot's own failures in a run, and on skipped metric values."""
    failures, skipped = list[str](), list[str]()
    for kind, count in faults.items():
        if kind.startswith(_SKIPPED):
            value = kind.removeprefix(_SKIPPED)
            skipped.append(reader_text("training.guard.counted_values", name=value, count=count))
        else:
            failures.append(reader_text("training.guard.counted_failures", kind=_named(kind), count=count))
    parts = []
    if failures:
        parts.append(reader_text("training.guard.failures_of_run", failures=", ".join(failures)))
    if skipped:
        parts.append(reader_text("training.guard.skipped_values_of_run", skipped=", ".join(skipped)))
    return f"{name}: {'. '.join(parts)}"


def _named(kind: str) -> str:
    code, _, name = kind.partition(" ")
    key = f"training.guard.kinds.{code}"
    return reader_text(key, name=name) if has_text(key, READER.language) else kind
