"""Child process of `notifybot run`: its streams, its signals and its end, as if nobody stood between.

Each stream goes one of three ways, so that as little as possible stands in it:

* A regular file is the child's own: nothing is pumped, and the wrapper may be killed without hurting anybody. What the
  child writes is read behind it.
* A terminal on stdin and stdout becomes a pseudo-terminal, so that bars, colours and debuggers work.
* Anything else is a pipe; stdout and stderr that lead to the same place share one, which keeps their order.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any

from notifybot.clock import SYSTEM
from notifybot.command import left_pump
from notifybot.command.output import Tail
from notifybot.command.output_files import OutputFiles
from notifybot.files import started

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # exit codes, as a shell has them
_PIECE = 256 * 1024
_SAME_S = 1.0  # a Ctrl-C within a second of the child's end was meant for the child
_REST_S = 0.5  # a grandchild may keep the pipe open after the child
_STDIN, _STDOUT, _STDERR = 0, 1, 2

_FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT", "SIGBREAK")
DEADLY = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")
_OF_THE_KEYBOARD = ("SIGINT", "SIGQUIT")


class Choice(StrEnum):
    """Use of a pseudo-terminal, or forwarding of signals: where it fits, in any case, or not at all."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Unstartable(Exception):
    """The command could not be started; `code` is what a shell would exit with."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


@dataclass(slots=True)
class ReceivedSignals:
    """Signals that reached the child through us or beside us, with the moment (monotonic, in seconds) of each."""

    by_name: dict[str, float] = field(default_factory=dict)

    def add(self, name: str) -> None:
        """Note a signal."""
        self.by_name[name] = SYSTEM.monotonic()

    def deadly(self, within_s: float) -> str:
        """Return the latest signal that ends programs, if it came within the last seconds; else ""."""
        now_s = SYSTEM.monotonic()
        recent = [(at, name) for name, at in self.by_name.items() if name in DEADLY and now_s - at <= within_s]
        return max(recent)[1] if recent else ""


class Child:
    """A running command. `start` first, then `wait` in the main thread, then `close`."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        pty: Choice = Choice.AUTO,
        forward: Choice = Choice.AUTO,
        see: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.tail = Tail()
        self.files = OutputFiles()  # which the child writes by itself
        self.received = ReceivedSignals()
        self._command, self._environment = list(command), dict(environment)
        self._forward = forward
        self._see = see
        self._terminal = _Terminal() if pty is not Choice.NEVER and _wants_terminal(pty) else None
        self._pumps: list[threading.Thread] = []
        self._sources: dict[int, int] = {}  # pipes that have not ended, each with the stream that it is passed on to
        self._former: dict[int, Any] = {}
        self._wakeup: int | None = None
        self._early: list[int] = []  # signals that came before there was a child
        self._ended_at_s = float("inf")
        self._popen: Any = None

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return int(self._popen.pid)

    def start(self) -> None:
        """Start the command, in the main thread. Signals of this process are the child's until `close`.

        Raises Unstartable.
        """
        self._listen()
        self._environment.setdefault("PYTHONUNBUFFERED", "1")
        streams, sources = self._streams()
        found = shutil.which(self._command[0]) if sys.platform == "win32" else None  # finds npm.cmd, too
        try:
            self._popen = subprocess.Popen(
                [found or self._command[0], *self._command[1:]],
                stdin=streams.get(_STDIN),
                stdout=streams.get(_STDOUT),
                stderr=streams.get(_STDERR),
                env=self._environment,
                bufsize=0,
                **({} if self._terminal is None else self._terminal.of_child()),
            )
        except OSError as error:
            self.close()
            raise Unstartable(error) from None
        finally:
            for each in {each for each in streams.values() if each > _STDERR}:
                os.close(each)
        while self._early:
            self._on_signal(self._early.pop(0), None)
        if self._terminal is not None:
            self._terminal.attach(self.received)
        apart = sys.platform == "win32"  # which has no select for pipes
        self._sources = dict(sources)
        groups = [{source: target} for source, target in sources] if apart else [dict(sources)]
        for group in groups:
            pump = threading.Thread(target=self._pump, args=(group,), name="notifybot-output", daemon=True)
            if started(pump):
                self._pumps.append(pump)
            else:  # no thread is to be had, and what nobody reads would hold the child up
                self._pump(group)

    def wait(self) -> int:
        """Wait until the child has ended; return its exit code, or minus the number of the signal that killed it."""
        try:
            while self._popen.poll() is None:
                if self._wakeup is None:
                    with suppress(subprocess.TimeoutExpired):  # on Windows a wait without an end is not cut by Ctrl-C
                        self._popen.wait(0.2)
                else:
                    select.select([self._wakeup], [], [])
                    os.read(self._wakeup, 4096)
            code = int(self._popen.returncode)
            self._ended_at_s = SYSTEM.monotonic()
            for pump in self._pumps:
                pump.join(_REST_S)
        finally:
            if self._terminal is not None:  # keys are the shell's again, and Ctrl-C ours, while the ending is sent
                self._terminal.close()
        for stream, text in self.files.tails():
            if stream == _STDOUT:
                self.tail.precede(text + b"\n")
            else:
                self.tail.feed(text, stream)
        return code

    def close(self) -> None:
        """Give the terminal and the signals back as they were. Closing twice is fine."""
        if self._terminal is not None:
            self._terminal.close()
        while self._former:
            signal.signal(*self._former.popitem())
        if self._wakeup is not None:
            os.close(signal.set_wakeup_fd(-1))
            os.close(self._wakeup)
            self._wakeup = None

    def leave(self) -> None:
        """Leave a pump behind for what has outlived the command and may print into its pipes still; once, at the end.

        A terminal is not left: who shared it with the command was hung up with it.
        """
        left, self._sources = self._sources, {}
        if not left or sys.platform == "win32" or self._terminal is not None:
            return
        pairs = [f"{source}:{target}" for source, target in left.items()]
        line = [sys.executable, "-I", "-S", left_pump.__file__, *pairs]
        with suppress(OSError):
            subprocess.Popen(line, stdin=subprocess.DEVNULL, pass_fds=tuple(left))

    # ── Streams ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _streams(self) -> tuple[dict[int, int], list[tuple[int, int]]]:
        """Return the child's streams, and the pairs of descriptors between which is pumped."""
        streams: dict[int, int] = {}
        sources: list[tuple[int, int]] = []
        fcntl: Any = None if sys.platform == "win32" else import_module("fcntl")
        opened = None if self._terminal is None else self._terminal.open()
        if opened is None:
            self._terminal = None
        else:
            master, slave = opened
            streams = {_STDOUT: slave} | ({_STDIN: slave} if _is_terminal(_STDIN) else {})
            sources = [(master, _STDOUT)]
            if _is_terminal(_STDERR):
                streams[_STDERR] = slave
        for stream in (_STDOUT, _STDERR):
            if stream in streams or not _is_open(stream):
                continue
            status = os.fstat(stream)
            if stat.S_ISREG(status.st_mode):
                self.files.add(stream)
            elif stream == _STDERR and _STDOUT in streams and self._terminal is None and _are_one(_STDOUT, _STDERR):
                streams[_STDERR] = streams[_STDOUT]
            else:
                source, streams[stream] = os.pipe()
                with suppress(OSError, AttributeError):  # Linux: fewer changes between us and a child that prints much
                    fcntl.fcntl(source, fcntl.F_SETPIPE_SZ, 1 << 20)
                sources.append((source, stream))
        return streams, sources

    def _pump(self, sources: dict[int, int]) -> None:
        """Pass on what is printed until every source has ended, as far as possible in the order of printing."""
        unread: set[int] = set()  # streams of ours that nobody reads any more
        while sources:
            ready = list(sources) if len(sources) == 1 else select.select(list(sources), [], [])[0]
            for source in sorted(ready, key=sources.__getitem__):  # what failed has printed before it said so
                try:
                    piece = os.read(source, _PIECE)
                except OSError:  # EIO: the other end of a pseudo-terminal is closed
                    piece = b""
                if not piece:
                    del sources[source], self._sources[source]
                    os.close(source)
                    continue
                target = sources[source]
                self.tail.feed(piece, target)
                if self._see is not None:
                    self._see(target, piece)
                if target not in unread and not _write_all(target, piece):
                    unread.add(target)  # which is no reason for the child to stop

    # ── Signals ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _listen(self) -> None:
        """Take the signals, and a pipe that every signal writes to.

        A signal that comes just before a waitpid would run its handler only after it, and may go to another thread.
        """
        if sys.platform != "win32":
            self._wakeup, written = os.pipe()
            os.set_blocking(written, False)
            signal.set_wakeup_fd(written, warn_on_full_buffer=False)
            self._former[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        for name in _FORWARDED:
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) is signal.SIG_IGN:  # nohup's SIGHUP is the child's to ignore
                continue
            self._former[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _: object) -> None:
        name = signal.Signals(number).name
        if self._popen is None:  # it is being started
            self._early.append(number)
            return
        if self._popen.returncode is not None:  # what ended the child may reach us a moment later; then it means us
            if name == "SIGINT" and SYSTEM.monotonic() - self._ended_at_s > _SAME_S:
                raise KeyboardInterrupt
            return
        self.received.add(name)
        if self._is_forwarded(name):
            with suppress(OSError):
                if sys.platform == "win32":
                    self._popen.terminate()
                else:
                    os.kill(self.pid, number)

    def _is_forwarded(self, name: str) -> bool:
        """False where the child has the signal already: the terminal, SLURM and systemd signal every process.

        A second SIGTERM would cut short the graceful end that the first has begun.
        """
        if self._forward is not Choice.AUTO:
            return self._forward is Choice.ALWAYS
        if name in (*_OF_THE_KEYBOARD, "SIGBREAK"):
            return self._terminal is None and not _at_the_keyboard()
        if name == "SIGTERM":
            return not (self._environment.get("SLURM_STEP_ID", "").isdecimal() or "INVOCATION_ID" in self._environment)
        return True


