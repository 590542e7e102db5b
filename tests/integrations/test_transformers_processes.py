"""The callback for the Trainer where the process is the point: signals, kills, ranks, a notebook, TRL."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from notifybot.clock import SYSTEM
from notifybot.events import CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.types import Status

pytestmark = [pytest.mark.needs("transformers"), pytest.mark.field, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, signal, sys, time, warnings
warnings.simplefilter("ignore")
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from notifybot.integrations.transformers import NotifyCallback, whole_checkpoint

class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.line = torch.nn.Linear(1, 1)

    def forward(self, x, labels):
        out = self.line(x)
        return {"loss": torch.nn.functional.mse_loss(out, labels), "logits": out}

class Happens(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        print(f"step {state.global_step}", flush=True)
        what, _, at = os.environ.get("HAPPENS", "").partition("@")
        here = os.environ.get("RANK", "0") == os.environ.get("AT_RANK", "0")
        if what and here and state.global_step == int(at):
            if what == "error":
                raise ValueError("bad batch")
            os.kill(os.getpid(), getattr(signal, what))
            if "--jit" in sys.argv:
                time.sleep(4)  # it waits three seconds, in case a SIGKILL follows

def rows(count):
    return [{"x": torch.tensor([i / count]), "labels": torch.tensor([2 * i / count])} for i in range(count)]

def trainer():
    torch.set_num_threads(1)
    ranks = int(os.environ.get("WORLD_SIZE", 1))
    given = dict(
        output_dir="out", per_device_train_batch_size=8 // ranks, num_train_epochs=6, eval_strategy="epoch",
        logging_strategy="epoch", save_strategy="epoch", learning_rate=0.1, use_cpu=True, disable_tqdm=True,
        dataloader_pin_memory=False, report_to=os.environ.get("REPORT_TO", "none"),
        ddp_backend="gloo" if ranks > 1 else None,
    )
    if "--jit" in sys.argv:
        given |= {"enable_jit_checkpoint": True, "save_strategy": "no"}
    more = dict(train_dataset=rows(32), eval_dataset=rows(8), callbacks=[NotifyCallback("line"), Happens()])
    return Trainer(Line(), TrainingArguments(**given), **more)
"""
TRAIN = f"""{SCRIPT}
if __name__ == "__main__":
    trainer().train(resume_from_checkpoint=whole_checkpoint("out"))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # or gloo's threads abort the process at its end, now and then
"""


class Ran(NamedTuple):
    code: int
    out: str
    err: str


class Place:
    """Folder in which the script is run, and what was recorded there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "train.py").write_text(TRAIN, "utf-8")

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        given = {
            **os.environ, "PYTHONPATH": str(ROOT), "NOTIFYBOT_TENSORBOARD": "off", "NOTIFYBOT_WANDB": "off",
            "NOTIFYBOT_STATE_DIR": str(self.folder / "state"), "NOTIFYBOT_RUNS_DIR": str(self.folder / "runs"),
        } | environment  # fmt: skip
        command = [sys.executable, *(arguments or ("train.py",))]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=given, stdout=pipe, stderr=pipe, text=True)

    def run(self, *arguments: str, **environment: str) -> Ran:
        with self.start(*arguments, **environment) as process:
            try:
                out, err = process.communicate(timeout=300)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return Ran(process.returncode, out, err)

    def runs(self) -> list[list[Event]]:
        store = Store.open(self.folder / "state" / "notifybot.db", clock=SYSTEM)
        try:
            return [runs.events_of(store, run.id) for run in runs.recent(store)]
        finally:
            store.close()

    def events(self) -> list[Event]:
        [events] = self.runs()
        return events

    def ended(self) -> RunEnded:
        return next(each for each in reversed(self.events()) if isinstance(each, RunEnded))

    def labels(self) -> list[int | None]:
        return [each.progress.epoch for each in self.events() if isinstance(each, EpochFinished)]

    def saved(self) -> list[str]:
        return [Path(each.checkpoint.path).name for each in self.events() if isinstance(each, CheckpointSaved)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_an_error_is_told_with_the_lines_of_the_program(place: Place) -> None:
    """The Trainer has no hook for it."""
    ran = place.run(HAPPENS="error@10")

    assert ran.code == 1, ran.err
    assert (place.ended().status, place.labels()) == (Status.FAILED, [0, 1])
    assert "ValueError: bad batch" in place.ended().error
    assert "train.py" in place.ended().frames


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_is_an_interruption(place: Place, name: str) -> None:
    ran = place.run(HAPPENS=f"{name}@10")

    assert ran.code == -getattr(signal, name), ran.err
    assert (place.ended().status, place.labels()) == (Status.INTERRUPTED, [0, 1])


def test_a_checkpoint_just_in_time_is_made_and_told(place: Place) -> None:
    """The Trainer's own handler for SIGTERM decides how the process ends, and it saves past `on_save`."""
    ran = place.run("train.py", "--jit", HAPPENS="SIGTERM@10")

    assert ran.code == 0, ran.err
    [saved] = [each.parent.name for each in (place.folder / "out").glob("checkpoint-*/trainer_state.json")]
    assert (place.ended().status, place.ended().error) == (Status.INTERRUPTED, "SIGTERM")
    assert place.saved() == [saved]


