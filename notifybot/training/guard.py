"""The border between the training and us: nothing of ours is raised across it."""

from __future__ import annotations

import logging
from types import TracebackType

from notifybot.errors import UsageError
from notifybot.training.signals import SIGNALS
from notifybot.training.tracebacks import words
from notifybot.training.words import failed

log = logging.getLogger("notifybot")

_ERROR_CHARS = 300


class Guard:
    """Counts the faults of one run by kind, and logs the first of each."""

    def __init__(self) -> None:
        self.faults: dict[str, int] = {}

    def __call__(self, kind: str, *, loud: tuple[type[Exception], ...] = (UsageError,)) -> Section:
        """A block of our own work, named for the log. Errors of the `loud` types pass."""
        return Section(self, kind, loud)

    def count(self, kind: str, error: BaseException) -> None:
        """Take note of a fault; log the first of its kind."""
        self.faults[kind] = self.faults.get(kind, 0) + 1
        if self.faults[kind] == 1:
            log.warning("%s", failed(kind, words(error, _ERROR_CHARS)))


class Section:
    """A `with` block that swallows every Exception that is not loud, and in which signals wait.

    KeyboardInterrupt and SystemExit pass: they are the user's.
    """

    __slots__ = ("_guard", "_kind", "_loud")

    def __init__(self, guard: Guard, kind: str, loud: tuple[type[Exception], ...]) -> None:
        self._guard = guard
        self._kind = kind
        self._loud = loud

    def __enter__(self) -> None:
        SIGNALS.enter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        swallow = isinstance(error, Exception) and not isinstance(error, self._loud)
        if swallow and error is not None:
            self._guard.count(self._kind, error)
        SIGNALS.leave()
        return swallow
