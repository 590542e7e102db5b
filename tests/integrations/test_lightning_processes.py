"""The callback for Lightning where the process is the point: signals, kills, several ranks, loggers of Lightning's."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from notifybot.clock import SYSTEM
from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.types import Status
from tests.support.lightning import NAME, lightning

pytestmark = [pytest.mark.needs("lightning"), pytest.mark.field, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, signal, sys, warnings
warnings.simplefilter("ignore")
import torch, LIGHTNING as lightning
import LIGHTNING.callbacks as theirs
from torch.utils.data import DataLoader, TensorDataset
from notifybot.integrations.lightning import NotifyCallback
from tests.support.lightning import understood

def happens(what, epoch):
    wanted, _, at = os.environ.get("HAPPENS", "").partition("@")
    if wanted == what and epoch == int(at):
        return True

class Line(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.line = torch.nn.Linear(2, 1)

    def training_step(self, batch, index):
        print(f"step {self.global_step}", flush=True)
        if index == 1:
            if happens("SIGTERM", self.current_epoch): os.kill(os.getpid(), signal.SIGTERM)
            if happens("SIGINT", self.current_epoch): os.kill(os.getpid(), signal.SIGINT)
            if happens("SIGKILL", self.current_epoch): os.kill(os.getpid(), signal.SIGKILL)
            if happens("error", self.current_epoch): raise ValueError("bad batch")
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.line(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val_loss", torch.nn.functional.mse_loss(self.line(x), y), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05)

def loggers():
    if os.environ.get("LOGGER") == "wandb":
        from LIGHTNING.loggers import WandbLogger
        return WandbLogger(project="lines", offline=True)
    if os.environ.get("LOGGER") == "tensorboard":
        from LIGHTNING.loggers import TensorBoardLogger
        return TensorBoardLogger("theirs")
    return False

def main():
    x = torch.linspace(-1, 1, 64).reshape(32, 2)
    rows = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4)
    keep = theirs.ModelCheckpoint("saved", save_last=True, monitor="val_loss")
    callbacks = [NotifyCallback("line"), keep]
    if hasattr(theirs, "OnExceptionCheckpoint"):  # since 2.0
        callbacks.append(theirs.OnExceptionCheckpoint("exception"))
    trainer = lightning.Trainer(
        max_epochs=6, accelerator="cpu", devices=int(os.environ.get("DEVICES", 1)),
        logger=loggers(), callbacks=callbacks, enable_progress_bar=False, enable_model_summary=False,
        **({"strategy": os.environ["STRATEGY"]} if "STRATEGY" in os.environ else {}),
    )
    options = {"ckpt_path": "last" if os.path.exists("saved/last.ckpt") else None, "weights_only": True}
    trainer.fit(Line(), rows, rows, **understood(trainer.fit, options))

if __name__ == "__main__":
    main()
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Place:
    """Folder in which the script is run, and what was recorded there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "train.py").write_text(SCRIPT.replace("LIGHTNING", NAME), "utf-8")

    def start(self, **environment: str) -> subprocess.Popen[str]:
        given = {
            **os.environ, "PYTHONPATH": str(ROOT), "NOTIFYBOT_TENSORBOARD": "off", "NOTIFYBOT_WANDB": "off",
            "NOTIFYBOT_STATE_DIR": str(self.folder / "state"), "NOTIFYBOT_RUNS_DIR": str(self.folder / "runs"),
        } | environment  # fmt: skip
        command = [sys.executable, "train.py"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=given, stdout=pipe, stderr=pipe, text=True)

    def run(self, **environment: str) -> Ran:
        with self.start(**environment) as process:
            try:
                out, err = process.communicate(timeout=200)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Ran(process.returncode, out, err)

    def events(self) -> list[Event]:
        store = Store.open(self.folder / "state" / "notifybot.db", clock=SYSTEM)
        try:
            [run] = runs.recent(store)
            return runs.events_of(store, run.id)
        finally:
            store.close()

    def ended(self) -> RunEnded:
        last = self.events()[-1]
        assert isinstance(last, RunEnded)
        return last


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def labels(events: list[Event]) -> list[int | None]:
    return [each.progress.epoch for each in events if isinstance(each, EpochFinished)]


