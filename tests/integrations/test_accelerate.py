"""The tracker for Accelerate: in this process by itself, in several as torchrun and debug_launcher start them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.clock import SYSTEM
from notifybot.events import EpochFinished, Event, RunEnded, RunStarted
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.training.endings import Ending
from notifybot.types import Status
from tests.support.training_runs import end_runs, recorded_events

pytestmark = [
    pytest.mark.needs("accelerate", "torch"),
    pytest.mark.filterwarnings("ignore:`torch.jit.*is deprecated:DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def notify() -> Iterator[Any]:
    """Make a tracker with its runs in the test's folder."""
    from notifybot.integrations.accelerate import NotifyTracker

    settings = {"wandb": "off", "tensorboard": "off"}
    yield lambda name="exp_1", **options: NotifyTracker(name, config=settings, **options)
    end_runs()


def accelerator_of(tracker: Any, **options: Any) -> Any:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, log_with=[tracker])
    accelerator.init_trackers("project", **options)
    return accelerator


def recorded(tracker: Any) -> list[Event]:
    assert tracker.run is not None
    assert tracker.run.session is not None
    return recorded_events(tracker.run)


def told(events: list[Event]) -> list[tuple[int | None, dict[str, float]]]:
    epochs = [each.progress for each in events if isinstance(each, EpochFinished)]
    return [(each.epoch, {name: metric.value for name, metric in each.metrics.items()}) for each in epochs]


def test_what_is_logged_is_reported_with_its_step(notify: Any) -> None:
    """What comes within a second is averaged, and the last step is always told."""
    import torch

    tracker = notify(total=5)
    accelerator = accelerator_of(tracker, config={"lr": 0.1})
    for step in range(1, 6):
        accelerator.log({"loss": torch.tensor(1.0 / step), "note": "text", "missing": None}, step=step)
    accelerator.log({"val_loss": 0.5}, step=5)
    accelerator.end_training()

    events = recorded(tracker)
    assert told(events) == [
        (1, {"loss": 1.0}),
        (5, {"loss": pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 1 / 5) / 4)}),
        (5, {"val_loss": 0.5}),
    ]
    assert isinstance(events[0], RunStarted)
    assert events[0].params == {"lr": 0.1}
    last = events[-1]
    assert isinstance(last, RunEnded)
    assert (last.status, last.progress.unit, last.progress.done, last.progress.total) == (Status.FINISHED, "step", 5, 5)


def test_without_parameters_it_begins_at_once(notify: Any) -> None:
    tracker = notify(unit="epoch", total=2)
    accelerator = accelerator_of(tracker)
    assert tracker.run.active

    accelerator.log({"loss": 0.5})
    accelerator.log({"loss": 0.4})
    accelerator.end_training()

    assert told(recorded(tracker)) == [(1, {"loss": 0.5}), (2, {"loss": 0.4})]
    assert tracker.run.progress.done == 2


@pytest.mark.parametrize(("total", "status"), [(None, Status.FINISHED), (3, Status.FINISHED), (9, Status.STOPPED)])
def test_a_script_without_end_training_has_not_left_early(notify: Any, total: int | None, status: Status) -> None:
    """Unless steps are left; what it logged last is told."""
    tracker = notify(total=total)
    accelerator = accelerator_of(tracker)
    for step in range(3):
        accelerator.log({"loss": 1.0 + step}, step=step)
    tracker.run.end(Ending(Status.STOPPED, on_purpose=True))

    assert told(recorded(tracker)) == [(0, {"loss": 1.0}), (2, {"loss": 2.5})]
    assert tracker.run.status is status


def test_an_exception_is_told_within_a_block(notify: Any) -> None:
    def fail(accelerator: Any) -> None:
        raise ValueError("bad batch")

    with pytest.raises(ValueError, match="bad batch"), notify() as tracker:
        fail(accelerator_of(tracker))

    last = recorded(tracker)[-1]
    assert isinstance(last, RunEnded)
    assert (last.status, last.error) == (Status.FAILED, "ValueError: bad batch")


def test_without_accelerate_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    monkeypatch.delitem(sys.modules, "notifybot.integrations.accelerate", raising=False)

    with pytest.raises(ImportError, match="accelerate needs accelerate: pip install accelerate"):
        importlib.import_module("notifybot.integrations.accelerate")


# ── Several processes ────────────────────────────────────────────────────────────────────────────────────────────────

PROGRAM = """
import sys, torch
from accelerate import Accelerator, debug_launcher
from notifybot.integrations.accelerate import NotifyTracker

def train(how):
    accelerator = Accelerator(cpu=True, log_with=[NotifyTracker("exp_1", total=4)])
    accelerator.init_trackers("project", config={"lr": 0.1})
    for step in range(1, 5):
        if how == "raise" and step == 3 and accelerator.process_index == 1:
            raise ValueError("bad batch")
        total = accelerator.reduce(torch.tensor(float(step)))
        accelerator.log({"total": total}, step=step)
    accelerator.end_training()

if __name__ == "__main__":
    if sys.argv[1] == "debug_launcher":
        debug_launcher(train, ("well",), num_processes=2)
    else:
        train(sys.argv[1])
"""


def run_program(folder: Path, how: str, *launcher: str) -> subprocess.CompletedProcess[str]:
    script = folder / "train.py"
    script.write_text(PROGRAM, "utf-8")
    off = {"NOTIFYBOT_TENSORBOARD": "off", "NOTIFYBOT_WANDB": "off"}
    environment = os.environ | off | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *launcher, str(script), how]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=150)


def runs_in(folder: Path) -> list[runs.RunRow]:
    store = Store.open(folder / "state" / "notifybot.db", clock=SYSTEM)
    try:
        return runs.recent(store)
    finally:
        store.close()


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--local_addr=127.0.0.1", "--nproc_per_node=2")


@pytest.mark.field
@pytest.mark.parametrize(("how", "launcher"), [("well", TORCHRUN), ("debug_launcher", ())], ids=["torchrun", "debug"])
def test_two_processes_are_one_run(how: str, launcher: tuple[str, ...], tmp_path: Path) -> None:
    done = run_program(tmp_path, how, *launcher)

    assert done.returncode == 0, done.stderr
    (row,) = runs_in(tmp_path)
    assert (row.status, row.progress.done, row.progress.metrics["total"].value) == (Status.FINISHED, 4, 6.0)


@pytest.mark.field
def test_an_exception_of_any_process_is_a_failure(tmp_path: Path) -> None:
    done = run_program(tmp_path, "raise", *TORCHRUN)

    assert done.returncode != 0
    (row,) = runs_in(tmp_path)
    assert row.status is Status.FAILED
    assert "bad batch" in done.stderr
