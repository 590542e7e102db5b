"""The name of a metric, as rules take it, and the direction in which it is good."""

from __future__ import annotations

import pytest

from notifybot import alerts
from notifybot.alerts import AlertRule
from notifybot.alerts.base import Aim, aim_of, named
from notifybot.errors import UsageError
from notifybot.metric_names import Direction
from tests.support.alert_courses import course, incidents, told_of


def test_a_name_may_say_which_way_it_is_good() -> None:
    told = told_of(alerts.plateau("reward:max", patience=1), course("reward", [1.0, 2.0, 1.5]))

    assert [(epoch, what) for epoch, what, _ in told] == [(2, "raised")]


@pytest.mark.parametrize(
    "rule",
    [
        alerts.plateau("reward"),
        alerts.divergence("reward"),
        alerts.target("reward", 1),
        alerts.overfitting("loss", "reward"),
    ],
)
def test_a_metric_of_unknown_direction_is_refused_with_the_remedy(rule: AlertRule) -> None:
    with pytest.raises(UsageError, match="write 'reward:min' or 'reward:max'"):
        incidents(rule)


@pytest.mark.parametrize(
    ("metric", "aim"),
    [
        ("reward:max", Aim("reward", Direction.MAX)),
        ("val:loss:min", Aim("val:loss", Direction.MIN)),
        ("val_loss", Aim("val_loss")),
        ("loss:mean", Aim("loss:mean")),
        (":max", Aim(":max")),
    ],
)
def test_only_a_direction_is_taken_off_a_name(metric: str, aim: Aim) -> None:
    assert aim_of(metric) == aim


@pytest.mark.parametrize("metric", ["", " ", None, 5])
def test_what_is_no_name_of_a_metric_is_refused(metric: object) -> None:
    with pytest.raises(UsageError, match="takes the name of a metric"):
        named(metric)
    with pytest.raises(UsageError, match="takes the name of a metric"):
        alerts.threshold(metric, above=1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="takes the name of a metric"):
        alerts.plateau(metric)  # type: ignore[arg-type]