class _Terminal:
    """A pseudo-terminal between ours and the child's. `close` gives ours back as it was."""

    def __init__(self) -> None:
        self._master = self._slave = -1
        self._former: Any = None
        self._former_winch: Any = None

    def open(self) -> tuple[int, int] | None:
        """Open both ends, with the size and the settings of our terminal; None where this machine has none left."""
        import pty
        import termios

        try:
            self._master, self._slave = pty.openpty()
        except OSError:
            return None
        if _is_terminal(_STDIN):
            with suppress(OSError, termios.error):
                termios.tcsetattr(self._slave, termios.TCSANOW, termios.tcgetattr(_STDIN))
        self._resize()
        return self._master, self._slave

    def of_child(self) -> dict[str, Any]:
        """Return arguments of Popen: a session of its own, whose terminal is the slave."""
        import fcntl
        import termios

        def take() -> None:
            fcntl.ioctl(_STDOUT, termios.TIOCSCTTY, 0)

        return {"start_new_session": True, "preexec_fn": take}

    def attach(self, received: ReceivedSignals) -> None:
        """Hand every key to the child from now on."""
        import termios
        import tty

        if not _is_terminal(_STDIN):
            return
        with suppress(OSError, termios.error):
            self._former = termios.tcgetattr(_STDIN)
            tty.setraw(_STDIN, termios.TCSADRAIN)
        self._former_winch = signal.signal(signal.SIGWINCH, lambda *_: self._resize())
        started(threading.Thread(target=self._type, args=(received,), name="notifybot-keys", daemon=True))

    def close(self) -> None:
        import termios

        former, self._former = self._former, None
        if former is not None:
            signal.signal(signal.SIGWINCH, self._former_winch or signal.SIG_DFL)
            with suppress(OSError, termios.error):
                termios.tcsetattr(_STDIN, termios.TCSADRAIN, former)

    def _type(self, received: ReceivedSignals) -> None:
        import termios

        keys = {termios.VINTR: "SIGINT", termios.VQUIT: "SIGQUIT"}
        while self._former is not None:
            try:
                if not select.select([_STDIN], [], [], 0.2)[0]:  # a key after the end is the shell's
                    continue
                if self._former is None:
                    return
                piece = os.read(_STDIN, 1024)
                modes = termios.tcgetattr(self._master)
                if modes[3] & termios.ISIG:
                    for key, name in keys.items():
                        if modes[6][key] in piece:
                            received.add(name)
                os.write(self._master, piece)
            except (OSError, termios.error):
                return
            if not piece:
                return

    def _resize(self) -> None:
        import fcntl
        import termios

        with suppress(OSError):
            size = fcntl.ioctl(_STDOUT, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)


def _write_all(stream: int, piece: bytes) -> bool:
    """Write everything; False where nobody reads it."""
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[os.write(stream, rest) :]
    except OSError:
        return False
    return True


def _wants_terminal(choice: Choice) -> bool:
    if sys.platform == "win32":
        return False
    return choice is Choice.ALWAYS or (_is_terminal(_STDIN) and _is_terminal(_STDOUT) and _at_the_keyboard())


def _at_the_keyboard() -> bool:
    """True where this process is in the foreground of a terminal, which signals all of the foreground at once."""
    if sys.platform == "win32":
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _is_terminal(stream: int) -> bool:
    return _is_open(stream) and os.isatty(stream)


def _is_open(stream: int) -> bool:
    try:
        os.fstat(stream)
    except OSError:
        return False
    return True


def _are_one(stream: int, other: int) -> bool:
    return _is_open(stream) and _is_open(other) and os.path.samestat(os.fstat(stream), os.fstat(other))
