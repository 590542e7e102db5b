"""`notifybot watch`: a process that somebody else has started, until it is gone or the watching is ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.command.watch import WatchedProcess, watch
from notifybot.config import Config, load
from notifybot.errors import UsageError
from notifybot.sandbox.server import Sandbox
from notifybot.store.database import Store
from notifybot.store.runs import recent
from notifybot.training import session
from tests.support.ahead_clock import AheadClock

SOON_S = 60.0


class LookedAt(WatchedProcess):
    """A process to which something happens at the looks of the watching, and at no other time."""

    def __init__(self, pid: int, happens: Callable[[int], object]) -> None:
        super().__init__(pid)
        self._happens, self._looks = happens, 0

    def is_gone(self, within_s: float) -> bool:
        self._looks += 1
        self._happens(self._looks)
        return super().is_gone(0.05)


def at_look(number: int, act: Callable[[], object]) -> Callable[[int], None]:
    """What happens at one look."""

    def happens(look: int) -> None:
        if look == number:
            act()

    return happens


@pytest.fixture
def sleeper() -> Iterator[Any]:
    """A process that lives until its stdin is closed, and prints a line for each that it is given."""
    program = "import sys\nfor line in sys.stdin: print(line, flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()


@pytest.fixture
def config(sandbox: Sandbox, tmp_path: Path) -> Iterator[Config]:
    """Settings with Slack in the sandbox."""
    url = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
    own = {"state_dir": tmp_path / "state", "runs_dir": tmp_path / "runs", "slack_webhook_url": url}
    yield load(own | {"tensorboard": "off", "wandb": "off"})
    session.close()


def texts(sandbox: Sandbox) -> list[str]:
    return [json.loads(each.body)["text"].splitlines()[0] for each in sandbox.requests]


@pytest.mark.parametrize("pidfd", [True, False])
def test_an_end_is_seen_and_no_other_moment(pidfd: bool, sleeper: Any) -> None:
    """By the kernel's word, or by looking; also before the parent has fetched the exit code."""
    watched = WatchedProcess(sleeper.pid, pidfd=pidfd)
    assert not watched.is_gone(0.01)

    sleeper.kill()
    assert any(watched.is_gone(0.05) for _ in range(round(SOON_S / 0.05)))
    watched.close()
    watched.close()


def test_a_number_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    """The kernel gives numbers anew: the start tells two processes apart."""
    stat = tmp_path / "77" / "stat"
    stat.parent.mkdir()
    stat.write_text("77 (a) b) S " + " ".join(["1"] * 18) + " 1000 0 0")
    watched = WatchedProcess(77, proc=tmp_path, pidfd=False)
    assert not watched.is_gone(0.01)

    stat.write_text("77 (other) S " + " ".join(["1"] * 18) + " 2000 0 0")

    assert watched.is_gone(0.01)


def test_what_has_ended_is_not_there(sleeper: Any) -> None:
    """Nor is one whose exit code nobody has fetched."""
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)

    with pytest.raises(UsageError, match=f"no process {sleeper.pid} runs here"):
        WatchedProcess(sleeper.pid)


@pytest.mark.parametrize(("language", "said"), [("en", "not visible from here"), ("ko", "보이지 않습니다")])
def test_a_process_that_is_not_there_is_refused(language: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFYBOT_LANG", language)

    with pytest.raises(UsageError, match=said):
        WatchedProcess(2**22 + 1)


def test_the_words_and_what_is_written_are_known(sleeper: Any) -> None:
    if not Path("/proc/self/io").exists():
        pytest.skip("no /proc here")
    watched = WatchedProcess(sleeper.pid)
    assert watched.words()[:2] == [sys.executable, "-c"]

    before = watched.written_bytes()
    sleeper.stdin.write("a line\n")
    sleeper.stdin.flush()
    sleeper.stdout.readline()

    after = watched.written_bytes()
    assert before is not None
    assert after is not None
    assert after >= before + 7
    watched.close()


def test_the_end_is_told_without_a_claim_how_it_was(sleeper: Any, config: Config, sandbox: Sandbox) -> None:
    watched = LookedAt(sleeper.pid, at_look(2, sleeper.kill))

    assert watch(watched, config, name="digits") == 0

    begun, ended = texts(sandbox)
    assert f"watching PID {sleeper.pid}" in begun
    assert "digits · the process is gone; how it ended is not known" in ended
    assert not any(word in ended for word in ("finished", "failed", "interrupted", "✅"))
    with Store.open(config.state_dir / "notifybot.db") as store:
        assert [each.status for each in recent(store)] == ["stopped"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_watching_may_end_before_the_process(
    number: signal.Signals, code: int, sleeper: Any, config: Config, sandbox: Sandbox
) -> None:
    """Ctrl-C is not handed on, and the message says that the training goes on."""
    watched = LookedAt(sleeper.pid, at_look(2, lambda: os.kill(os.getpid(), number)))
    former = signal.getsignal(number)

    assert watch(watched, config, name="digits") == code

    assert sleeper.poll() is None
    assert "digits · no longer watched; the process goes on" in texts(sandbox)[-1]
    assert signal.getsignal(number) == former


def test_a_process_that_writes_nothing_is_told_once(sleeper: Any, config: Config, sandbox: Sandbox) -> None:
    clock = AheadClock()

    def happens(look: int) -> None:
        clock.ahead_s += 600.0
        if look == 7:
            sleeper.kill()

    watched = LookedAt(sleeper.pid, happens)
    if watched.written_bytes() is None:
        pytest.skip("no /proc here")

    watch(watched, config, name="digits", stall_s=1800.0, clock=clock)

    assert sum("Nothing was printed or written" in each.body.decode() for each in sandbox.requests) == 1
