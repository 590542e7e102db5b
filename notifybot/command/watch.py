"""`notifybot watch PID`: a process that somebody else has started is followed until it is gone.

The exit code of a process is its parent's to know: nothing is claimed about how it ended.
"""

from __future__ import annotations

import errno
import os
import select
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import UsageError, reader_text
from notifybot.events import Event, RunStarted
from notifybot.i18n import text
from notifybot.training.endings import Ending
from notifybot.training.run import Run
from notifybot.types import Severity, Status, uuid7

if TYPE_CHECKING:
    from notifybot.config import Config

_TICK_S = 1.0
_FLUSH_S = 10.0
_PROC = Path("/proc")
_LEAVING = ("SIGTERM", "SIGHUP")


class WatchedProcess:
    """A process of this machine, known by its number and the moment of its start: numbers are used again.

    On Linux the kernel tells of its end by a descriptor of the process (pidfd_open, Linux 5.3); elsewhere it is looked
    at once a second. Raises UsageError where it is not there, or not visible from here.
    """

    def __init__(self, pid: int, *, proc: Path = _PROC, pidfd: bool = True) -> None:
        self.pid = pid
        self._proc = proc / str(pid)
        self._born = self._birth()
        if self._born is None:
            raise UsageError(reader_text("command.watch.not_there", pid=pid))
        self._descriptor = _pidfd(pid) if pidfd else None

    def is_gone(self, within_s: float) -> bool:
        """Wait up to so many seconds for its end."""
        if self._descriptor is not None:
            return bool(select.select([self._descriptor], [], [], within_s)[0])
        if self._birth() != self._born:
            return True
        SYSTEM.wait(threading.Event(), within_s)
        return self._birth() != self._born

    def words(self) -> list[str]:
        """Return the words of its command line; none where they may not be read."""
        if self._proc.parent.is_dir():
            with suppress(OSError):
                return self._proc.joinpath("cmdline").read_bytes().decode("utf-8", "replace").rstrip("\0").split("\0")
            return []
        if sys.platform == "win32":
            with _of_psutil(self.pid) as process:
                return list(process.cmdline())
            return []
        return shlex.split(_ps(self.pid, "args=") or "")

    def written_bytes(self) -> int | None:
        """Return how much it, and all below it, has written and printed; None where that may not be read."""
        below = [self.pid]
        total = None
        for pid in below:
            folder = self._proc.parent / str(pid)
            with suppress(OSError, ValueError):  # a process below may be gone by now
                for children in folder.glob("task/*/children"):
                    below += [int(each) for each in children.read_text().split() if int(each) not in below]
                io = dict(line.split(": ") for line in folder.joinpath("io").read_text().splitlines())
                total = (total or 0) + int(io["wchar"])
        return total

    def close(self) -> None:
        """Give the descriptor back. Closing twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _birth(self) -> str | None:
        """Mark of its start; None where there is no such process, or it has ended and nobody has fetched its code."""
        if self._proc.parent.is_dir():
            try:  # "pid (name) state ppid …", where a name may hold anything; field 22 is the start, in clock ticks
                fields = self._proc.joinpath("stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            except OSError:
                return None
            return None if fields[0] in "ZX" else fields[19]
        if sys.platform == "win32":
            with _of_psutil(self.pid) as process:
                return str(process.create_time())
            return None
        return _ps(self.pid, "lstart=")


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        raise UsageError(reader_text("command.watch.not_there", pid=pid)) from None
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise UsageError(reader_text("command.watch.a_thread", pid=pid)) from None
        return None  # an older kernel, or one that allows it not


@contextmanager
def _of_psutil(pid: int) -> Iterator[Any]:
    psutil: Any = import_module("psutil")  # which the package needs on Windows
    with suppress(psutil.Error):
        yield psutil.Process(pid)


def _ps(pid: int, column: str) -> str | None:
    try:
        done = subprocess.run(["ps", "-o", column, "-p", str(pid)], capture_output=True, text=True)  # noqa: S607
    except OSError:
        return None
    return done.stdout.strip() or None


class WatchedRun(Run):
    """Run of a process that began before: no message says that it started now."""

    def emit(self, event: Event) -> None:
        """Hand an event to all who want it."""
        super().emit(replace(event, joins=True) if isinstance(event, RunStarted) else event)


class _WatchLeft(Exception):
    """The watcher itself is to end. Its first argument is the signal's number."""


def watch(
    process: WatchedProcess,
    config: Config,
    *,
    name: str,
    project: str | None = None,
    command: str = "",
    stall_s: float = 0.0,
    clock: Clock = SYSTEM,
) -> int:
    """Report a process until it is gone, or until Ctrl-C ends the watching; return the exit code."""
    if stall_s and process.written_bytes() is None:
        raise UsageError(reader_text("command.watch.no_stall_here"))
    params = {"pid": process.pid} | ({"command": command} if command else {})
    run = WatchedRun(
        name=name, project=project, run_id=uuid7(), params=params, config=config, console=False, clock=clock
    )
    lang, pid = config.lang, process.pid
    former = [(each, signal.signal(each, _leave)) for each in _signals(_LEAVING)]
    code, note = 0, text(lang, "command.watch.gone")
    try:
        run.start()
        run.report(text(lang, "command.watch.begun", pid=pid), command, Severity.INFO)
        _say(text(lang, "command.watch.watching", name=name, pid=pid))
        _follow(process, run, stall_s)
    except (KeyboardInterrupt, _WatchLeft) as left:
        code = 128 + (int(left.args[0]) if left.args else signal.SIGINT)
        note = text(lang, "command.watch.left")
    for number, handler in former:
        signal.signal(number, handler)
    _say(f"{name}: {note}")
    run.end(Ending(Status.STOPPED, note=note))
    with suppress(KeyboardInterrupt):
        run.flush(_FLUSH_S)
    process.close()
    return code


def _follow(process: WatchedProcess, run: Run, stall_s: float) -> None:
    written, written_at_s, silent = process.written_bytes() if stall_s else None, run.clock.monotonic(), False
    while not process.is_gone(_TICK_S):
        if not stall_s:
            continue
        now = process.written_bytes()
        if now != written:
            written, written_at_s, silent = now, run.clock.monotonic(), False
        silent_s = run.clock.monotonic() - written_at_s
        if silent_s >= stall_s and not silent:
            silent = True
            run.report(text(run.config.lang, "command.watch.silent", minutes=round(silent_s / 60, 1)))


def _leave(number: int, _: object) -> None:
    raise _WatchLeft(number)


def _signals(names: Sequence[str]) -> list[signal.Signals]:
    """Those of the names that this system has, and that are not ignored, as under nohup."""
    there = [getattr(signal, name) for name in names if hasattr(signal, name)]
    return [each for each in there if signal.getsignal(each) is not signal.SIG_IGN]


def _say(line: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"notifybot: {line}\n")
