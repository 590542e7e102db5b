"""Reports of a run besides its epochs, and of steps: pages, trackers, what is ahead."""

from __future__ import annotations

import pytest

import notifybot
from notifybot import UsageError, notify_run
from notifybot.clock import SystemClock
from notifybot.config import load
from notifybot.events import EpochFinished, Event, RunEnded, RunStarted
from notifybot.store.notifier_state import tracker_url
from notifybot.training.endings import Ending
from notifybot.training.run import Run
from notifybot.types import Status
from tests.support.training_runs import recorded_events


class Hand(SystemClock):
    """Time that passes for the run when a test says so; its threads wait as they do."""

    def __init__(self) -> None:
        self.at_s = 0.0

    def monotonic(self) -> float:
        return self.at_s


def recorded(run: Run) -> list[Event]:
    assert run.session is not None
    return recorded_events(run)


def epochs(run: Run) -> list[EpochFinished]:
    return [each for each in recorded(run) if isinstance(each, EpochFinished)]


def stepping(settings: dict[str, object], clock: Hand, **ahead: object) -> Run:
    run = Run(name="llm", config=load(settings), clock=clock, console=False)
    run.start(**ahead)  # type: ignore[arg-type]
    return run


def test_a_page_of_the_programs_own_is_linked(settings: dict[str, object]) -> None:
    with notify_run("digits", config=settings) as run:
        run.page("https://wandb.example/run/1")

        assert run.session is not None
        assert tracker_url(run.session.shared.store, run.ref.key) == "https://wandb.example/run/1"


@pytest.mark.needs("torch", "tensorboard")
def test_trackers_may_be_left_to_the_program(settings: dict[str, object]) -> None:
    with notify_run("digits", trackers="off", config=settings | {"tensorboard": "on"}) as run:
        assert run.session is not None
        assert run.session.planned == ["jsonl"]


@pytest.mark.parametrize("wrong", [{"unit": "batch"}, {"trackers": "none"}, {"total": "30"}, {"first": "two"}])
def test_what_cannot_be_meant_is_refused_before_the_block(
    settings: dict[str, object], wrong: dict[str, object]
) -> None:
    with pytest.raises(UsageError):
        notify_run("digits", config=settings, **wrong)  # type: ignore[arg-type]


def test_steps_are_reported_once_a_second_with_what_was_logged_between(settings: dict[str, object]) -> None:
    clock = Hand()
    run = stepping(settings, clock)

    for step in range(1, 31):
        run.log_step(step, loss=float(step), total=30)
        clock.at_s += 0.125
    run.end(Ending(Status.FINISHED))

    reported = [(each.progress.epoch, each.progress.done, each.progress.metrics["loss"].value) for each in epochs(run)]
    assert [label for label, _, _ in reported] == [1, 9, 17, 25, 30]
    assert reported[1] == (9, 9, 5.5)
    (ended,) = (each for each in recorded(run) if isinstance(each, RunEnded))
    assert (ended.progress.done, ended.progress.total, ended.progress.unit) == (30, 30, "step")


def test_a_validation_metric_is_reported_at_its_own_step(settings: dict[str, object]) -> None:
    run = stepping(settings, Hand())

    for step in range(1, 31):
        run.log_step(step, loss=1.0)
        if step % 10 == 0:
            run.log_step(step, val_loss=1 / step)

    assert [each.progress.epoch for each in epochs(run)] == [1, 10, 20, 30]


def test_steps_of_the_last_second_are_not_lost(settings: dict[str, object]) -> None:
    run = stepping(settings, Hand())

    run.log_step(1, loss=1.0)
    run.log_step(2, loss=2.0)
    run.log_step(3, loss=4.0)
    run.end(Ending(Status.FAILED))

    assert [(each.progress.done, each.progress.metrics["loss"].value) for each in epochs(run)] == [(1, 1.0), (3, 3.0)]


