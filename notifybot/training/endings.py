"""Rules and hooks that decide how a run ended, from what left its loop; docs/en/endings.md has them as a table.

A `with` block sees why it is left. A bare `for` does not: CPython closes its iterator before any hook sees the
exception. Such a run is recorded as *stopped*, and corrected if an exception is reported soon after.
"""

from __future__ import annotations

import atexit
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import Any, Protocol

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import reader_text
from notifybot.files import at_fork, started
from notifybot.rendering.text import redacted_line
from notifybot.runtime import CellEnd, first_word, leave_word
from notifybot.store.location import local_folder
from notifybot.training.guard import Guard
from notifybot.training.signals import SIGNALS
from notifybot.training.tracebacks import describe
from notifybot.types import Status, Unit

EXIT_S = 2.0  # the most that we may delay the end of a process
PROVISIONAL_S = 2.0


@dataclass(frozen=True, slots=True)
class Ending:
    """Outcome of a run: its status and, for a failure, the error and where it was raised."""

    status: Status
    error: str = ""
    frames: str = ""
    note: str = ""  # why it finished early
    returned: str = ""  # by a function that is the run, as text
    on_purpose: bool = False  # left by the loop's own code: the values logged last count as an epoch

    def error_in(self, epoch: int | None, unit: Unit = "epoch") -> str:
        """Error with the epoch, or the step, that was open when it came, if one was."""
        return self.error if epoch is None or not self.error else f"{self.error} [{unit} {epoch}]"


def ending_of(error: BaseException | None, *, exhausted: bool, signal_seen: int | None = None) -> Ending:
    """Judge what left the loop or the block. `exhausted`: there was nothing more to do."""
    if error is not None and _is_interruption(error):
        return Ending(Status.INTERRUPTED)
    if error is not None and _kinds(error) & _STOPS:
        return Ending(Status.STOPPED, on_purpose=True)
    if isinstance(error, SystemExit) and error.code is not None and error.code != 0 and not signal_seen:
        if isinstance(error.code, int):
            said = reader_text("training.endings.exit_code", code=error.code)
        else:
            said = redacted_line(reader_text("training.endings.exit_text", text=error.code), 500)
        return Ending(Status.FAILED, said, describe(error).frames)
    if error is not None and not isinstance(error, GeneratorExit | SystemExit):
        failure = describe(error)
        return Ending(Status.FAILED, failure.error, failure.frames)
    if exhausted:
        return Ending(Status.FINISHED)
    if signal_seen:
        return Ending(Status.INTERRUPTED, signal.Signals(signal_seen).name, on_purpose=True)
    return Ending(Status.STOPPED, on_purpose=True)


_CANCELLED = frozenset(
    {"asyncio.exceptions.CancelledError", "concurrent.futures._base.CancelledError", "trio.Cancelled"}
)
# Exceptions by which libraries stop a training on purpose: not failures. By name, as none of them need be installed.
_STOPS = frozenset({
    "TrialPruned",  # Optuna's, and any other class of this name
    "ray.exceptions.TaskCancelledError",
    "lightning.pytorch.utilities.exceptions._TunerExitException",
    "pytorch_lightning.utilities.exceptions._TunerExitException",
    "fastai.callback.core.CancelFitException",
    "lightgbm.callback.EarlyStopException",
})  # fmt: skip


def is_cancelled(error: BaseException | None) -> bool:
    """True where a task was cancelled: by Ctrl-C, a timeout, or another task that failed."""
    return error is not None and bool(_kinds(error) & _CANCELLED)


def _is_interruption(error: BaseException) -> bool:
    """True for Ctrl-C, and for what asyncio, trio and Lightning make of it (Lightning leaves with `sys.exit(1)`)."""
    if isinstance(error, KeyboardInterrupt) or is_cancelled(error):
        return True
    if isinstance(error, SystemExit):
        return isinstance(error.__cause__ or error.__context__, KeyboardInterrupt)
    return isinstance(error, BaseExceptionGroup) and all(map(_is_interruption, error.exceptions))


def _kinds(error: BaseException) -> set[str]:
    """The names of an exception's classes, with their modules; an exception of the program's own has its bare name."""
    kinds = type(error).__mro__
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in kinds} | {kind.__name__ for kind in kinds}


def meant(ending: Ending, note: str) -> Ending:
    """Return a finished ending if the loop's own code stopped with a note, else the ending unchanged."""
    if note and (ending.status is Status.FINISHED or (ending.on_purpose and not ending.error)):
        return replace(ending, status=Status.FINISHED, note=note)
    return ending


# As gloo and NCCL put it when another process is gone.
_LOST_PEER = re.compile(r"gloo|NCCL|Dist(Backend|Network)Error|connection (closed|reset) by peer", re.IGNORECASE)


def traced_to_rank(ending: Ending, state_dir: Path, now: datetime) -> Ending:
    """Return the failure of another rank on this machine if this one was terminated for it, or lost its connections."""
    terminated = ending.status is Status.INTERRUPTED and ending.error == signal.SIGTERM.name
    if not terminated and not (ending.status is Status.FAILED and _LOST_PEER.search(ending.error)):
        return ending
    first = first_word(local_folder(state_dir), now)
    return ending if first is None else Ending(Status.FAILED, f"rank {first.rank}: {first.error}", first.frames)


