"""Handlers for SIGTERM and SIGHUP: report the ending before the process dies of the signal; restored afterwards.

Never SIGINT: Python makes it a KeyboardInterrupt, and ipykernel sets its own handler for every cell. SIGUSR1 or
SIGUSR2, by which SLURM warns of a job's end, only if a setting asks for it and no other handler is installed.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]
WATCHED = tuple(getattr(signal, each) for each in ("SIGTERM", "SIGHUP") if hasattr(signal, each))  # Windows: no SIGHUP


class Ours:
    """Handler for one signal, installed over an earlier one. Retired under a later one, it only passes signals on."""

    def __init__(self, number: int, act: Callable[[Ours, int, FrameType | None], None]) -> None:
        before = signal.getsignal(number)
        while isinstance(before, Ours) and before._act is None:  # left over from an earlier run: nobody listens to it
            before = before.previous
        self.previous: Handler | int = signal.SIG_DFL if before is None else before
        self._number = number
        self._act: Callable[[Ours, int, FrameType | None], None] | None = act
        signal.signal(number, self)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._act is not None:
            self._act(self, number, frame)
        elif callable(self.previous):
            self.previous(number, frame)
        elif self.previous is signal.SIG_DFL and self.is_above:  # retired in a thread, where it cannot be removed
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    @property
    def is_above(self) -> bool:
        """True when no other handler was installed over it."""
        return signal.getsignal(self._number) is self

    def retire(self) -> None:
        """Do nothing on signals from now on; works on any thread."""
        self._act = None

    def give_back(self) -> None:
        """Retire, and restore the earlier handler if no other was installed over ours."""
        self.retire()
        if self.is_above:
            signal.signal(self._number, self.previous)


class Signals:
    """Signal handlers that are installed while at least one `with` block is open. One object per process.

    A handler runs on the main thread between any two bytecodes, so also within a database transaction. Inside a guarded
    section of the main thread (`depth` of them are open) it only notes the signal; the outermost one acts on it.

    A library that installs its handler over ours and calls ours from it, as Lightning does, decides about the signal:
    then ours only notes it, so that the library can save and exit in its own way.
    """

    def __init__(self) -> None:
        self.seen: int | None = None
        self._ours: dict[int, Ours] = {}
        self._reporters: list[Callable[[int], bool]] = []
        self.depth = 0
        self._acting = self._hurrying = False
        self.waiting: tuple[int, FrameType | None, Handler | int] | None = None

    def watch(self, report: Callable[[int], bool], also: int | None = None) -> None:
        """Call `report` before the process dies of a signal; if it returns True, it lives until `die` or the next one.

        `also` is watched if it has no handler. Outside the main thread this does nothing.
        """
        if not _on_main_thread():
            return
        self._reporters.append(report)
        if len(self._reporters) == 1:
            self.seen, self.depth = None, 0  # a Ctrl-C as a section is entered or left may have miscounted
            self._install(WATCHED)
        if also is not None and signal.getsignal(also) is signal.SIG_DFL:
            self._install((also,))

    def unwatch(self, report: Callable[[int], bool]) -> None:
        """Stop calling `report`; after the last one, restore the earlier handlers where ours are still installed."""
        if report not in self._reporters:
            return
        self._reporters.remove(report)
        if not self._reporters:
            self.restore()

    def seen_by(self, report: Callable[[int], bool]) -> int | None:
        """The signal that the program's own handler took while `report` was watching, or None."""
        return self.seen if report in self._reporters else None

    def act_on_waiting(self) -> None:
        """Act on the signal that waited for the end of the outermost section."""
        waited, self.waiting = self.waiting, None
        if waited is not None:
            self._act(*waited)

    def die(self, number: int) -> None:
        """Act on a signal that was put off: the process dies of it, even if another handler was installed meanwhile."""
        self._act(number, None, self._ours[number].previous if number in self._ours else signal.SIG_DFL)

    def restore(self) -> None:
        """Restore the earlier handlers where ours are still installed."""
        ours, self._ours = self._ours, {}
        for each in ours.values():
            each.give_back() if _on_main_thread() else each.retire()

    def forget(self) -> None:
        """Reset in a forked child, which then dies of a signal as it would without notifybot."""
        self.restore()
        self._reporters.clear()
        self.depth, self.waiting, self.seen = 0, None, None

    def _install(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            handler = signal.getsignal(number)
            if handler is None or handler is signal.SIG_IGN:  # set from C, or ignored on purpose (nohup)
                continue
            self._ours[number] = Ours(number, self._on_signal)

    def _on_signal(self, ours: Ours, number: int, frame: FrameType | None) -> None:
        previous = ours.previous
        if not ours.is_above:  # a handler installed over ours called us
            self.seen = number
            if callable(previous):
                previous(number, frame)
        elif self._acting and not callable(previous):  # a second signal while the first is being reported
            if not self._hurrying:  # or not yet reported, as a save is waited for
                self._hurrying = True
                for report in list(self._reporters):
                    report(number)
            self._die(number)
        elif self.depth and self.waiting is None:  # a second signal means: do not wait
            self.waiting = (number, frame, previous)
        else:
            self._act(number, frame, previous)

    def _act(self, number: int, frame: FrameType | None, previous: Handler | int) -> None:
        self.seen = number
        if callable(previous):
            previous(number, frame)
            return
        self._acting = True
        try:
            answers = [report(number) for report in list(self._reporters)]  # a list, so that each is called
        finally:
            self._acting = self._hurrying = False
        if not any(answers):
            self._die(number)

    def _die(self, number: int) -> None:
        self.restore()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # the parent process sees the signal as the cause of death


def number_of(name: str) -> int | None:
    """The number of "USR1" or "USR2"; None for an empty name, and where the system has no such signal."""
    found: signal.Signals | None = getattr(signal, f"SIG{name}", None) if name else None
    return found


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


SIGNALS = Signals()