def test_the_time_left_goes_by_steps_and_not_by_reports(settings: dict[str, object]) -> None:
    clock = Hand()
    run = stepping(settings, clock, total=2000, unit="step")

    left = []
    for step in (100, 200, 700, 1200):
        clock.at_s += 0.5 * (step - run.progress.done)
        run.log_step(step, loss=0.1)
        left.append(epochs(run)[-1].progress.eta_s)

    assert left == pytest.approx([950.0, 900.0, 650.0, 400.0])


def test_steps_within_an_epoch_are_the_epochs_numbers(settings: dict[str, object]) -> None:
    with notifybot.notify_epoch(range(1), name="digits", config=settings, progress=False) as loop:
        for _ in loop:
            loop.run.log_step(10, loss=1.0)
            loop.run.log_step(20, loss=3.0)

    (only,) = epochs(loop.run)
    assert (only.progress.unit, only.progress.epoch, only.progress.metrics["loss"].value) == ("epoch", 0, 2.0)


@pytest.mark.parametrize(("unit", "done"), [("epoch", 5), ("step", 4)])
def test_a_first_label_says_how_many_were_done_elsewhere(settings: dict[str, object], unit: str, done: int) -> None:
    run = stepping(settings, Hand(), first=5, total=10, unit=unit)

    (started,) = (each for each in recorded(run) if isinstance(each, RunStarted))
    assert (started.progress.done, started.total) == (done, 10)
    run.report_epoch(5, {"loss": 0.1})
    assert run.progress.done == done + 1


@pytest.mark.parametrize("unit", ["epoch", "step"])
def test_what_is_done_again_is_void_from_the_first_label_on(settings: dict[str, object], unit: str) -> None:
    clock = Hand()
    before = stepping(settings, clock, total=10, unit=unit)
    for label, loss in zip((2, 4, 6, 8), (0.5, 0.4, 0.1, 0.2), strict=True):
        before.report_epoch(label, {"val_loss": loss})
    before.end(Ending(Status.FAILED))

    again = Run(name="llm", run_id=before.id, config=load(settings), clock=clock, console=False)
    again.start(total=10, unit=unit, first=5)  # type: ignore[arg-type]
    metric = again.progress.metrics["val_loss"]

    assert (again.attempt, metric.best, metric.best_epoch) == (2, 0.4, 4)
    again.report_epoch(6, {"val_loss": 0.3})
    assert (again.progress.metrics["val_loss"].best, again.progress.metrics["val_loss"].epochs) == (0.3, (2, 4, 6))


def test_minor_values_are_recorded_and_never_the_best(settings: dict[str, object]) -> None:
    with notify_run("digits", config=settings) as run:
        run.report_epoch(0, {"val_samples_per_second": 7.0, "val_acc": 0.5}, minor={"val_samples_per_second"}, part=0.5)

    (only,) = epochs(run)
    assert {name: each.minor for name, each in only.progress.metrics.items()} == {
        "val_samples_per_second": True,
        "val_acc": False,
    }
    assert only.progress.part == 0.5


@pytest.mark.parametrize("total", ["30", 2.5, [30]])
def test_a_total_of_steps_that_is_no_number_is_refused_at_the_first_step(
    settings: dict[str, object], total: object
) -> None:
    run = stepping(settings, Hand())

    with pytest.raises(UsageError):
        run.log_step(1, loss=0.5, total=total)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"total": "30"}, {"metrics": 0.5}, {"metrics": [0.5]}, {"metrics": "loss"}, {"loss": object()}]
)
def test_no_later_step_raises_into_the_loop(settings: dict[str, object], wrong: dict[str, object]) -> None:
    """Whatever a program hands over once it trains: it is counted and said, and the next step is reported."""
    clock = Hand()
    run = stepping(settings, clock)
    run.log_step(1, loss=0.5)
    clock.at_s += 5.0

    more = {name: value for name, value in wrong.items() if name != "metrics"}
    run.log_step(2, wrong.get("metrics"), **more)  # type: ignore[arg-type]
    clock.at_s += 5.0
    run.log_step(3, loss=0.25, total=30)

    assert run.faults
    assert (epochs(run)[-1].progress.done, epochs(run)[-1].progress.total) == (3, 30)
