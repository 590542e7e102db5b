"""`notifybot run -- CMD`: what people hear of any command, and what the caller gets."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from notifybot.cli.run import name_of_command
from notifybot.sandbox.server import Sandbox
from notifybot.store.database import Store
from notifybot.store.runs import recent
from tests.support.cli_runs import command

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    """Runs a command below `notifybot run`, with a Slack webhook."""

    def below(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return command("run", *words, NOTIFYBOT_TENSORBOARD="off", NOTIFYBOT_WANDB="off", **environment)

    return below


def messages(sandbox: Sandbox) -> list[str]:
    """Every message that reached Slack, as text."""
    return [json.dumps(json.loads(each.body), ensure_ascii=False) for each in sandbox.requests]


def python(program: str) -> tuple[str, ...]:
    return ("--", sys.executable, "-c", program)


def test_a_command_is_told_from_start_to_end_and_left_as_it_is(run: Run, sandbox: Sandbox) -> None:
    program = "import sys; print('out'); print('err', file=sys.stderr)"

    done = run("--name", "digits", *python(program))

    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "out")
    assert "err" in done.stderr
    started, ended = messages(sandbox)
    assert "digits started" in started
    assert "digits finished" in ended


def test_a_killed_command_is_told_at_once_without_any_watchdog(run: Run, sandbox: Sandbox) -> None:
    """A training that is killed can tell nothing itself."""
    done = run("--name", "digits", *python("import os; print('epoch 7', flush=True); os.kill(os.getpid(), 9)"))

    assert done.returncode == 137
    assert "killed by SIGKILL" in messages(sandbox)[-1]
    assert "epoch 7" in messages(sandbox)[-1]


def test_a_failure_is_told_with_its_error_and_its_last_lines(run: Run, sandbox: Sandbox) -> None:
    done = run("--tail", "2", *python("print('batch 00041'); print('two', flush=True); raise ValueError('bad batch')"))

    assert done.returncode == 1
    ended = messages(sandbox)[-1]
    assert "ValueError: bad batch" in ended
    assert "batch 00041" not in ended


def test_neither_lines_nor_command_hold_a_secret(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    canary = "xoxb-" + "1234567890-canary-token"
    run("--", "sh", "-c", f"echo token {canary}; exit 5")

    assert messages(sandbox)
    assert all(canary not in each for each in messages(sandbox))
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in kept if canary.encode() in path.read_bytes()] == []


def test_progress_is_read_from_what_is_printed(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    program = "for e in range(1, 6): print(f'epoch {e}/5 loss: {1 / e:.3f}', flush=True)"

    run("--name", "digits", *python(program), NOTIFYBOT_EVERY="1 epoch")

    (kept,) = tmp_path.rglob("metrics.jsonl")
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(row["epoch"], row["metrics"]["loss"]) for row in rows if "metrics" in row] == [
        (1, 1.0),
        (2, 0.5),
        (3, 0.333),
        (4, 0.25),
        (5, 0.2),
    ]


def test_progress_is_read_behind_a_command_that_prints_into_a_file(sandbox: Sandbox, tmp_path: Path) -> None:
    """As `> train.log 2>&1` on a cluster has it."""
    program = "for e in range(1, 6): print(f'epoch {e}/5 loss: {1 / e:.3f}')\nraise ValueError('bad batch')"
    line = [sys.executable, "-m", "notifybot", "run", *python(program)]
    environment = dict(os.environ) | {"NOTIFYBOT_TENSORBOARD": "off", "NOTIFYBOT_WANDB": "off"}
    with (tmp_path / "train.log").open("ab") as log:
        done = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, env=environment, timeout=60)

    assert (done.returncode, "5/5" in messages(sandbox)[-1]) == (1, True)
    assert "ValueError: bad batch" in messages(sandbox)[-1]


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--", "sh", "-c", "exit 42"], 42),
        (["--", "no-such-command"], 127),
        (["--", "/etc/hostname"], 126),
        (["--stall", "soon", "--", "touch", "begun"], 125),
        (["--metric", "loss", "--", "touch", "begun"], 125),
        (["--no-such-option", "--", "touch", "begun"], 125),
        ([], 125),
    ],
)
def test_the_exit_code_says_whose_fault_it_was(words: list[str], code: int, run: Run, tmp_path: Path) -> None:
    """125 is ours, before anything is started; the others are the command's."""
    done = run(*words)

    assert done.returncode == code, done.stderr
    assert not Path("begun").exists()


def test_a_wrong_setting_is_refused_before_the_command_starts(run: Run, tmp_path: Path) -> None:
    done = run("--", "touch", str(tmp_path / "begun"), NOTIFYBOT_SLACK_WEBHOOK_URL="nonsense")

    assert (done.returncode, "NOTIFYBOT_SLACK_WEBHOOK_URL" in done.stderr) == (125, True)
    assert not (tmp_path / "begun").exists()