def test_sigterm_leaves_lightning_s_checkpoint_and_exit_code(place: Place) -> None:
    if not hasattr(lightning(".callbacks"), "OnExceptionCheckpoint"):
        pytest.skip("since 2.0")
    ran = place.run(HAPPENS="SIGTERM@2")

    assert ran.code == 0, ran.err
    assert (place.folder / "exception" / "on_exception.ckpt").exists()
    assert (place.ended().status, place.ended().error) == (Status.INTERRUPTED, "SIGTERM")
    saved = [each.checkpoint.path for each in place.events() if isinstance(each, CheckpointSaved)]
    assert saved[-1].endswith("on_exception.ckpt")
    assert labels(place.events()) == [0, 1]


def test_ctrl_c_is_told_as_it_is_and_leaves_lightning_s_exit_code(place: Place) -> None:
    ran = place.run(HAPPENS="SIGINT@2")

    lightning_s = 1 if tuple(map(int, lightning().__version__.split(".")[:2])) >= (2, 4) else 0
    assert (ran.code, place.ended().status) == (lightning_s, Status.INTERRUPTED), ran.err


def test_a_killed_training_goes_on_as_the_same_run(place: Place) -> None:
    assert place.run(HAPPENS="SIGKILL@2").code == -signal.SIGKILL
    assert place.run().code == 0

    events = place.events()
    assert [(each.attempt, each.progress.done) for each in events if isinstance(each, RunStarted)] == [(1, 0), (2, 2)]
    assert labels(events) == [0, 1, 2, 3, 4, 5]
    assert place.ended().progress.metrics["val_loss"].best_epoch == 5


@pytest.mark.parametrize("seed", range(3))
def test_a_training_killed_at_any_moment_goes_on_as_the_same_run(seed: int, place: Place) -> None:
    moment = random.Random(seed)
    step, pause_s = moment.randrange(8, 47), moment.random() / 50
    with place.start() as process:
        assert process.stdout is not None
        while f"step {step}\n" != process.stdout.readline():
            assert process.poll() is None
        time.sleep(pause_s)
        process.kill()
    assert place.run().code == 0

    events = place.events()
    assert place.ended().status is Status.FINISHED
    assert {each.attempt for each in events if isinstance(each, RunStarted)} == {1, 2}
    assert place.ended().progress.done == 6
    told = place.ended().progress.metrics["train_loss"].epochs
    assert list(told) == sorted(set(told))
    assert set(range(6)) - set(told) <= {step // 8 - 1, step // 8}  # at most the one that ended as the process did


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
def test_several_ranks_are_one_run(strategy: str, place: Place) -> None:
    ran = place.run(STRATEGY=strategy, DEVICES="2")

    assert ran.code == 0, ran.err
    assert labels(place.events()) == [0, 1, 2, 3, 4, 5]
    assert place.ended().status is Status.FINISHED


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_fork"])
def test_an_error_on_several_ranks_is_told_once(strategy: str, place: Place) -> None:
    ran = place.run(STRATEGY=strategy, DEVICES="2", HAPPENS="error@2")

    assert ran.code == 1, ran.err
    assert labels(place.events()) == [0, 1]
    assert (place.ended().status, "ValueError: bad batch" in place.ended().error) == (Status.FAILED, True)


def wandb_runs(folder: Path) -> int:
    return len(list(folder.glob("**/wandb/offline-run-*")))


def tensorboard_folders(folder: Path) -> int:
    return len({path.parent for path in folder.rglob("events.out.tfevents.*")})


@pytest.mark.parametrize(
    ("logger", "count"), [("wandb", wandb_runs), ("tensorboard", tensorboard_folders)], ids=["wandb", "tensorboard"]
)
def test_lightning_s_own_logger_is_the_only_one_of_its_kind(
    logger: str, count: Callable[[Path], int], place: Place
) -> None:
    ran = place.run(LOGGER=logger, WANDB_MODE="offline", **{f"NOTIFYBOT_{logger.upper()}": "on"})

    assert ran.code == 0, ran.err
    assert count(place.folder) == 1
    assert not [each for each in place.events() if isinstance(each, AlertRaised)]
