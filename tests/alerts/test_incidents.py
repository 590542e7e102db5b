"""Incidents: told when they begin and once more when they are over, over a resume too."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot import alerts
from notifybot.alerts import Alert, AlertRule
from notifybot.alerts.base import Reading
from notifybot.alerts.evidence import Finite
from notifybot.clock import SYSTEM
from notifybot.events import EpochFinished, from_json, to_json
from notifybot.training.progress import ProgressTracker
from notifybot.types import Metric, Progress, RunRef, uuid7
from tests.support.alert_courses import DIRECTIONS, EPOCHS, NUMBERS, RULES, course, incidents, told_of


def test_a_rule_of_the_users_own_is_told_until_it_says_none_again() -> None:
    def low(progress: Progress) -> Alert | None:
        return Alert("low") if progress.done in (1, 2, 4) else None

    open_ones = incidents(low)
    told = [open_ones.see(Reading(progress=Progress(done=done))).raised for done in range(5)]

    assert told == [(), (Alert("low"),), (), (), (Alert("low"),)]


def test_a_rule_that_answers_anything_else_is_a_mistake_of_its_author() -> None:
    with pytest.raises(TypeError, match="a rule returns an Alert or None, not bool"):
        incidents(lambda progress: True).see(Reading(progress=Progress()))  # type: ignore[arg-type, return-value]


@given(RULES, EPOCHS)
def test_an_incident_is_told_once_and_over_once(rule: AlertRule, epochs: list[dict[str, float]]) -> None:
    """For any course of any metrics, beginnings and ends of each subject take turns, a beginning first."""
    by_subject: dict[str, list[str]] = {}
    for _, what, evidence in told_of(rule, epochs):
        subject = evidence.metric if isinstance(evidence, Finite) else ""
        by_subject.setdefault(subject, []).append(what)

    for turns in by_subject.values():
        assert turns == [("raised", "cleared")[at % 2] for at in range(len(turns))]


def test_what_swings_about_its_limit_is_told_less_and_less_often() -> None:
    """Each end has to last twice as long as the one before: 1 epoch, then 2, then 4."""
    swings = [6.0, 1.0, 6.0, 1.0, 6.0, 1.0, 1.0, 6.0, 1.0, 1.0, 1.0, 1.0]

    told = told_of(alerts.threshold("loss", above=5), course("loss", swings))

    assert [(epoch, what) for epoch, what, _ in told] == [
        (0, "raised"), (1, "cleared"), (2, "raised"), (6, "cleared"), (7, "raised"), (11, "cleared"),
    ]  # fmt: skip


@given(RULES, EPOCHS)
def test_no_course_of_a_run_floods(rule: AlertRule, epochs: list[dict[str, float]]) -> None:
    """The messages about one subject grow with the logarithm of the epochs."""
    subjects = Counter(
        evidence.metric if isinstance(evidence, Finite) else "" for *_, evidence in told_of(rule, epochs)
    )

    assert all(many <= 2 * (math.log2(len(epochs)) + 1) for many in subjects.values())


# ── Over a resume ────────────────────────────────────────────────────────────────────────────────────────────────────


def progress_after(epochs: Sequence[Mapping[str, float]]) -> Progress:
    """What a run's progress remembers after these epochs."""
    done = ProgressTracker(now_s=0.0)
    for epoch, values in enumerate(epochs):
        done.finish_epoch(epoch, values, now_s=float(epoch))
    return done.summary(0.0)


@given(RULES, st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(DIRECTIONS, NUMBERS)), max_size=31), EPOCHS)
def test_a_resumed_run_tells_what_an_uninterrupted_one_would(
    rule: AlertRule, before: list[dict[str, float]], after: list[dict[str, float]]
) -> None:
    """While the memory of 32 epochs reaches back to the start, a kill between two epochs changes no alert."""
    whole = [each for each in told_of(rule, [*before, *after]) if each[0] >= len(before)]

    resumed = incidents(rule)
    resumed.take_up(progress_after(before))
    told = []
    for epoch, values in enumerate(after, len(before)):
        news = resumed.see(Reading(values))
        told += [(epoch, "raised", evidence) for evidence in news.raised]
        told += [(epoch, "cleared", evidence) for evidence in news.cleared]

    assert repr(told) == repr(whole)