def test_a_command_that_cannot_be_started_is_told(run: Run, sandbox: Sandbox) -> None:
    done = run("--", "no-such-command")

    assert "no-such-command could not be started: No such file or directory" in done.stderr
    assert "could not be started" in messages(sandbox)[-1]


def test_short_commands_that_succeed_are_told_to_nobody(run: Run, sandbox: Sandbox) -> None:
    run("--min-time", "1h", *python("for e in range(5): print(f'epoch {e} loss: 0.5')"))
    assert messages(sandbox) == []

    run("--min-time", "1h", "--", "false")
    assert "exit code 1" in messages(sandbox)[-1]


def test_a_command_that_succeeds_too_quickly_is_a_warning(run: Run, sandbox: Sandbox) -> None:
    run("--at-least", "1h", "--", "true")

    assert any("sooner than expected" in each for each in messages(sandbox))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_an_interrupted_command_dies_of_the_signal_as_without_us(number: signal.Signals, sandbox: Sandbox) -> None:
    line = [
        sys.executable,
        "-m",
        "notifybot",
        "run",
        *python("import time; print('ready', flush=True); time.sleep(300)"),
    ]
    job = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))
    assert job.stdout is not None
    assert job.stdout.readline() == b"ready\n"

    job.send_signal(number)
    job.communicate(timeout=60)

    assert job.returncode == -number
    assert number.name in messages(sandbox)[-1]
    assert "interrupted" in messages(sandbox)[-1]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("python train.py --epochs 3", "train.py"),
        ("python -u scripts/train.py", "train.py"),
        ("python -m pkg.train --lr 1", "pkg.train"),
        ("torchrun --nproc_per_node=2 train.py", "train.py"),
        ("torchrun --nproc_per_node 2 -m pkg.train", "pkg.train"),
        ("accelerate launch --num_processes 2 finetune.py", "finetune.py"),
        ("uv run axolotl train config.yml", "axolotl"),
        ("nice -n 10 nohup env A=B llamafactory-cli train x.yaml", "llamafactory-cli"),
        ("srun --gres=gpu:1 bash job.sh", "job.sh"),
        ("/opt/bin/nnUNetv2_train 1 2d 0", "nnUNetv2_train"),
        ("sh -c 'sleep 1; make train'", "sh"),
    ],
)
def test_a_run_is_named_after_what_trains(line: str, name: str) -> None:
    import shlex

    assert name_of_command(shlex.split(line)) == name


def test_the_lines_of_a_success_are_shown_where_they_are_asked_for(run: Run, sandbox: Sandbox) -> None:
    run("--", "sh", "-c", "echo the result is 42")
    assert not any("the result is 42" in each for each in messages(sandbox)[-1:])

    run("--tail", "5", "--", "sh", "-c", "echo the result is 42")
    assert "the result is 42" in messages(sandbox)[-1]


def test_a_shell_script_reports_its_epochs(run: Run, sandbox: Sandbox) -> None:
    """It ends as without us, though it ends at the first command that fails."""
    log = f"{sys.executable} -m notifybot log"
    script = f"set -e; for e in 1 2 3; do {log} epoch=$e total=3 val_loss=0.$e; done; echo done"

    done = run("--", "sh", "-c", script)

    assert (done.returncode, "done" in done.stdout) == (0, True), done.stderr
    assert "3/3" in messages(sandbox)[-1]
    assert "0.3" in messages(sandbox)[-1]


# ── Launchers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_rank_that_does_not_speak_tells_its_failure_alone(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """As `srun notifybot run -- python train.py` on eight GPUs: one run, and one alert where a rank fails."""
    job = {"SLURM_JOB_ID": "4242", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "TMPDIR": str(tmp_path)}
    run("--", "true", **job)
    assert messages(sandbox) == []

    done = run("--name", "digits", *python("print('batch 7', flush=True); raise ValueError('bad batch')"), **job)

    (alert,) = messages(sandbox)
    assert done.returncode == 1
    assert f"Rank 3 on {platform.node()} failed: ValueError: bad batch" in alert
    assert "batch 7" in alert
    with Store.open(next(tmp_path.rglob("notifybot.db"))) as store:
        assert [each.status for each in recent(store)] == ["failed"]


def test_of_two_nodes_the_first_speaks(run: Run, sandbox: Sandbox) -> None:
    run("--name", "digits", "--", "true", "--node_rank=1")
    assert messages(sandbox) == []

    run("--name", "digits", "--", "false", "--node_rank=1", NOTIFYBOT_LANG="ko")
    assert "노드 1" in messages(sandbox)[-1]

    run("--name", "digits", "--", "true", "--node_rank=0")
    assert "digits finished" in messages(sandbox)[-1]
