"""Real processes with the dead man's switch: what each way to end leaves at Slack."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from notifybot.clock import SYSTEM
from notifybot.sandbox import Sandbox

SCRIPT = """
import os, signal, sys
import notifybot
how = sys.argv[1]
try:
    with notifybot.notify_run(run_id="r1", name="resnet") as run:
        run.log_epoch(0, {"loss": 0.5})
        print("ready", flush=True)
        sys.stdin.readline()
        if how == "crash":
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


def train(sandbox: Sandbox, how: str) -> None:
    """Run the script until its own alarm stands at Slack, then let it end as told."""
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
        process.communicate("go on\n", timeout=30)


@pytest.mark.parametrize("how", ["finish", "crash", "interrupt", "term", "fork"])
def test_whoever_can_say_how_it_ended_takes_the_alarm_back(sandbox: Sandbox, how: str) -> None:
    """By itself, by an exception, Ctrl-C or SIGTERM; a forked child's end changes nothing about it."""
    train(sandbox, how)

    assert len(sandbox.slack.schedule.all) == 1
    assert sandbox.slack.schedule.pending == []


def test_a_killed_run_leaves_its_alarm_and_its_next_session_clears_up(sandbox: Sandbox) -> None:
    """After SIGKILL nobody is left to take it back: that is the point."""
    train(sandbox, "kill")
    (alarm,) = sandbox.slack.schedule.pending
    assert alarm.payload["thread_ts"] == sandbox.slack.roots[0].ts

    train(sandbox, "finish")

    assert sandbox.slack.schedule.pending == []
    assert len(sandbox.slack.roots) == 1
