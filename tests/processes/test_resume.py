"""A machine that goes away: the next one goes on, and every surface reads as if nothing had happened but a notice."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from notifybot.sandbox.server import Sandbox
from tests.support.powered import cut_off
from tests.support.wandb_records import history, read

EPOCHS = 6
TRAINING = """
    import os, signal, time, torch
    from notifybot import Checkpoints, notify_epoch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    inputs = torch.randn(32, 4)
    data = torch.utils.data.TensorDataset(inputs, inputs.sum(1, keepdim=True))
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
    checkpoints = Checkpoints(
        os.environ["DRIVE"], local=os.environ["DISK"], model=model, optimizer=optimizer, scheduler=scheduler,
        monitor="Loss/train", grace_s=float(os.environ.get("GRACE", "2")),
    )
    with notify_epoch(range(6), name="exp_1", checkpoints=checkpoints, progress=False) as epochs:
        for epoch in epochs:
            print("epoch", epoch, flush=True)
            for batch, (x, y) in enumerate(loader):
                if epoch == int(os.environ.get("DIE_IN", "-1")) and batch == 2:
                    checkpoints.wait()
                    os.kill(os.getpid(), signal.SIGKILL)
                loss = torch.nn.functional.mse_loss(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                epochs.log({"Loss/train": loss})
            scheduler.step()
            if epoch >= int(os.environ.get("SLOW_FROM", "0")):
                time.sleep(float(os.environ.get("SLOW", "0")))
"""


class Machine:
    """A virtual machine: its local disk, the sandbox's settings, and the Drive folder that outlives it."""

    def __init__(self, folder: Path, drive: Path, sandbox: Sandbox | None = None) -> None:
        folder.mkdir()
        self.folder = folder
        script = folder / "train.py"
        script.write_text(textwrap.dedent(TRAINING), "utf-8")
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "NOTIFYBOT"))}
        self.environment = keep | {
            "DRIVE": str(drive),
            "DISK": str(folder / "disk"),
            "HOME": str(folder),
            "NOTIFYBOT_STATE_DIR": str(folder / "state"),
            "NOTIFYBOT_RUNS_DIR": str(folder / "runs"),
            "NOTIFYBOT_LANG": "en",
            "NOTIFYBOT_TENSORBOARD": "off",
            "NOTIFYBOT_WANDB": "off",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            **({} if sandbox is None else sandbox.environment()),
        }

    def start(self, **more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-u", "train.py"], cwd=self.folder, env=self.environment | more,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, **more: str) -> tuple[int, str, str]:
        with self.start(**more) as process:
            out, err = process.communicate(timeout=120)
        return process.returncode, out, err

    def go_away(self) -> None:
        """The machine is reset: nothing that ran on it goes on, and nothing on its disk is left."""
        cut_off(self.folder)
        shutil.rmtree(self.folder)


def test_every_surface_of_a_run_on_two_machines_reads_like_that_of_one(tmp_path: Path) -> None:
    """TensorBoard, W&B, the JSON lines, Slack and KakaoTalk; the first machine is killed and its disk deleted."""
    surfaces = {}
    trackers = {"NOTIFYBOT_TENSORBOARD": "on", "NOTIFYBOT_WANDB": "on", "WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    for name, die_in in (("whole", None), ("cut", "3")):
        drive = tmp_path / f"drive-{name}"
        with Sandbox() as sandbox:
            if die_in is not None:
                lost = Machine(tmp_path / "vm-1", drive, sandbox)
                code, _, err = lost.run(DIE_IN=die_in, **trackers)
                assert code == -signal.SIGKILL, err
                lost.go_away()
            machine = Machine(tmp_path / f"vm-{name}", drive, sandbox)
            code, out, err = machine.run(**trackers)
            assert code == 0, err
            surfaces[name] = record_of(drive, sandbox)
            if die_in is not None:
                assert out.split("\n")[0] == f"epoch {die_in}"

    whole, cut = surfaces["whole"], surfaces["cut"]
    assert [step for step, _ in whole["tensorboard"]] == list(range(EPOCHS))
    for surface in ("tensorboard", "jsonl", "wandb"):
        assert cut[surface] == whole[surface], surface
    assert cut["root"] == whole["root"]
    assert len(whole["root"]) == 1
    for word, in_whole, in_cut in (("started", 1, 1), ("resumed from epoch 2", 0, 1), ("finished", 1, 1)):
        told = [sum(word in each for each in surface["thread"]) for surface in (whole, cut)]
        assert told == [in_whole, in_cut], word
        assert sum(word in each for each in cut["kakao"]) == in_cut, word


def record_of(drive: Path, sandbox: Sandbox) -> dict[str, Any]:
    """What is left of a run when all its machines are gone: the drive, and what people were told."""
    (run_folder,) = (drive / "runs").iterdir()
    accumulator = EventAccumulator(str(run_folder))
    accumulator.Reload()
    rows = [json.loads(line) for line in (run_folder / "metrics.jsonl").read_text().splitlines()]
    wandb_files = sorted(run_folder.rglob("*.wandb"))
    messages = sandbox.slack.messages
    roots = [each for each in messages if each.thread_ts is None]
    return {
        "tensorboard": [(each.step, each.value) for each in accumulator.Scalars("Loss/train")],
        "jsonl": [(row["epoch"], row["metrics"]) for row in rows if row["kind"] == "epoch_finished"],
        "wandb": sorted((row["epoch"], row["Loss/train"]) for path in wandb_files for row in history(read(path))),
        "root": [re.sub(r"[\d.]+ s\b", "… s", each.text) for each in roots],
        "thread": [each.text for each in messages if each.thread_ts is not None],
        "kakao": [each.text for each in sandbox.kakao.messages],
    }


def test_a_sigterm_waits_for_the_epochs_end_when_that_is_near(tmp_path: Path) -> None:
    """The epoch that was under way is saved, and the process still dies of the signal."""
    machine = Machine(tmp_path / "vm", tmp_path / "drive")
    with machine.start(SLOW="0.4", GRACE="20") as process:
        wait_for_line(process, "epoch 3")
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)

    assert process.returncode == -signal.SIGTERM
    assert newest_epoch(tmp_path / "drive") == 3, err
    assert "interrupted" in err


def test_a_sigterm_does_not_wait_longer_than_it_may(tmp_path: Path) -> None:
    """With an hour to go to the epoch's end the process leaves at once; what was saved before stays."""
    machine = Machine(tmp_path / "vm", tmp_path / "drive")
    with machine.start(SLOW="60", SLOW_FROM="1", GRACE="0.5") as process:
        wait_for_line(process, "epoch 1")
        began_s = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        spent_s = time.monotonic() - began_s

    assert process.returncode == -signal.SIGTERM
    assert newest_epoch(tmp_path / "drive") == 0
    assert spent_s < 3


def wait_for_line(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == wanted:
            return
    pytest.fail(f"{wanted!r} never came: {process.communicate()[1]}")


def newest_epoch(drive: Path) -> int:
    return max(int(json.loads(path.read_text())["epoch"]) for path in drive.glob("*.pt.json"))


STEPS = """
import os, signal, torch
from notifybot import Checkpoints, notify_steps

model = torch.nn.Linear(2, 1)
checkpoints = Checkpoints("ckpt", model=model, optimizer=torch.optim.SGD(model.parameters(), 0.1), every=1000)
with notify_steps(40, name="steps", checkpoints=checkpoints, progress=False) as steps:
    for step in steps:
        first = globals().get("first", step)
        steps.log(loss=1.0)
        if step == 27 and first == 1:
            os.kill(os.getpid(), signal.SIGTERM)
print(first, step)
"""


def test_a_loop_of_steps_saves_the_step_in_which_it_is_terminated(workplace: Any) -> None:
    """Long before the next checkpoint is due; the same program, run again, begins with the step after it."""
    terminated = workplace.run(STEPS)
    again = workplace.run(STEPS)

    assert (terminated.code, again.code, again.out) == (-signal.SIGTERM, 0, "28 40\n")
    assert workplace.endings == ["interrupted", "finished"]
    assert len({each["run"]["id"] for each in workplace.events("run_started")}) == 1
