"""A child with somebody in between: its streams, signals and exit code are as without."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

WRAPPER = """
import json, os, sys
from notifybot.command.process import Child, Choice, Unstartable
report, choice, *command = sys.argv[1:]
child = Child(command, os.environ, pty=Choice(choice))
try:
    child.start()
except Unstartable as error:
    sys.exit(error.code)
open(report + ".pid", "w").write(str(child.pid))
code = child.wait()
child.close()
with open(report, "w") as file:
    json.dump({"code": code, "tail": child.tail.lines(5), "received": child.received.deadly(60)}, file)
sys.exit(code if code >= 0 else 128 - code)
"""
READY_S = 60.0


class Wrapped:
    """A wrapper with a child, as a process."""

    def __init__(self, folder: Path, *command: str, choice: str = "auto", **streams: Any) -> None:
        self.report = folder / "report.json"
        arguments = [sys.executable, "-c", WRAPPER, str(self.report), choice, *command]
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        self.process: Any = subprocess.Popen(arguments, start_new_session=True, **options)

    def ended(self) -> tuple[int, bytes, bytes, dict[str, Any]]:
        """Exit code, stdout, stderr and what the wrapper found."""
        out, err = self.process.communicate(timeout=READY_S)
        found = json.loads(self.report.read_text()) if self.report.exists() else {}
        return self.process.returncode, out or b"", err or b"", found

    def until_printed(self, text: bytes) -> None:
        """Wait until the child has printed a text."""
        stream = self.process.stdout
        assert stream is not None
        seen = b""
        while text not in seen:
            assert select.select([stream], [], [], READY_S)[0], seen
            seen += os.read(stream.fileno(), 4096)

    def child_pid(self) -> int:
        return int((self.report.parent / "report.json.pid").read_text())


@pytest.fixture
def python(tmp_path: Path) -> Any:
    """Wraps a program of Python."""
    return lambda program, **options: Wrapped(tmp_path, sys.executable, "-c", program, **options)


@pytest.mark.parametrize(
    ("command", "code", "exit_code"),
    [
        (["true"], 0, 0),
        (["sh", "-c", "exit 3"], 3, 3),
        (["sh", "-c", "exit 255"], 255, 255),
        (["sh", "-c", "exit 137"], 137, 137),
        (["sh", "-c", "kill -ABRT $$"], -6, 134),
        (["sh", "-c", "kill -INT $$"], -2, 130),
        (["sh", "-c", "kill -HUP $$"], -1, 129),
        (["sh", "-c", "kill -PIPE $$"], -13, 141),
        (["sh", "-c", "kill -SEGV $$"], -11, 139),
        (["sh", "-c", "kill -KILL $$"], -9, 137),
        (["sh", "-c", "kill -TERM $$"], -15, 143),
        (["sh", "-c", "kill -QUIT $$"], -3, 131),
        (["no-such-command-here"], None, 127),
        (["/etc/hostname"], None, 126),
        (["/"], None, 126),
    ],
)
def test_the_exit_code_is_the_childs(command: list[str], code: int | None, exit_code: int, tmp_path: Path) -> None:
    ended, _, _, found = Wrapped(tmp_path, *command).ended()

    assert (ended, found.get("code")) == (exit_code, code)


def test_both_streams_pass_byte_for_byte_and_apart(python: Any) -> None:
    program = "import sys, os; os.write(1, bytes(range(256)) * 4000); os.write(2, b'\\xff\\r\\nerr\\x1b[0m')"

    code, out, err, found = python(program).ended()

    assert (code, out, err) == (0, bytes(range(256)) * 4000, b"\xff\r\nerr\x1b[0m")
    assert "err" in found["tail"]


def test_streams_that_lead_to_one_place_keep_their_order(python: Any) -> None:
    program = "import os\nfor n in range(200): os.write(1 + n % 2, b'%d ' % n)"

    _, out, _, _ = python(program, stderr=subprocess.STDOUT).ended()

    assert out == b"".join(b"%d " % n for n in range(200))


def test_what_is_printed_arrives_at_once(python: Any) -> None:
    """A child of Python does not keep its lines until a block of them is full."""
    wrapped = python("print('ready'); input()", stdin=subprocess.PIPE)
    wrapped.until_printed(b"ready\n")

    assert wrapped.process.communicate(b"\n", timeout=READY_S)[1] == b""


def test_a_file_is_the_childs_own_and_its_tail_is_read(python: Any, tmp_path: Path) -> None:
    """What stood in the file before is not the child's."""
    log = tmp_path / "log"
    log.write_bytes(b"of yesterday\n")
    with log.open("ab") as file:
        code, _, _, found = python(
            "import sys; print(sys.stdout.name, 1); sys.exit(2)", stdout=file, stderr=file
        ).ended()

    assert (code, found["tail"]) == (2, ["<stdout> 1"])
    assert log.read_bytes() == b"of yesterday\n<stdout> 1\n"


