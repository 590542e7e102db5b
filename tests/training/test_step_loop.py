"""`notify_steps`: reports, checkpoints and endings of a loop that goes by steps."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from notifybot import Checkpoints, EpochLoop, UsageError, notify_epoch, notify_steps
from notifybot.clock import SystemClock
from notifybot.config import load
from notifybot.events import CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted
from notifybot.training.run import Run
from notifybot.training.session import close
from notifybot.training.step_loop import StepLoop
from notifybot.types import Status
from tests.support.training_runs import recorded_events


class Hand(SystemClock):
    """Time that passes for the run when a test says so; its threads wait as they do."""

    def __init__(self) -> None:
        self.at_s = 0.0
        self.looks = 0

    def monotonic(self) -> float:
        self.looks += 1
        return self.at_s


def timed(settings: dict[str, object], total: int | None, clock: Hand) -> StepLoop:
    run = Run(name="gpt", config=load(settings), clock=clock, console=False)
    steps = itertools.count(1) if total is None else range(1, total + 1)
    return StepLoop(steps, run, total=total, progress=False)


def recorded(loop: EpochLoop) -> list[Event]:
    assert loop.run.session is not None
    return recorded_events(loop.run)


def reports(loop: EpochLoop) -> list[tuple[int | None, int, dict[str, float]]]:
    found = [each.progress for each in recorded(loop) if isinstance(each, EpochFinished)]
    return [(each.epoch, each.done, {name: one.value for name, one in each.metrics.items()}) for each in found]


def test_steps_are_counted_from_1_and_averaged_between_reports(settings: dict[str, object]) -> None:
    """One report a second at most, and the last step."""
    clock = Hand()
    with timed(settings, 20, clock) as steps:
        seen = []
        for step in steps:
            seen.append(step)
            steps.log(train_loss=float(step))
            clock.at_s += 0.125

    assert list(range(1, 21)) == seen
    assert reports(steps)[:3] == [
        (1, 1, {"train_loss": 1.0}),
        (9, 9, {"train_loss": 5.5}),
        (17, 17, {"train_loss": 13.5}),
    ]
    assert reports(steps)[3:] == [(20, 20, {"train_loss": 19.0})]
    (started,) = (each for each in recorded(steps) if isinstance(each, RunStarted))
    (ended,) = (each for each in recorded(steps) if isinstance(each, RunEnded))
    assert (started.total, started.progress.unit) == (20, "step")
    assert (ended.status, ended.progress.done, ended.progress.unit) == (Status.FINISHED, 20, "step")


def test_a_validation_metric_is_reported_at_its_own_step(settings: dict[str, object]) -> None:
    with timed(settings, 40, Hand()) as steps:
        for step in steps:
            steps.log(train_loss=1.0)
            if step % 10 == 0:
                steps.log(val_loss=1 / step)

    assert [label for label, _, _ in reports(steps)] == [1, 10, 20, 30, 40]
    best = steps.run.progress.metrics["val_loss"]
    assert (best.best, best.best_epoch) == (1 / 40, 40)


def test_a_silent_loop_is_reported_every_half_minute_and_a_first_value_at_once(settings: dict[str, object]) -> None:
    clock = Hand()
    with timed(settings, 100, clock) as steps:
        for step in steps:
            clock.at_s += 1.0
            if step == 50:
                steps.log(train_loss=0.5)

    assert [label for label, _, _ in reports(steps)] == [1, 31, 50, 80, 100]
    assert reports(steps)[2] == (50, 50, {"train_loss": 0.5})


def test_a_step_looks_at_the_clock_once(settings: dict[str, object]) -> None:
    clock = Hand()
    with timed(settings, 10_000, clock) as steps:
        for step in steps:
            steps.log(train_loss=0.1)
            if step == 1000:
                before = clock.looks
            if step == 9000:
                passed = clock.looks - before

    assert 8000 <= passed <= 8100  # the heartbeat's thread looks too


@pytest.mark.parametrize("how", ["break", "stop"])
def test_a_loop_without_a_total_ends_when_the_program_says_so(settings: dict[str, object], how: str) -> None:
    with timed(settings, None, Hand()) as steps:
        for step in steps:
            steps.log(train_loss=0.1)
            if step == 50 and how == "break":
                break
            if step == 50:
                steps.stop("patience")

    (ended,) = (each for each in recorded(steps) if isinstance(each, RunEnded))
    assert (ended.status is Status.FINISHED, ended.note) == (how == "stop", "patience" if how == "stop" else "")
    assert (ended.progress.done, ended.progress.total) == (50, None)


def test_an_error_names_the_step(settings: dict[str, object]) -> None:
    steps = timed(settings, 100, Hand())

    def train() -> None:
        with steps:
            for step in steps:
                steps.log(train_loss=0.1)
                if step == 7:
                    raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        train()

    (ended,) = (each for each in recorded(steps) if isinstance(each, RunEnded))
    assert (ended.status, ended.error) == (Status.FAILED, "ValueError: boom [step 7]")


def trained(settings: dict[str, object], folder: Path, total: int | None, until: int) -> tuple[list[int], StepLoop]:
    model = torch.nn.Linear(1, 1)
    checkpoints = Checkpoints(folder, model=model, every=10)
    loop = notify_steps(total, name="gpt", checkpoints=checkpoints, config=settings, progress=False)
    seen = []
    with loop as steps:
        for step in steps:
            seen.append(step)
            with torch.no_grad():
                model.weight.fill_(float(step))
            steps.log(train_loss=1 / step)
            if step == until:
                raise KeyboardInterrupt
    return seen, loop


@pytest.mark.parametrize("total", [40, None])
def test_checkpoints_are_every_so_many_steps_and_a_restart_goes_on_after_the_last(
    settings: dict[str, object], tmp_path: Path, total: int | None
) -> None:
    with pytest.raises(KeyboardInterrupt):
        trained(settings, tmp_path / "ck", total, 27)
    close()
    if total is None:
        with pytest.raises(KeyboardInterrupt):
            trained(settings, tmp_path / "ck", total, 41)
        close()
    seen, loop = trained(settings, tmp_path / "ck", 40, 0) if total else ([], None)

    saved = torch.load(sorted((tmp_path / "ck").glob("*.pt"))[-1], weights_only=False)
    assert saved["model_state_dict"]["weight"].item() == 40.0
    if loop is not None:
        events = recorded(loop)
        assert list(range(21, 41)) == seen
        assert [each.checkpoint.epoch for each in events if isinstance(each, CheckpointSaved)] == [10, 20, 30, 40]
        assert [each.attempt for each in events if isinstance(each, RunStarted)] == [1, 2]
        assert (loop.run.progress.done, loop.run.progress.total) == (40, 40)


@pytest.mark.parametrize("total", ["many", 0, -3])
def test_a_total_is_a_number_of_steps_or_none(total: object, settings: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        notify_steps(total, config=settings)  # type: ignore[arg-type]


def test_steps_of_epochs_are_as_they_were(settings: dict[str, object]) -> None:
    with notify_epoch(range(2), name="digits", config=settings, progress=False) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)

    assert (epochs.run.progress.unit, epochs.run.progress.done) == ("epoch", 2)