def leave_failure(ending: Ending, epoch: int | None, state_dir: Path, now: datetime) -> None:
    """Leave this rank's failure for the one that reports the run, which is only terminated. Raises OSError."""
    if ending.status is Status.FAILED:
        leave_word(local_folder(state_dir), ending.error_in(epoch), ending.frames, now)


class Endable(Protocol):
    """Interface of a run that this module can end."""

    def end(self, ending: Ending, *, instead: bool = False) -> None:
        """Record the ending, unless one is recorded; with `instead`, record this one after it."""
        ...

    def forget_after_fork(self) -> None:
        """Do nothing from now on: this is a forked child."""
        ...


@dataclass(eq=False, slots=True)
class PendingExit:
    """Bare loop that was left for a reason not known yet. `code` and `line`: where the loop's own code was then."""

    run: Endable
    code: CodeType
    line: int
    decided: threading.Event

    def explains(self, traceback: TracebackType | None) -> bool:
        """True when the exception with this traceback is the one that left the loop."""
        while traceback is not None:
            if traceback.tb_frame.f_code is self.code and traceback.tb_lineno == self.line:
                return True
            traceback = traceback.tb_next
        return False


class ExceptHook:
    """Hook on `sys.excepthook`: notes the exception that ended the program, then calls the hook that was there before.

    When no run needs it, the hook before it is restored; under another library's hook it only passes calls on.
    """

    def __init__(self, hear: Callable[[BaseException, TracebackType | None], None]) -> None:
        before = sys.excepthook
        while isinstance(before, ExceptHook) and before._hear is None:  # left over from an earlier run
            before = before._previous
        self._previous: Callable[..., object] = before
        self._hear: Callable[[BaseException, TracebackType | None], None] | None = hear
        sys.excepthook = self

    def __call__(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        try:
            if self._hear is not None:
                self._hear(error, traceback)
        finally:
            self._previous(kind, error, traceback)

    def give_back(self) -> None:
        """Stop listening; restore the hook before ours if no other hook was installed over it."""
        self._hear = None
        if sys.excepthook is self:
            sys.excepthook = self._previous


# The open runs of this thread or task, the innermost last: tasks of one thread each have their own.
_HERE: ContextVar[tuple[Endable, ...]] = ContextVar("notifybot_open_runs", default=())


class Endings:
    """Registry of the process's open runs, and of the hooks that show how they end. One object per process."""

    def __init__(self, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._open: list[Endable] = []
        self._leaving: list[PendingExit] = []
        self._stopped: list[PendingExit] = []  # recorded as stopped; an exception may still explain them
        self._cancelled: list[tuple[Endable, float]] = []  # recorded as interrupted, and when (monotonic seconds)
        self._by_cell: dict[Endable, bool] = {}  # open, and ended by an error of a notebook's cell; or by any end of it
        self._lock = threading.Lock()
        self._cell_end = CellEnd(self.cell_ended)
        self._hook: ExceptHook | None = None
        self._last_error: BaseException | None = None
        self._registered = False
        self._finalized_in = 0
        self._flushes: list[Callable[[float], object]] = []
        self._exiting = False
        self._spent_s = 0.0

    def opened(self, run: Endable) -> None:
        """Register a run that begins: loops that were left before it were left on purpose."""
        self.decide(None)
        self._stopped, self._cancelled = [], []  # no later exception explains them
        self._open.append(run)
        _HERE.set((*(each for each in _HERE.get() if each in self._open), run))
        self._listen()

    def innermost(self) -> Endable | None:
        """Return the open run that began last in this thread or task, else in this process; None where none is open."""
        opened = list(self._open)  # other threads end theirs meanwhile
        here = [each for each in _HERE.get() if each in opened] or opened
        return here[-1] if here else None

    def ends_with_cell(self, run: Endable, *, normally: bool = False) -> None:
        """An error that ends a notebook's cell ends this run: a framework trains, and no hook of its shows errors.

        `normally`: so does the cell's end without one, as no hook shows that either.
        """
        self._by_cell[run] = normally

    def ended(self, run: Endable, spent_s: float) -> None:
        """Remove a run that recorded its ending; that took `spent_s` of the seconds we may delay the process's end."""
        self._spent_s = spent_s
        if run in self._open:
            self._open.remove(run)
        self._by_cell.pop(run, None)
        self._rest()

    def left(self, run: Endable, frame: FrameType | None) -> None:
        """Note that a bare loop was left early. `frame` is the loop's."""
        code, line = (frame.f_code, frame.f_lineno) if frame else (self.left.__code__, 0)
        leaving = PendingExit(run, code, line, threading.Event())
        with self._lock:
            self._leaving.append(leaving)
        late = threading.Thread(target=self._decide_late, args=(leaving,), name="notifybot-ending", daemon=True)
        if self._exiting or not started(late):
            self.decide(None, leaving)

    def cancelled(self, run: Endable) -> None:
        """Note that a cancelled task left a block: the cause may be the exception that ends the program in a moment."""
        self._cancelled.append((run, self._clock.monotonic()))
        self._listen()

    def decide(self, error: BaseException | None, only: PendingExit | None = None) -> None:
        """Decide on every loop that was left, or on `only` that one: `error` ended it, or None did."""
        with self._lock:
            undecided = list(self._leaving) if only is None else [only]
        for leaving in undecided:
            with self._lock:
                if leaving not in self._leaving:
                    continue
                self._leaving.remove(leaving)
                if error is None:
                    self._stopped.append(leaving)
            leaving.decided.set()
            leaving.run.end(ending_of(error, exhausted=False))

    def cell_ended(self, error: BaseException | None) -> None:
        """Decide on everything that was left, at the end of a notebook's cell."""
        self.decide(error)
        self._explain_cancelled(error)
        self._stopped, self._cancelled = [], []
        for run, normally in list(self._by_cell.items()):
            if normally or error is not None:
                run.end(ending_of(error, exhausted=False))
        self._rest()

    def forget_after_fork(self) -> None:
        """Forget every run in a forked child: they are the parent's."""
        for run in [*self._open, *(each.run for each in self._leaving)]:
            run.forget_after_fork()
        self._lock = threading.Lock()
        self._open, self._leaving, self._flushes = [], [], []
        self._stopped, self._cancelled, self._by_cell = [], [], {}
        self._rest()
        SIGNALS.forget()

    def register_flush(self, flush: Callable[[float], object]) -> None:
        """Call `flush` with the seconds left when the process ends."""
        self._flushes.append(flush)

    def flush_no_more(self, flush: Callable[[float], object]) -> None:
        """Undo `register_flush`."""
        self._flushes.remove(flush)

    def at_exit(self) -> None:
        """Decide on open runs at the end of the process, and send what is unsent within two seconds in all."""
        self._exiting = True
        until = self._clock.monotonic() + max(EXIT_S - self._spent_s, 0.0)
        guard = Guard()
        self.decide(self._last_error)
        for run in list(self._open):
            run.end(ending_of(self._last_error, exhausted=False))
        with suppress(KeyboardInterrupt):  # Ctrl-C now means: do not wait; at exit nothing could catch it
            for flush in self._flushes:
                with guard("last_delivery"):
                    flush(max(until - self._clock.monotonic(), 0.0))

    def _decide_late(self, leaving: PendingExit) -> None:
        if not self._clock.wait(leaving.decided, PROVISIONAL_S):
            self.decide(None, leaving)

    def _on_exception(self, error: BaseException, traceback: TracebackType | None) -> None:
        """Take note of what ended the program."""
        self._last_error = error
        self.decide(error)
        for leaving in [each for each in self._stopped if each.explains(traceback)]:
            leaving.run.end(ending_of(error, exhausted=False), instead=True)
        self._explain_cancelled(error)

    def _explain_cancelled(self, error: BaseException | None) -> None:
        """Record runs of recently cancelled tasks as failed, if `error` shows a timeout or another task's failure."""
        ending = ending_of(error, exhausted=True)
        for run, at_s in self._cancelled:
            if ending.status is Status.FAILED and self._clock.monotonic() - at_s <= PROVISIONAL_S:
                run.end(ending, instead=True)

    def _listen(self) -> None:
        self._cell_end.start()
        if not self._cell_end.listening and (self._hook is None or sys.excepthook is not self._hook):
            self._give_back_hook()  # IPython replaces the hook around each cell; elsewhere we install ours on top again
            self._hook = ExceptHook(self._on_exception)
        if not self._registered:
            atexit.register(self.at_exit)
            self._registered = True
        self._listen_in_child()

    def _listen_in_child(self) -> None:
        """Register for the end of a `multiprocessing` process: it ends by `os._exit`, which skips atexit functions.

        Its finalizers run before that (multiprocessing/process.py, `_bootstrap`), the higher priorities first.
        """
        multiprocessing: Any = sys.modules.get("multiprocessing")
        util: Any = sys.modules.get("multiprocessing.util")
        if util is None or self._finalized_in == os.getpid() or multiprocessing.parent_process() is None:
            return
        self._finalized_in = os.getpid()
        util.Finalize(None, self._at_exit_of_child, exitpriority=10)

    def _at_exit_of_child(self) -> None:
        """Finalizers run while the process's exception is on its way; `torch.multiprocessing` makes an exit of it."""
        error = sys.exc_info()[1]
        if isinstance(error, SystemExit) and isinstance(error.__context__, Exception):
            error = error.__context__
        self._last_error = self._last_error or error
        self.at_exit()

    def _rest(self) -> None:
        """Remove the hooks when no run needs them."""
        if not (self._open or self._leaving or self._stopped or self._cancelled):
            self._cell_end.stop()
            self._give_back_hook()

    def _give_back_hook(self) -> None:
        hook, self._hook = self._hook, None
        if hook is not None:
            hook.give_back()


ENDINGS = Endings()
at_fork(after_in_child=ENDINGS.forget_after_fork)
