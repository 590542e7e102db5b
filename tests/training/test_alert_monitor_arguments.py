"""Alerts as a person asks for them: `alerts=` of the public hooks, and what is on without asking."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot import Run, UsageError, alerts, notify_epoch, notify_run
from notifybot.events import AlertRaised
from notifybot.training.session import close
from notifybot.types import Progress
from tests.support.training_runs import recorded_events


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[dict[str, object]]:
    yield {"state_dir": str(tmp_path / "state"), "runs_dir": str(tmp_path / "runs"), "tensorboard": "off"}
    close()


def titles(run: Run) -> list[str]:
    assert run.session is not None
    events = recorded_events(run)
    return sorted(each.title for each in events if isinstance(each, AlertRaised))


def test_a_loss_that_is_no_number_is_told_without_asking(settings: dict[str, object]) -> None:
    with notify_epoch(range(3), config=settings, notifiers=[]) as epochs:
        for epoch in epochs:
            epochs.log(train_loss=math.nan if epoch else 1.0)

    assert titles(epochs.run) == ["train_loss is NaN"]


def test_an_empty_list_looks_for_nothing(settings: dict[str, object]) -> None:
    with notify_epoch(range(2), alerts=[], config=settings, notifiers=[]) as epochs:
        for _ in epochs:
            epochs.log(train_loss=math.nan)

    assert titles(epochs.run) == []


def test_what_is_asked_for_is_told_beside_the_epoch(settings: dict[str, object]) -> None:
    """Also of an epoch that `break` ends, and of what is logged after the loop."""

    def mine(progress: Progress) -> alerts.Alert | None:
        return alerts.Alert("two are done") if progress.done == 2 else None

    with notify_epoch(range(9), alerts=[alerts.target("val_acc", 0.9), mine], config=settings, notifiers=[]) as epochs:
        for epoch in epochs:
            epochs.log(val_acc=0.5 if epoch < 2 else 0.95)
            if epoch == 2:
                break

    assert titles(epochs.run) == ["two are done", "val_acc has reached its target"]
    assert epochs.run.faults == {}


def test_a_mistake_is_loud_before_the_first_epoch(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="write 'entropy:min' or 'entropy:max'"):
        notify_epoch(range(2), alerts=[alerts.plateau("entropy")], config=settings)
    with pytest.raises(UsageError, match=r"alerts.plateau is to be called"):
        notify_epoch(range(2), alerts=[alerts.plateau], config=settings)  # type: ignore[list-item]
    block = notify_run("x", alerts=[alerts.plateau], config=settings)  # type: ignore[list-item]
    with pytest.raises(UsageError, match=r"alerts.plateau is to be called"), block:
        pass


def test_a_rule_that_raises_costs_the_training_nothing(settings: dict[str, object]) -> None:
    def broken(progress: Progress) -> alerts.Alert | None:
        raise UsageError("mine")

    with notify_epoch(range(2), alerts=[broken], config=settings, notifiers=[]) as epochs:
        seen = list(epochs)

    assert seen == [0, 1]
    assert epochs.run.faults == {"alert_rule broken": 2}


def test_a_block_of_other_code_has_alerts_too(settings: dict[str, object]) -> None:
    with notify_run("rl", alerts=[alerts.threshold("reward", below=0)], config=settings, notifiers=[]) as run:
        run.log_epoch(0, reward=1.0)
        run.log_epoch(1, reward=-1.0)

    assert titles(run) == ["reward is below 0"]


def session(settings: dict[str, object], epochs: range, losses: list[float]) -> list[str]:
    """What one process tells of the run."""
    rules = [*alerts.DEFAULT, alerts.plateau("val_loss", patience=2)]
    with notify_epoch(epochs, run_id="one", alerts=rules, config=settings, notifiers=[]) as loop:
        before = titles(loop.run)
        for at, _ in enumerate(loop):
            loop.log(val_loss=losses[at])
    seen = titles(loop.run)
    for title in before:
        seen.remove(title)
    return seen


def test_a_run_that_goes_on_does_not_tell_again_what_was_told(settings: dict[str, object]) -> None:
    first = session(settings, range(4), [1.0, 1.5, 1.5, math.nan])
    second = session(settings, range(4, 8), [math.nan, 1.5, 0.5, 0.6])

    assert first == ["val_loss has stopped improving", "val_loss is NaN"]
    assert second == ["val_loss improves again", "val_loss is finite again"]


def test_epochs_that_are_run_again_have_not_happened(settings: dict[str, object]) -> None:
    """A person who heard of the NaN, and then that the run goes on from before it, must hear of the next one."""
    first = session(settings, range(3), [1.0, 0.9, math.nan])
    second = session(settings, range(2, 4), [math.nan, 0.8])

    assert first == ["val_loss is NaN"]
    assert second == ["val_loss is NaN", "val_loss is finite again"]


def test_within_an_epoch_a_heartbeat_finds_a_loss_that_is_no_number(settings: dict[str, object]) -> None:
    """Its thread reads the sums that are there anyway; no step is looked at."""
    with notify_epoch(range(2), config=settings, notifiers=[]) as epochs:
        for epoch in epochs:
            epochs.log(loss=1.0 if epoch == 0 else math.nan)
            epochs.run._pulse()
            if epoch == 1:
                assert titles(epochs.run) == ["loss is NaN"]

    assert titles(epochs.run) == ["loss is NaN"]