def test_a_killed_wrapper_hurts_no_child_that_writes_to_a_file(python: Any, tmp_path: Path) -> None:
    program = "import sys, time; print('ready', flush=True); sys.stdin.read(); print('done', flush=True)"
    log = tmp_path / "log"
    reads, writes = os.pipe()
    with log.open("wb") as file:
        wrapped = python(program, stdin=reads, stdout=file, stderr=file)
    os.close(reads)
    _until(lambda: b"ready" in log.read_bytes())

    wrapped.process.kill()
    wrapped.process.wait(READY_S)
    os.close(writes)

    _until(lambda: b"done" in log.read_bytes())


def test_a_reader_that_goes_away_ends_no_training(python: Any, tmp_path: Path) -> None:
    """As with `notifybot run -- python train.py | head`."""
    program = f"""
import sys
print("first", flush=True)
sys.stdin.read()
for n in range(20000): print("line", n)
open({str(tmp_path / "saved")!r}, "w").close()
"""
    wrapped = python(program, stdin=subprocess.PIPE)
    wrapped.until_printed(b"first")
    wrapped.process.stdout.close()
    wrapped.process.stdin.close()
    wrapped.process.stdin = wrapped.process.stdout = None

    assert wrapped.ended()[0] == 0
    assert (tmp_path / "saved").exists()


def test_a_grandchild_that_keeps_the_pipe_holds_nobody(tmp_path: Path) -> None:
    wrapped = Wrapped(tmp_path, "sh", "-c", "echo begun; sleep 300 & echo $! > pid; exit 4", cwd=tmp_path)
    try:
        assert wrapped.process.wait(READY_S) == 4
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        wrapped.ended()


@pytest.mark.parametrize("reads", [True, False])
def test_what_outlives_the_command_prints_on(reads: bool, tmp_path: Path) -> None:
    """As a script leaves it that starts a training by `nohup … &`: it would die of SIGPIPE."""
    script = "(read go < go; echo late; echo more >&2; echo done > done) & echo begun; exit 4"
    os.mkfifo(tmp_path / "go")
    wrapper = WRAPPER.replace("child.close()", "child.close(); child.leave()")
    line = [sys.executable, "-c", wrapper, str(tmp_path / "report"), "auto", "sh", "-c", script]
    job = subprocess.Popen(line, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert job.wait(READY_S) == 4
    if not reads:
        assert job.stdout is not None
        job.stdout.close()
        job.stdout = None

    (tmp_path / "go").write_text("go\n")

    out, err = job.communicate(timeout=READY_S)
    assert (out or b"begun\nlate\n", err) == (b"begun\nlate\n", b"more\n")
    _until(lambda: (tmp_path / "done").exists())


LISTENING = """
import signal, time
names = []
def note(number, _):
    names.append(signal.Signals(number).name)
    print(names, flush=True)
for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT): signal.signal(each, note)
print("ready", flush=True)
while "SIGTERM" not in names: time.sleep(0.05)
"""


def test_signals_reach_the_child_once_and_are_waited_for(python: Any) -> None:
    """A graceful end is exit code 0 and yet an interruption."""
    wrapped = python(LISTENING)
    wrapped.until_printed(b"ready")
    for number, seen in ((signal.SIGUSR1, b"'SIGUSR1']"), (signal.SIGHUP, b"'SIGHUP']"), (signal.SIGINT, b"'SIGINT']")):
        wrapped.process.send_signal(number)
        wrapped.until_printed(seen)
    wrapped.process.send_signal(signal.SIGTERM)

    code, out, _, found = wrapped.ended()

    assert out.strip() == b"['SIGUSR1', 'SIGHUP', 'SIGINT', 'SIGTERM']"
    assert (code, found["received"]) == (0, "SIGTERM")


@pytest.mark.parametrize("variable", ["SLURM_STEP_ID", "INVOCATION_ID"])
def test_a_signal_that_all_get_is_not_sent_twice(variable: str, python: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "0")
    wrapped = python(LISTENING)
    wrapped.until_printed(b"ready")
    wrapped.process.send_signal(signal.SIGTERM)
    wrapped.process.send_signal(signal.SIGUSR1)
    wrapped.until_printed(b"['SIGUSR1']")
    os.kill(wrapped.child_pid(), signal.SIGTERM)

    code, _, _, found = wrapped.ended()

    assert (code, found["received"]) == (0, "SIGTERM")


def test_an_ignored_signal_stays_ignored(python: Any) -> None:
    """As under nohup."""
    program = (
        "import signal, sys; print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, flush=True); sys.stdin.read()"
    )
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}
    wrapped = python(program, stdin=subprocess.PIPE, **ignoring)
    wrapped.until_printed(b"True")
    wrapped.process.send_signal(signal.SIGHUP)

    wrapped.process.stdin.close()
    wrapped.process.stdin = None
    assert wrapped.ended()[0] == 0


