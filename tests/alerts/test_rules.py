"""Rules about metrics: what each takes for an incident, and when it is over."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifybot import alerts
from notifybot.alerts import Alert, AlertRule
from notifybot.alerts.base import Reading
from notifybot.alerts.evidence import Distance, EpochPace, Finite, Gap, Limit, Reached
from notifybot.errors import UsageError
from tests.support.alert_courses import EPOCHS, INF, NAN, NUMBERS, RULES, course, incidents, told_of

# ── What each rule looks for ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_metric_that_is_no_number_is_told_with_its_last_good_value_and_clears() -> None:
    told = told_of(alerts.non_finite(), course("loss", [0.5, INF, -INF, 0.4]))

    assert told == [(1, "raised", Finite("loss", INF, 0.5)), (3, "cleared", Finite("loss", 0.4, 0.5))]


def test_a_metric_that_was_never_a_number_does_not_hide_the_next_one() -> None:
    """An F1 that is NaN from the start must not keep the loss from being told."""
    told = told_of(alerts.non_finite(), [{"f1": NAN, "loss": 1.0}, {"f1": NAN, "loss": NAN}])

    assert [(epoch, evidence.metric) for epoch, _, evidence in told if isinstance(evidence, Finite)] == [
        (0, "f1"),
        (1, "loss"),
    ]


def test_only_named_metrics_are_looked_at_for_nan_where_some_are_named() -> None:
    assert told_of(alerts.non_finite("loss"), [{"f1": NAN, "loss": 1.0}]) == []


def test_a_threshold_is_told_on_its_far_side_only() -> None:
    """The limit itself is allowed."""
    above = told_of(alerts.threshold("loss", above=5), course("loss", [5.0, 5.1, 6.0, 5.0, 7.0]))
    below = told_of(alerts.threshold("acc", below=0.5), course("acc", [0.5, 0.4, 0.6]))

    assert above == [
        (1, "raised", Limit("loss", 5.1, 5.0, "above")),
        (3, "cleared", Limit("loss", 5.0, 5.0, "above")),
        (4, "raised", Limit("loss", 7.0, 5.0, "above")),
    ]
    assert below == [
        (1, "raised", Limit("acc", 0.4, 0.5, "below")),
        (2, "cleared", Limit("acc", 0.6, 0.5, "below")),
    ]


def test_a_plateau_lasts_until_there_is_a_new_best() -> None:
    """A value that only comes near the best does not end it."""
    told = told_of(alerts.plateau("loss", patience=3), course("loss", [1.0, 0.8, 0.9, 0.8, 0.85, 0.81, 0.7, 0.7]))

    assert told == [(4, "raised", EpochPace("loss", 0.85, 0.8, 3)), (6, "cleared", EpochPace("loss", 0.7, 0.8, 4))]


def test_a_gain_too_small_to_count_is_no_progress() -> None:
    told = told_of(alerts.plateau("acc", patience=2, min_delta=0.1), course("acc", [0.5, 0.55, 0.6, 0.75]))

    assert told == [
        (2, "raised", EpochPace("acc", 0.6, 0.5, 2, 0.1)),
        (3, "cleared", EpochPace("acc", 0.75, 0.5, 2, 0.1)),
    ]


def test_divergence_is_measured_from_the_best_so_far() -> None:
    by_ratio = told_of(alerts.divergence("loss", ratio=2), course("loss", [4.0, 1.0, 2.0, 2.1, 1.5]))
    by_distance = told_of(alerts.divergence("acc", by=0.25), course("acc", [0.5, 0.75, 0.5, 0.25]))

    assert by_ratio == [
        (3, "raised", Distance("loss", 2.1, 1.0, 2.0)),
        (4, "cleared", Distance("loss", 1.5, 1.0, 2.0)),
    ]
    assert by_distance == [(3, "raised", Distance("acc", 0.25, 0.75, 0.5))]


def test_a_score_diverges_downwards() -> None:
    told = told_of(alerts.divergence("acc", ratio=2), course("acc", [0.8, 0.4, 0.39]))

    assert told == [(2, "raised", Distance("acc", 0.39, 0.8, 0.4))]


def test_a_ratio_says_nothing_about_a_best_that_is_not_positive() -> None:
    assert told_of(alerts.divergence("loss"), course("loss", [0.0, 5.0])) == []
    assert told_of(alerts.divergence("loss"), course("loss", [-1.0, 5.0])) == []


def test_overfitting_needs_both_in_every_epoch_and_ends_below_the_turn() -> None:
    """One better epoch in between is noise; it is over when validation beats the value it rose from."""
    train = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    val = [1.0, 0.7, 0.8, 0.9, 0.85, 0.7, 0.6]
    epochs = [{"train_loss": one, "val_loss": other} for one, other in zip(train, val, strict=True)]

    told = told_of(alerts.overfitting(epochs=2), epochs)

    assert told == [
        (3, "raised", Gap("train_loss", "val_loss", 2, (0.9, 0.7), (0.7, 0.9))),
        (6, "cleared", Gap("train_loss", "val_loss", 0, (0.9, 0.4), (0.7, 0.6))),
    ]


def test_validation_that_rises_while_training_stands_still_is_no_overfitting() -> None:
    epochs = [{"train_loss": 0.5, "val_loss": 0.5 + step / 10} for step in range(6)]

    assert told_of(alerts.overfitting(epochs=2), epochs) == []


def test_epochs_without_validation_do_not_count_for_overfitting() -> None:
    """Validation every second epoch: the epochs between neither add to the streak nor break it."""
    epochs: list[dict[str, float]] = [
        {"train_loss": 1.0, "val_loss": 0.5},
        {"train_loss": 0.9},
        {"train_loss": 0.8, "val_loss": 0.6},
        {"train_loss": 0.7},
        {"train_loss": 0.6, "val_loss": 0.7},
    ]

    assert [(epoch, what) for epoch, what, _ in told_of(alerts.overfitting(epochs=2), epochs)] == [(4, "raised")]


def test_a_target_is_reached_once_for_good() -> None:
    told = told_of(alerts.target("acc", 0.9), course("acc", [0.8, 0.9, 0.7, 0.95]))

    assert told == [(1, "raised", Reached("acc", 0.9, 0.9))]
    assert told_of(alerts.target("loss", 0.1), course("loss", [0.2, 0.05])) == [
        (1, "raised", Reached("loss", 0.05, 0.1))
    ]


# ── What is a mistake ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (alerts.non_finite(), r"takes a list of rules, such as \[alerts.non_finite\(\)\]"),
        ("non_finite", "takes a list of rules"),
        (None, "takes a list of rules"),
        (["nan"], r"a rule such as alerts.non_finite\(\), or a function of yours, not 'nan'"),
        ([alerts.plateau], r"alerts.plateau is to be called: alerts.plateau\(…\)"),
        ([Alert], "or a function of yours"),
    ],
)
def test_what_is_no_list_of_rules_is_refused(given: object, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        alerts.rules_of(given)


def test_rules_are_values() -> None:
    """They can be compared, used for several runs at once, and added to what is on by default."""
    rules = [*alerts.DEFAULT, alerts.plateau("loss")]

    assert alerts.rules_of(rules) == (alerts.non_finite(), alerts.plateau("loss", patience=10))
    assert incidents(rules[0]).see(Reading({"loss": INF})) == incidents(rules[0]).see(Reading({"loss": INF}))


# ── Whatever is logged ───────────────────────────────────────────────────────────────────────────────────────────────


@given(RULES, EPOCHS)
def test_only_the_rule_for_it_minds_what_is_not_finite(rule: AlertRule, epochs: list[dict[str, float]]) -> None:
    """NaN and infinity, anywhere, are as good as not logged to all the others."""
    finite = [{name: value for name, value in values.items() if math.isfinite(value)} for values in epochs]

    if rule != alerts.non_finite():
        assert told_of(rule, epochs) == told_of(rule, finite)


@given(EPOCHS)
def test_nobody_believes_all_is_well_while_a_metric_is_no_number(epochs: list[dict[str, float]]) -> None:
    """After each epoch every metric whose latest value is not finite is told, and not told as over."""
    open_now: set[str] = set()
    latest: dict[str, float] = {}
    open_ones = incidents(alerts.non_finite())
    for values in epochs:
        news = open_ones.see(Reading(values))
        open_now |= {each.metric for each in news.raised if isinstance(each, Finite)}
        open_now -= {each.metric for each in news.cleared if isinstance(each, Finite)}
        latest |= values

        assert open_now >= {name for name, value in latest.items() if not math.isfinite(value)}


@given(EPOCHS, st.dictionaries(st.text(min_size=1), NUMBERS, max_size=3), RULES)
def test_other_metrics_change_nothing(
    epochs: list[dict[str, float]], others: dict[str, float], rule: AlertRule
) -> None:
    """What nobody asked about is not looked at; asked about everything, a rule still tells the same of the rest."""
    strange = {f"other {name}": value for name, value in others.items()}

    alone = told_of(rule, epochs)
    beside = told_of(rule, [values | strange for values in epochs])

    rest = [one for one in beside if not str(getattr(one[2], "metric", "")).startswith("other ")]
    assert repr(rest) == repr(alone)  # NaN equals nothing: from Python 3.13 on, a dataclass that holds it neither
