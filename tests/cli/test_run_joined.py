"""`notifybot run` above a training that reports itself: one run, and one ending."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from notifybot.sandbox.server import Sandbox
from notifybot.store.database import Store
from notifybot.store.runs import RunRow, recent
from tests.support.cli_runs import command

TRAINING = """
import os, sys
from notifybot import notify_epoch
with notify_epoch(range(3), name="digits") as epochs:
    for epoch in epochs:
        if epoch == 2: {in_the_third_epoch}
        epochs.log(val_loss=1 / (epoch + 1))
{afterwards}
"""


@pytest.fixture
def runs(sandbox: Sandbox, tmp_path: Path) -> Any:
    """Runs a training below `notifybot run`; returns the exit code and the runs that are known afterwards."""

    def below(in_the_third_epoch: str = "pass", afterwards: str = "", above: tuple[str, ...] = ()) -> Any:
        program = TRAINING.format(in_the_third_epoch=in_the_third_epoch, afterwards=afterwards)
        done = command("run", "--", *above, sys.executable, "-c", program, NOTIFYBOT_TENSORBOARD="off")
        print(done.stdout, done.stderr)  # shown where a test fails
        return done.returncode, known(tmp_path)

    return below


def known(tmp_path: Path) -> list[RunRow]:
    (path,) = tmp_path.rglob("notifybot.db")
    store = Store.open(path)
    try:
        return recent(store)
    finally:
        store.close()


def titles(sandbox: Sandbox) -> list[str]:
    return [json.loads(each.body)["text"].splitlines()[0] for each in sandbox.requests]


def test_a_training_below_joins_the_run(runs: Any, sandbox: Sandbox) -> None:
    code, (run,) = runs()

    assert (code, run.name, run.status, run.attempt, run.progress.done) == (0, "digits", "finished", 1, 3)
    assert sum("started" in each for each in titles(sandbox)) == 1
    assert sum("finished" in each for each in titles(sandbox)) == 1


def test_a_failure_that_the_training_reported_is_reported_once(runs: Any, sandbox: Sandbox) -> None:
    code, (run,) = runs("raise ValueError('bad batch')")

    assert (code, run.status) == (1, "failed")
    assert sum("failed" in each for each in titles(sandbox)) == 1


def test_a_killed_training_is_ended_by_the_command_above(runs: Any, sandbox: Sandbox) -> None:
    """It is known how far it was, though it could say no more."""
    code, (run,) = runs("os.kill(os.getpid(), 9)")

    assert (code, run.name, run.status, run.attempt, run.progress.done) == (137, "digits", "failed", 1, 2)
    assert "digits failed" in titles(sandbox)[-1]
    assert "killed by SIGKILL" in sandbox.requests[-1].body.decode()


def test_a_program_that_fails_after_its_run_has_failed(runs: Any, sandbox: Sandbox) -> None:
    code, (run,) = runs(afterwards="sys.exit(5)")

    assert (code, run.status) == (5, "failed")
    assert "exit code 5" in sandbox.requests[-1].body.decode()


def test_a_second_run_of_one_program_is_one_of_its_own(runs: Any) -> None:
    code, found = runs(afterwards="with notify_epoch(range(1), name='second') as e:\n    for _ in e: e.log(loss=1)")

    assert code == 0
    assert sorted((run.name, run.status) for run in found) == [("digits", "finished"), ("second", "finished")]


def test_a_command_below_a_command_is_one_run(runs: Any, sandbox: Sandbox) -> None:
    code, (run,) = runs(above=(sys.executable, "-m", "notifybot", "run", "--"))

    assert (code, run.name, run.status, run.attempt) == (0, "digits", "finished", 1)
    assert sum("started" in each for each in titles(sandbox)) == 1


RESUMED = """
import os, torch
from notifybot import Checkpoints, notify_epoch
model = torch.nn.Linear(2, 1)
with notify_epoch(range(4), name="digits", checkpoints=Checkpoints("saved", model=model)) as epochs:
    for epoch in epochs:
        if epoch == 2 and not os.path.exists("again"):
            open("again", "w").close()
            epochs.checkpoints_wait() if hasattr(epochs, "checkpoints_wait") else None
            import time; time.sleep(2)
            os.kill(os.getpid(), 9)
        epochs.log(loss=1.0)
"""


def test_the_same_command_again_goes_on_with_the_same_run(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    line = ("run", "--", sys.executable, "-c", RESUMED)

    first = command(*line, NOTIFYBOT_TENSORBOARD="off")
    second = command(*line, NOTIFYBOT_TENSORBOARD="off")

    (run,) = known(tmp_path)
    assert (first.returncode, second.returncode) == (137, 0), second.stderr
    assert (run.name, run.status, run.attempt, run.progress.done) == ("digits", "finished", 2, 4)


@pytest.mark.parametrize("inside", ["true", "notify_epoch"])
def test_a_requeued_job_is_the_next_attempt_of_its_run(inside: str, sandbox: Sandbox, tmp_path: Path) -> None:
    """Whether a training below reports itself, and so before the command would, or not."""
    training = TRAINING.format(in_the_third_epoch="pass", afterwards="")
    words = ("true",) if inside == "true" else (sys.executable, "-c", training)
    for restarts in ("", "1"):
        job = {"SLURM_JOB_ID": "4242", "SLURM_RESTART_COUNT": restarts, "TMPDIR": str(tmp_path)}
        done = command("run", "--", *words, NOTIFYBOT_TENSORBOARD="off", **job)
        assert done.returncode == 0, done.stderr

    (run,) = known(tmp_path)
    assert (run.id.startswith("slurm-4242-"), run.attempt, run.status) == (True, 2, "finished")
