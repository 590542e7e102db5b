"""Courses of metrics, any rules, and what is reported of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from notifybot import alerts
from notifybot.alerts import AlertRule
from notifybot.alerts.base import Reading
from notifybot.alerts.evidence import Evidence
from notifybot.alerts.incidents import Incidents, incidents_of
from notifybot.metric_names import direction_of

NAN, INF = math.nan, math.inf
DIRECTIONS = {name: direction_of(name) for name in ("loss", "train_loss", "val_loss", "acc", "val_acc")}


def incidents(rule: AlertRule) -> Incidents:
    return incidents_of(rule, DIRECTIONS.get)


def told_of(rule: AlertRule, epochs: Sequence[Mapping[str, float]]) -> list[tuple[int, str, Evidence]]:
    """What is told, and in which epoch."""
    open_ones = incidents(rule)
    told: list[tuple[int, str, Evidence]] = []
    for epoch, values in enumerate(epochs):
        news = open_ones.see(Reading(values))
        told += [(epoch, "raised", evidence) for evidence in news.raised]
        told += [(epoch, "cleared", evidence) for evidence in news.cleared]
    return told


def course(name: str, values: Sequence[float]) -> list[dict[str, float]]:
    return [{name: value} for value in values]


NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, 0.5, 1.0, 2.0, NAN, INF]))
EPOCHS = st.lists(
    st.dictionaries(st.sampled_from(["train_loss", "val_loss", "loss", "acc"]), NUMBERS, max_size=4), max_size=50
)
RULES = st.sampled_from(
    [
        alerts.non_finite(),
        alerts.threshold("loss", above=1),
        alerts.threshold("acc", below=0.5),
        alerts.plateau("loss", patience=2),
        alerts.plateau("acc", patience=3, min_delta=0.1),
        alerts.divergence("loss", ratio=1.5),
        alerts.divergence("acc", by=0.5),
        alerts.overfitting(epochs=1),
        alerts.overfitting("loss", "acc", epochs=2),
        alerts.target("acc", 1),
    ]
)
