"""Trials and folds of a program's own loop, as people hear of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest

from notifybot.config import load
from notifybot.errors import UsageError
from notifybot.events import AlertRaised, RunEnded
from notifybot.integrations.trials import Trials, notify_folds, notify_trials
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.training.session import close
from notifybot.types import Language, Severity, Status


@pytest.fixture
def people() -> Iterator[RecordingNotifier]:
    yield RecordingNotifier()
    close()


def trials_of(people: RecordingNotifier, language: Language = Language.EN, **options: Any) -> Trials:
    config = load({"lang": language, "tensorboard": "off", "wandb": "off"})
    return notify_trials("digits", config=config, notifiers=[people], **{"monitor": "val_acc", **options})


def folds_of(people: RecordingNotifier, language: Language = Language.EN, **options: Any) -> Trials:
    config = load({"lang": language, "tensorboard": "off", "wandb": "off"})
    return notify_folds("digits", config=config, notifiers=[people], **{"monitor": "val_acc", **options})


def told(trials: Trials, people: RecordingNotifier) -> list[AlertRaised]:
    assert trials.run is not None
    trials.run.flush(30)
    found = [each.event for each in people.sent if isinstance(each.event, AlertRaised)]
    return sorted(found, key=lambda event: event.at)  # the result and the end overtake lines that wait


def run_all(trials: Trials, *values: float, **more: Any) -> None:
    for value in values:
        with trials.one({"lr": value / 2, **more}) as trial:
            trial.value = value


def give_up(trials: Trials, error: Exception, value: float | None = None) -> None:
    with trials.one() as trial:
        trial.value = value
        raise error


def test_each_trial_is_a_line_and_the_best_is_told_with_its_parameters(people: RecordingNotifier) -> None:
    with trials_of(people, count=3) as trials:
        run_all(trials, 0.5, 0.75, 0.25)

    assert [each.title for each in told(trials, people)] == [
        "Trial 1/3: val_acc = 0.5 · best so far",
        "Trial 2/3: val_acc = 0.75 · best so far",
        "Trial 3/3: val_acc = 0.25 (best 0.75, #2)",
        "Result: best val_acc = 0.75, #2 (3 trials)",
    ]
    assert told(trials, people)[-1].text == "lr = 0.375"
    (ended,) = [each.event for each in people.sent if isinstance(each.event, RunEnded)]
    assert (ended.status, ended.progress.unit, ended.progress.done) == (Status.FINISHED, "trial", 3)
    best = ended.progress.metrics["val_acc"]
    assert (best.best, best.best_epoch) == (0.75, 2)
    assert "epoch_finished" not in people.kinds


def test_folds_are_told_by_their_mean(people: RecordingNotifier) -> None:
    """No fold is better than another: the spread is what says how sure the mean is."""
    with folds_of(people, count=3) as folds:
        for place, value in enumerate((0.875, 0.75, 1.0)):
            with folds.one({"fold": place}) as fold:
                fold.value = value

    assert [(each.title, each.text) for each in told(folds, people)] == [
        ("Fold 1/3: val_acc = 0.875", "fold = 0"),
        ("Fold 2/3: val_acc = 0.75", "fold = 1"),
        ("Fold 3/3: val_acc = 1", "fold = 2"),
        ("Result: val_acc = 0.875 ± 0.1 (3 folds)", "From 0.75 to 1."),
    ]


def test_a_fold_that_failed_is_not_in_the_mean(people: RecordingNotifier) -> None:
    """What it raised ends the program, unless the program catches it."""
    with folds_of(people, Language.KO) as folds:
        with pytest.raises(ValueError, match="bad split"):
            give_up(folds, ValueError("bad split"), 0.1)
        with folds.one() as fold:
            fold.value = 0.5

    assert [(each.title, each.severity) for each in told(folds, people)] == [
        ("폴드 1: 실패했습니다(ValueError), val_acc = 0.1", Severity.WARNING),
        ("폴드 2: val_acc = 0.5", Severity.INFO),
        ("결과: val_acc = 0.5 ± 0 (폴드 2개, 실패 1회)", Severity.SUCCESS),
    ]


def test_a_failure_of_the_program_is_the_ending_behind_the_summary(people: RecordingNotifier) -> None:
    with pytest.raises(ValueError, match="bad data"), trials_of(people, count=3) as trials:
        give_up(trials, ValueError("bad data"))

    assert [each.title for each in told(trials, people)][-2:] == [
        "Trial 1/3: failed (ValueError)",
        "Result: no value of val_acc (1 trial, 1 failed)",
    ]
    assert people.kinds[-2:] == ["alert_raised", "run_ended"]
    (ended,) = [each.event for each in people.sent if isinstance(each.event, RunEnded)]
    assert (ended.status, ended.error) == (Status.FAILED, "ValueError: bad data")


def test_what_gives_a_trial_up_is_no_failure_and_never_the_best(people: RecordingNotifier) -> None:
    class TrialPruned(Exception):
        pass

    with trials_of(people, monitor="loss", tell="best") as trials:
        with pytest.raises(TrialPruned):
            give_up(trials, TrialPruned(), 0.1)
        run_all(trials, math.nan, 0.5)

    assert [each.title for each in told(trials, people)] == [
        "Trial 3: loss = 0.5 · best so far",
        "Result: best loss = 0.5, #3 (3 trials, 1 pruned)",
    ]


def test_a_value_may_be_an_array_of_one_and_none_is_said(people: RecordingNotifier) -> None:
    class Tensor:
        def item(self) -> float:
            return 0.5

    with trials_of(people) as trials:
        with trials.one() as trial:
            trial.value = Tensor()
        with trials.one():
            pass
        with trials.one() as trial:
            trial.value = "no number"

    assert [each.title for each in told(trials, people)] == [
        "Trial 1: val_acc = 0.5 · best so far",
        "Trial 2: no value of val_acc (best 0.5, #1)",
        "Trial 3: no value of val_acc (best 0.5, #1)",
        "Result: best val_acc = 0.5, #1 (3 trials)",
    ]


def test_quick_trials_do_not_flood_people(people: RecordingNotifier) -> None:
    """Ten lines, then one a minute which says how many were left out; the best is the best of all."""
    clock = FakeClock()
    config = load({"lang": "en", "tensorboard": "off", "wandb": "off"})
    with Trials("digits", monitor="val_acc", count=1000, config=config, notifiers=[people], clock=clock) as trials:
        run_all(trials, *(place / 1000 for place in range(500)))
        clock.advance(60)
        run_all(trials, 0.25)

    lines = told(trials, people)
    assert [each.title for each in lines[9:]] == [
        "Trial 10/1000: val_acc = 0.009 · best so far",
        "Trial 501/1000: val_acc = 0.25 (best 0.499, #500)",
        "Result: best val_acc = 0.499, #500 (501 trials)",
    ]
    assert lines[10].text == "lr = 0.125\n(+490 trials since the last message)"


def test_misuse_is_an_error_before_the_first_trial(people: RecordingNotifier) -> None:
    with pytest.raises(UsageError, match="novelty:max"):
        trials_of(people, monitor="novelty")
    with pytest.raises(UsageError, match="tell="):
        trials_of(people, tell="some")
    with pytest.raises(UsageError, match="inside the block"), trials_of(people).one():
        pass
    with folds_of(people, monitor="novelty"):
        pass


def test_a_copy_has_not_begun() -> None:
    with notify_trials("digits", monitor="val_acc", config={"tensorboard": "off", "wandb": "off"}) as trials:
        run_all(trials, 0.5)
        other = copy.deepcopy(trials)

    assert (other.run, other.trials, other.best) == (None, [], None)