def through_json(progress: Progress, *without: str) -> Progress:
    """As the store keeps it; `without` what an older version did not write."""
    told = EpochFinished(id=uuid7(), run=RunRef("r", "r", "p"), at=SYSTEM.now(), progress=progress)
    kept = json.loads(to_json(told))
    for metric in kept["progress"]["metrics"].values():
        for name in without:
            del metric[name]
    return from_json(json.dumps(kept)).progress


@pytest.mark.parametrize("sessions", [1, 3])
@pytest.mark.parametrize("name", ["val_acc", "acc", "reward:max", "train_loss:max"])
@pytest.mark.parametrize(
    ("rule_of", "past", "then"),
    [
        (lambda name: alerts.target(name, 0.9), [0.95] + [0.5] * 60, 0.96),
        (lambda name: alerts.plateau(name, patience=50), [0.9] + [0.5] * 60, 0.5),
        (lambda name: alerts.divergence(name, ratio=1.5), [0.9] + [0.5] * 60, 0.5),
        (lambda name: alerts.target(name, 0.9), [0.1, 0.95] + [0.5] * 60, 0.96),
    ],
)
def test_a_best_older_than_the_memory_is_not_told_again(
    rule_of: Callable[[str], AlertRule], name: str, past: list[float], then: float, sessions: int
) -> None:
    """A metric's best outlives its last 32 values, monitored or not, and with it what was told of it."""
    metric = name.partition(":")[0]
    progress = through_json(progress_after(course(metric, past)))
    for session in range(1, sessions):
        later = ProgressTracker(now_s=0.0, earlier=progress)
        later.begin(range(len(past) + session - 1, 200), total=None, now_s=0.0)
        later.finish_epoch(len(past) + session - 1, {metric: 0.5}, now_s=1.0)
        progress = through_json(later.summary(2.0))
    resumed = incidents(rule_of(name))
    resumed.take_up(progress)

    assert resumed.see(Reading({metric: then})).raised == ()


def test_the_least_that_a_rule_waits_for_outlives_the_memory_too() -> None:
    progress = through_json(progress_after(course("train_loss", [0.1] + [0.5] * 60)))
    resumed = incidents(alerts.target("train_loss", 0.2))
    resumed.take_up(progress)

    assert resumed.see(Reading({"train_loss": 0.15})).raised == ()


def test_a_record_of_an_older_version_is_read_and_tells_the_best_it_has() -> None:
    progress = through_json(progress_after(course("val_acc", [0.95] + [0.5] * 60)), "lowest", "highest")
    resumed = incidents(alerts.target("val_acc", 0.9))
    resumed.take_up(progress)
    later = ProgressTracker(now_s=0.0, earlier=progress)
    later.begin(range(61, 70), total=None, now_s=0.0)

    assert resumed.see(Reading({"val_acc": 0.96})).raised == ()
    assert later.summary(0.0).metrics["val_acc"].highest == (0, 0.95)
    assert later.summary(0.0).metrics["val_acc"].lowest == (29, 0.5)


@given(st.lists(NUMBERS, min_size=1, max_size=90), NUMBERS, st.sampled_from(["loss:min", "loss:max"]), st.floats(-2, 2))
def test_a_target_is_told_once_however_long_ago_it_was_reached(
    past: list[float], then: float, name: str, value: float
) -> None:
    whole = incidents(alerts.target(name, value))
    resumed = incidents(alerts.target(name, value))
    for values in course("loss", past):
        whole.see(Reading(values))
    resumed.take_up(through_json(progress_after(course("loss", past))))

    assert resumed.see(Reading({"loss": then})).raised == whole.see(Reading({"loss": then})).raised


def test_a_rule_of_the_users_own_is_not_told_again_after_a_resume() -> None:
    def high(progress: Progress) -> Alert | None:
        return Alert("high") if progress.metrics["loss"].value > 1 else None

    resumed = incidents(high)
    resumed.take_up(progress_after(course("loss", [0.5, 2.0])))

    assert resumed.see(Reading(progress=Progress(metrics={"loss": Metric(2.5)}))).raised == ()