@pytest.mark.parametrize("seed", range(3))
def test_a_training_killed_at_any_moment_goes_on_as_the_same_run(seed: int, place: Place) -> None:
    """Also within a save, by the newest checkpoint that is whole; each epoch is told once in the end."""
    moment = random.Random(seed)
    step, pause_s = moment.randrange(5, 23), moment.random() / 20
    with place.start() as process:
        assert process.stdout is not None
        while f"step {step}\n" != process.stdout.readline():
            assert process.poll() is None
        time.sleep(pause_s)
        process.kill()
    assert place.run().code == 0

    assert {each.attempt for each in place.events() if isinstance(each, RunStarted)} == {1, 2}
    last = place.ended().progress
    assert (place.ended().status, last.done) == (Status.FINISHED, 6)
    assert list(last.metrics["eval_loss"].epochs) == list(range(6))
    best = min(last.metrics["eval_loss"].history)
    assert last.metrics["eval_loss"].best == best


TWO_RANKS = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train.py")


def test_two_ranks_are_one_run(place: Place) -> None:
    ran = place.run(*TWO_RANKS)

    assert ran.code == 0, ran.err
    assert (place.labels(), place.ended().status) == ([0, 1, 2, 3, 4, 5], Status.FINISHED)


def test_the_error_of_another_rank_is_told_once(place: Place) -> None:
    """The launcher terminates the rank that reports: not a preemption."""
    ran = place.run(*TWO_RANKS, HAPPENS="error@10", AT_RANK="1")

    assert ran.code == 1, ran.err
    assert place.ended().status is Status.FAILED
    assert "ValueError: bad batch" in place.ended().error


def test_one_run_at_wandb(place: Place) -> None:
    """The Trainer's own: ours stays off, whatever the settings say."""
    ran = place.run(REPORT_TO="wandb", WANDB_MODE="offline", NOTIFYBOT_WANDB="on", NOTIFYBOT_TENSORBOARD="on")

    assert ran.code == 0, ran.err
    assert len(list(place.folder.glob("**/wandb/offline-run-*"))) == 1
    assert list(place.folder.glob("runs/**/events.out.tfevents.*"))


CELLS = """
from IPython.testing.globalipapp import start_ipython
shell = start_ipython()
shell.run_cell({setup!r})
shell.run_cell("one = trainer(); one.train()")
shell.run_cell("os.environ['HAPPENS'] = ''; one = trainer(); one.train()")
"""


def test_a_cell_that_raises_has_failed_and_the_next_is_another_run(place: Place) -> None:
    (place.folder / "cells.py").write_text(textwrap.dedent(CELLS.format(setup=SCRIPT)), "utf-8")

    ran = place.run("cells.py", HAPPENS="error@10")

    assert ran.code == 0, ran.err
    endings = [each for events in place.runs() for each in events if isinstance(each, RunEnded)]
    assert sorted(each.status for each in endings) == [Status.FAILED, Status.FINISHED], ran.out + ran.err
    assert any("ValueError: bad batch" in each.error for each in endings)


SFT = """
import warnings
warnings.simplefilter("ignore")
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer
from notifybot.integrations.transformers import NotifyCallback

words = ["<pad>", "<eos>", "a", "line", "of", "text"]
inner = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<eos>"))
inner.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<eos>", pad_token="<pad>", unk_token="<eos>")
tiny = dict(vocab_size=6, n_positions=32, n_embd=8, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=1)
model = GPT2LMHeadModel(GPT2Config(**tiny))
given = SFTConfig(
    output_dir="out", max_steps=6, logging_steps=2, per_device_train_batch_size=2, report_to="none", use_cpu=True,
    save_strategy="no", disable_tqdm=True, bf16=False, max_length=16, dataloader_pin_memory=False,
)
rows = Dataset.from_dict({"text": ["a line of text"] * 16})
notify = NotifyCallback("sft")
trainer = SFTTrainer(model, given, train_dataset=rows, processing_class=tokenizer, callbacks=[notify])
trainer.train()
assert notify.run.faults == {}, notify.run.faults
for line in trainer.state.log_history[:-1]:
    print("LOGGED", line["step"], line["loss"])
"""


@pytest.mark.needs("trl")
def test_supervised_fine_tuning_of_trl_is_told_by_steps(place: Place) -> None:
    (place.folder / "train.py").write_text(SFT, "utf-8")

    ran = place.run()

    assert ran.code == 0, ran.err
    logged = [tuple(map(float, line.split()[1:])) for line in ran.out.splitlines() if line.startswith("LOGGED")]
    told = [each.progress for each in place.events() if isinstance(each, EpochFinished)]
    assert [(float(each.epoch or 0), each.metrics["loss"].value) for each in told] == logged
    assert [(each.done, each.total, each.unit) for each in told] == [(2, 6, "step"), (4, 6, "step"), (6, 6, "step")]
