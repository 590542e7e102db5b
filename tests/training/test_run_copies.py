"""Pickled, deep-copied or shallow: what is ours travels with what holds it, and does nothing there."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import notifybot
from notifybot import Checkpoints, UsageError, notify_epoch, notify_run
from notifybot.events import Event
from notifybot.training.block import RunBlock
from notifybot.training.endings import Ending
from notifybot.training.loop import EpochLoop
from notifybot.training.session import close
from tests.support.training_runs import recorded_events

Travel = Callable[[Any], Any]
WAYS: dict[str, Travel] = {
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
    "cloudpickle": lambda each: pickle.loads(cloudpickle.dumps(each)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield {
        "state_dir": str(tmp_path / "state"),
        "runs_dir": str(tmp_path / "runs"),
        "tensorboard": "off",
        "wandb": "off",
        "slack_webhook_url": "http://127.0.0.1:9/canary-not-a-real-secret",
    }
    close()


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def travel(request: pytest.FixtureRequest) -> Travel:
    way: Travel = request.param
    return way


class Callback:
    """What frameworks pickle: a user's object that holds what is ours."""

    def __init__(self, *held: Any) -> None:
        self.held = held


def recorded(run: notifybot.Run) -> list[Event]:
    assert run.session is not None
    return recorded_events(run)


def public(kind: type) -> set[str]:
    """The methods that somebody may call."""
    return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}


CALLS: dict[str, Callable[[notifybot.Run], object]] = {
    "alert": lambda run: run.alert("look"),
    "began": lambda run: run.began(0.0),
    "between": lambda run: run.between(3, {"loss": 0.1}),
    "begin_epoch": lambda run: run.begin_epoch(7),
    "close_epoch": lambda run: run.close_epoch(),
    "forget_after_fork": lambda run: run.forget_after_fork(),
    "emit": lambda run: run.emit(None),  # type: ignore[arg-type]
    "end": lambda run: run.end(Ending(notifybot.Status.FAILED)),
    "epoch_left_s": lambda run: run.epoch_left_s(),
    "expect_metric": lambda run: run.expect_metric("val_acc"),
    "expect_next_in": lambda run: run.expect_next_in(5.0),
    "fact": lambda run: run.fact(),
    "finish_open_epoch": lambda run: run.finish_open_epoch(),
    "flush": lambda run: run.flush(5.0),
    "linger": lambda run: run.linger(),
    "log_checkpoint": lambda run: run.log_checkpoint("missing.pt"),
    "log_epoch": lambda run: run.log_epoch(3, {"loss": None, "note": "text"}),
    "log_step": lambda run: run.log_step(3, loss=None),
    "count": lambda run: run.count(4, {"loss": 0.1}, done=5),
    "log": lambda run: run.log(loss=0.5),
    "new_session": lambda run: None,  # opens what the process has open already, and reports nothing
    "note_kept": lambda run: run.note_kept("storage"),
    "page": lambda run: run.page("https://example.com/run"),
    "plan": lambda run: run.plan(total=9, first=1),
    "proved": lambda run: run.proved(notifybot.types.Checkpoint("x.pt")),
    "report_epoch": lambda run: run.report_epoch(3, {"loss": 0.1}),
    "report": lambda run: run.report("title", "text"),
    "retire": lambda run: run.retire("title", "text"),
    "saved": lambda run: run.saved(notifybot.types.Checkpoint("x.pt")),
    "start": lambda run: run.start(range(3)),
    "tracker": lambda run: run.tracker("wandb", 5.0),
}


def test_every_method_of_a_copied_run_does_nothing(settings: dict[str, object], travel: Travel) -> None:
    """The original stands beside it, or in another process: a word of the copy's would be a lie."""
    with notify_run("block", params={"lr": 0.1}, config=settings) as run:
        run.log_epoch(4, loss=0.5)
        before = len(recorded(run))
        twin = travel(run)

        for call in CALLS.values():
            call(twin)

        assert len(recorded(run)) == before
        assert (twin.id, twin.name, twin.params) == (run.id, "block", {"lr": 0.1})
        assert twin.progress.epoch == 4
        assert not twin.active
        assert twin.faults == {}
        assert twin.copied() is twin


def test_every_method_is_tried() -> None:
    assert public(notifybot.Run) - CALLS.keys() == {"copied"}