# ── A terminal ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Screen:
    """A terminal of 80 × 24 with a wrapper in it."""

    def __init__(self, folder: Path, program: str, wrapper: str = WRAPPER) -> None:
        self.report = folder / "report.json"
        self.shown = b""
        pid, self.fd = pty.fork()
        if pid == 0:
            with suppress(BaseException):
                os.execv(
                    sys.executable,
                    [sys.executable, "-c", wrapper, str(self.report), "auto", sys.executable, "-c", program],
                )
            os._exit(99)
        self.pid = pid
        termios.tcsetwinsize(self.fd, (24, 80))
        self.modes = termios.tcgetattr(self.fd)

    def until(self, text: bytes) -> None:
        while text not in self.shown:
            assert select.select([self.fd], [], [], READY_S)[0], self.shown
            try:
                self.shown += os.read(self.fd, 4096)
            except OSError:
                raise AssertionError(self.shown) from None

    def end(self) -> tuple[int, dict[str, Any]]:
        with suppress(OSError):
            while select.select([self.fd], [], [], READY_S)[0] and (piece := os.read(self.fd, 4096)):
                self.shown += piece
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return code, json.loads(self.report.read_text()) if self.report.exists() else {}


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Any]:
    opened: list[Screen] = []

    def open_screen(program: str, wrapper: str = WRAPPER) -> Screen:
        opened.append(Screen(tmp_path, program, wrapper))
        return opened[-1]

    yield open_screen
    for each in opened:
        os.close(each.fd)


def test_a_terminal_stays_one(screen: Any) -> None:
    """Bars, colours and debuggers ask for it; keys arrive, and the size is right."""
    shown = screen(
        "import os, sys; print(os.isatty(0), os.isatty(1), os.isatty(2), os.get_terminal_size()); print(input()[::-1])"
    )
    shown.until(b"lines=24)")
    assert b"True True True os.terminal_size(columns=80" in shown.shown

    os.write(shown.fd, b"olleh\r")
    shown.until(b"hello")

    assert shown.end()[0] == 0


def test_a_key_that_interrupts_reaches_the_child_alone(screen: Any) -> None:
    shown = screen(
        "import time\ntry:\n print('ready', flush=True); time.sleep(300)\nexcept KeyboardInterrupt: print('saving')"
    )
    shown.until(b"ready")
    os.write(shown.fd, b"\x03")

    code, found = shown.end()

    assert b"saving" in shown.shown
    assert (code, found["received"]) == (0, "SIGINT")


@pytest.mark.parametrize(
    "program", ["import os; os.kill(os.getpid(), 9)", "import tty; tty.setraw(0); raise SystemExit(1)"]
)
def test_the_terminal_is_given_back_as_it_was(program: str, screen: Any) -> None:
    shown = screen(f"print('ready', flush=True); input(); {program}")
    shown.until(b"ready")
    os.write(shown.fd, b"\r")
    shown.end()

    assert termios.tcgetattr(shown.fd)[:4] == shown.modes[:4]


def test_the_terminal_is_given_back_after_a_fault_of_ours(screen: Any) -> None:
    """Else the shell that comes back shows nothing of what is typed."""
    waiting = "code = child.wait()"
    wrapper = WRAPPER.replace(waiting, f"child._pumps = [None]  # which cannot be joined\n{waiting}")
    shown = screen("print('ready', flush=True); input()", wrapper)
    shown.until(b"ready")
    os.write(shown.fd, b"\r")

    code, _ = shown.end()

    assert code == 1
    assert termios.tcgetattr(shown.fd)[:4] == shown.modes[:4]


def test_the_terminal_is_given_back_as_soon_as_the_command_has_ended(screen: Any) -> None:
    """The last message may take seconds, and Ctrl-C is to end the wait for it."""
    told = "print('cooked' if termios.tcgetattr(0)[3] & termios.ICANON else 'raw', flush=True)"
    wrapper = WRAPPER.replace("child.close()", f"import termios; {told}; child.close()")
    shown = screen("print('ready', flush=True)", wrapper)

    assert shown.end()[0] == 0
    assert b"cooked" in shown.shown


RESIZED = """
import os, signal
def show(*_): print(os.get_terminal_size().columns, "columns", flush=True)
signal.signal(signal.SIGWINCH, show)
print("ready", flush=True)
input()
"""


def test_the_window_may_change_its_size(screen: Any) -> None:
    shown = screen(RESIZED)
    shown.until(b"ready")
    termios.tcsetwinsize(shown.fd, (30, 132))
    shown.until(b"132 columns")
    os.write(shown.fd, b"\r")

    assert shown.end()[0] == 0


def _until(true: Any) -> None:
    ends_at = os.times().elapsed + READY_S
    while not true():
        assert os.times().elapsed < ends_at
        select.select([], [], [], 0.05)
