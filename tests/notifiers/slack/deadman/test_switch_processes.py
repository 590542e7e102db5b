"""Real processes with the dead man's switch: what each way to end leaves at Slack."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from notifybot.clock import SYSTEM
from notifybot.sandbox import Sandbox
from notifybot.sandbox.http import Fault

SCRIPT = """
import os, pathlib, signal, sqlite3, sys
import notifybot
how = sys.argv[1]
try:
    with notifybot.notify_run(run_id="r1", name="resnet") as run:
        run.log_epoch(0, {"loss": 0.5})
        print("ready", flush=True)
        sys.stdin.readline()
        if how == "locked":
            (file,) = pathlib.Path(os.environ["NOTIFYBOT_STATE_DIR"]).glob("*.db")
            other = sqlite3.connect(file)
            other.execute("BEGIN IMMEDIATE")
        if how in ("crash", "locked"):
            raise ValueError("boom")
        if how == "fork" and not os.fork():
            sys.exit(0)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "term":
            os.kill(os.getpid(), signal.SIGTERM)
        if how == "interrupt":
            raise KeyboardInterrupt
except (ValueError, KeyboardInterrupt):
    pass
"""


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as sandbox:
        yield sandbox


def train(sandbox: Sandbox, how: str, *faults: Fault) -> float:
    """Run the script until its own alarm stands at Slack, then let it end as told, amid faults; return how long."""
    ours = {key: value for key, value in sandbox.environment().items() if "KAKAO" not in key}
    environment = {**os.environ, **ours, "NOTIFYBOT_TENSORBOARD": "off", "NOTIFYBOT_WANDB": "off"}
    before = len(sandbox.slack.schedule.all)
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, how], env=environment, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert any("ready" in line for line in iter(process.stdout.readline, ""))
        until_s = SYSTEM.monotonic() + 20
        while len(sandbox.slack.schedule.all) == before and SYSTEM.monotonic() < until_s:
            SYSTEM.wait(threading.Event(), 0.02)
        sandbox.faults += faults
        began_s = SYSTEM.monotonic()
        process.communicate("go on\n", timeout=30)
        return SYSTEM.monotonic() - began_s


@pytest.mark.parametrize("how", ["finish", "crash", "interrupt", "term", "fork"])
def test_whoever_can_say_how_it_ended_takes_the_alarm_back(sandbox: Sandbox, how: str) -> None:
    """By itself, by an exception, Ctrl-C or SIGTERM; a forked child's end changes nothing about it."""
    train(sandbox, how)

    assert len(sandbox.slack.schedule.all) == 1
    assert sandbox.slack.schedule.pending == []


_LIMITED = {"Retry-After": "60", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", status=429, body=b'{"ok": false, "error": "ratelimited"}', headers=_LIMITED),
        Fault("status", status=503),
        Fault("hang"),
    ],
    ids=["limited", "broken", "hangs"],
)
def test_a_crash_that_cannot_be_told_is_left_to_the_alarm(sandbox: Sandbox, fault: Fault) -> None:
    """No message about the failure gets through, and the process is gone. The next session takes the alarm back."""
    posts = [replace(fault, path=path, times=1000) for path in ("chat.postMessage", "chat.update")]
    took_s = train(sandbox, "crash", *posts)
    (alarm,) = sandbox.slack.schedule.pending
    assert alarm.payload["thread_ts"] == sandbox.slack.roots[0].ts
    assert took_s < 10, "two seconds, and those of an interpreter on a busy machine"

    sandbox.faults.clear()
    train(sandbox, "finish")

    assert not alarm.stands


def test_an_end_that_is_not_on_disk_is_left_to_the_alarm(sandbox: Sandbox) -> None:
    """The recorder holds it in memory, which is gone with the process."""
    train(sandbox, "locked")

    assert len(sandbox.slack.schedule.pending) == 1


def test_a_killed_run_leaves_its_alarm_and_its_next_session_clears_up(sandbox: Sandbox) -> None:
    """After SIGKILL nobody is left to take it back: that is the point."""
    train(sandbox, "kill")
    (alarm,) = sandbox.slack.schedule.pending
    assert alarm.payload["thread_ts"] == sandbox.slack.roots[0].ts

    train(sandbox, "finish")

    assert sandbox.slack.schedule.pending == []
    assert len(sandbox.slack.roots) == 1