def test_what_a_callback_holds_twice_is_one_copy(settings: dict[str, object]) -> None:
    with notify_epoch(range(1), config=settings) as epochs:
        loop, run = copy.deepcopy(Callback(epochs, epochs.run)).held

    assert run is loop.run


def test_no_secret_travels_with_a_run(settings: dict[str, object]) -> None:
    with notify_run("block", config=settings) as run:
        assert b"canary" not in pickle.dumps(run)


@pytest.mark.parametrize("log", [False, True])
def test_a_copied_loop_just_yields_its_epochs(settings: dict[str, object], travel: Travel, log: bool) -> None:
    with notify_epoch(range(3), config=settings) as epochs:
        for epoch in epochs:
            epochs.log(loss=1.0)
            if epoch == 1:
                break
        before = len(recorded(epochs.run))
        twin = travel(epochs)
        if log:
            twin.log(note="text")
            twin.log_checkpoint("missing.pt")

        with twin as inner:
            assert list(inner) == [0, 1, 2]

        assert (len(twin), twin.total, twin.tensorboard, twin.wandb) == (3, 3, None, None)
        assert len(recorded(epochs.run)) == before
        assert twin.run.faults == {}


def test_a_loop_over_what_cannot_be_copied_travels_empty(settings: dict[str, object], travel: Travel) -> None:
    with notify_epoch(iter(range(3)), config=settings) as epochs:
        assert list(travel(epochs)) == []
        assert list(epochs) == [0, 1, 2]


def test_the_log_of_a_loop_travels_mute(settings: dict[str, object], travel: Travel) -> None:
    with notify_epoch(range(1), config=settings) as epochs:
        for _ in epochs:
            travel(epochs).log(loss=2.0, note="text")
            copy.deepcopy(Callback(epochs.log)).held[0](loss=2.0, note="text")
            epochs.log(loss=1.0)

    assert epochs.run.progress.metrics["loss"].value == 1.0


@pytest.mark.parametrize("entered", [False, True])
def test_a_copied_block_is_entered_without_a_run(settings: dict[str, object], travel: Travel, entered: bool) -> None:
    block = notify_run("block", config=settings)
    if entered:
        run = block.__enter__()
    twin = travel(block)

    with twin as inner:
        inner.log_epoch(0, loss=1.0)

    assert isinstance(twin, RunBlock)
    assert inner.session is None
    if entered:
        assert inner.id == run.id
        block.__exit__(None, None, None)


def test_copied_checkpoints_hold_nothing_and_refuse_a_training(
    settings: dict[str, object], travel: Travel, tmp_path: Path
) -> None:
    """A spawned trainer that was handed them would train on unsaved: it is told before its first epoch."""
    model = torch.nn.Linear(2, 1)
    checkpoints = Checkpoints(tmp_path / "exp", model=model)
    with notify_epoch(range(2), checkpoints=checkpoints, config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)
        twin = travel(checkpoints)
        assert b"weight" not in pickle.dumps(checkpoints)

    assert (twin.folder, twin.latest, twin.best, twin.modules, twin.wait(0.0)) == (
        tmp_path / "exp",
        None,
        None,
        {},
        True,
    )
    with pytest.raises(UsageError, match="make Checkpoints"):
        notify_epoch(range(2), checkpoints=twin, config=settings).__enter__()
    assert checkpoints.latest is not None


class Holding(Dataset[int]):  # type: ignore[misc,unused-ignore]
    """A dataset that logs from where it is."""

    def __init__(self, epochs: EpochLoop) -> None:
        self.epochs = epochs

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        self.epochs.log(loss=float("nan"), note="text")
        self.epochs.run.alert("from a worker")
        return index


def test_a_dataset_that_holds_the_loop_goes_to_a_spawned_worker(settings: dict[str, object]) -> None:
    """As on Windows and macOS, where workers are not forked."""
    with notify_epoch(range(1), config=settings) as epochs:
        for _ in epochs:
            loader = DataLoader(Holding(epochs), num_workers=1, multiprocessing_context="spawn", batch_size=None)
            assert [int(each) for each in loader] == [0, 1]
            epochs.log(loss=1.0)

    assert [event.kind for event in recorded(epochs.run)] == ["run_started", "epoch_finished", "run_ended"]
    assert epochs.run.progress.metrics["loss"].value == 1.0
