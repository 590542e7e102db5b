"""Incidents: a condition is reported when it begins and once more when it is over, never twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from notifybot.alerts.base import NOTHING, DirectionOf, Judge, Reading, Rule, Verdict, Verdicts
from notifybot.alerts.evidence import Alert, Evidence
from notifybot.alerts.rules import Divergence, Plateau, Target, Threshold
from notifybot.errors import reader_text
from notifybot.metric_names import Direction
from notifybot.types import Metric, Progress

Custom = Callable[[Progress], Alert | None]
"""A rule of your own, called at the end of each epoch. Its alert is reported once, until it returns None again."""

_LONGEST_FILL = 1024  # epochs
_LONGEST_CALM = 64  # readings


class Transition(NamedTuple):
    """Evidence to report now: of incidents that began, and of those that are over."""

    raised: tuple[Evidence, ...] = ()
    cleared: tuple[Evidence, ...] = ()


class Incidents:
    """Open incidents of one rule. Each time one comes back, it must be over for twice as long before it counts as over.

    So a metric that swings about its limit for a thousand epochs is reported a few times, not a thousand.
    """

    def __init__(self, judge: Judge, directions: Mapping[str, Direction] | None = None) -> None:
        self._judge = judge
        self._directions = directions or {}  # the direction in which the rule reads each of its metrics
        self._calm: dict[str, int] = {}  # open subjects, with the number of good readings in a row
        self._reported: dict[str, int] = {}  # how often, by subject

    def see(self, now: Reading) -> Transition:
        """Take a reading; return the incidents that begin or are over with it."""
        raised: list[Evidence] = []
        cleared: list[Evidence] = []
        for subject, verdict in self._judge(now).items():
            if verdict.holds:
                if subject not in self._calm:
                    self._reported[subject] = self._reported.get(subject, 0) + 1
                    raised.append(verdict.evidence)
                self._calm[subject] = 0
            elif subject in self._calm:
                self._calm[subject] += 1
                if self._calm[subject] >= min(2 ** (self._reported[subject] - 1), _LONGEST_CALM):
                    del self._calm[subject]
                    cleared.append(verdict.evidence)
        return Transition(tuple(raised), tuple(cleared)) if raised or cleared else NO_NEWS

    def take_up(self, progress: Progress) -> None:
        """Replay the epochs that `progress` remembers: their incidents were reported by an earlier session."""
        for reading in _remembered(progress, self._directions):
            self.see(reading)


NO_NEWS = Transition()


def incidents_of(rule: Rule | Custom, direction_of: DirectionOf) -> Incidents:
    """Return the incidents of a rule, none open yet. Raises UsageError if a metric's direction is unknown."""
    if not isinstance(rule, Rule):
        return Incidents(_custom_judge(rule))
    directions: dict[str, Direction] = {}
    match rule:
        case Threshold():
            directions[rule.metric] = Direction.MAX if rule.crossed == "above" else Direction.MIN
        case Plateau() | Divergence() | Target():
            directions[rule.aim.name] = rule.aim.direction_by(direction_of)
    return Incidents(rule.judge(direction_of), directions)


def _custom_judge(rule: Custom) -> Judge:
    """Make a judge of the user's own rule. The judge raises TypeError for an answer that is no Alert."""

    def judged(now: Reading) -> Verdicts:
        if now.progress is None:
            return NOTHING
        alert = rule(now.progress)
        if not isinstance(alert, Alert | None):
            raise TypeError(reader_text("alerts.incidents.rule_returned_something_else", name=type(alert).__name__))
        return {"": Verdict(alert is not None, alert or Alert(""))}

    return judged


def _remembered(progress: Progress, directions: Mapping[str, Direction]) -> list[Reading]:
    """The epochs that a run's progress remembers, oldest first.

    Up to 32 values of each metric, and for those in `directions` an older best, each at its own epoch.
    """
    columns = {name: _column(metric, progress, directions.get(name)) for name, metric in progress.metrics.items()}
    falling = any(list(column) != sorted(column) for column in columns.values())
    epochs = sorted({epoch for column in columns.values() for epoch in column}, reverse=falling)
    readings = [
        Reading({name: column[epoch] for name, column in columns.items() if epoch in column}) for epoch in epochs
    ]
    return [*readings, Reading(progress=progress)] if readings else []


def _column(metric: Metric, progress: Progress, direction: Direction | None) -> dict[int, float]:
    """A metric's history by epoch. A best older than that comes first, repeated for the forgotten epochs since."""
    column = dict(metric.points(progress))
    best = metric.lowest if direction is Direction.MIN else metric.highest
    if best is None and metric.best is not None and metric.best_epoch is not None:
        best = metric.best_epoch, metric.best
    if direction is None or best is None or best[0] in column or not column:
        return column
    epochs = list(column)
    stride = epochs[1] - epochs[0] if len(epochs) > 1 else 1
    forgotten = range(best[0], epochs[0], stride)[:_LONGEST_FILL] or (best[0],)
    return dict.fromkeys(forgotten, best[1]) | column
