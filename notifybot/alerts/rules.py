"""Rules about metrics. A value that is missing or not finite tells nothing, except to the rule that looks for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from notifybot.alerts.base import NOTHING, Aim, Judge, Mode, ModeOf, Reading, Verdict, Verdicts, gain
from notifybot.alerts.evidence import Distance, Finite, Gap, Limit, Pace, Reached


@dataclass(frozen=True, slots=True)
class NonFinite:
    """Looks for NaN and infinity in the named metrics; in all of them where none is named."""

    metrics: tuple[str, ...] = ()

    def judge(self, mode_of: ModeOf) -> Judge:
        before: dict[str, float] = {}

        def judged(now: Reading) -> Verdicts:
            verdicts = {}
            for name, value in now.values.items():
                if self.metrics and name not in self.metrics:
                    continue
                known = math.isfinite(value)
                verdicts[name] = Verdict(not known, Finite(name, value, before.get(name)))
                if known:
                    before[name] = value
            return verdicts

        return judged


@dataclass(frozen=True, slots=True)
class Threshold:
    """Looks for a metric above or below a limit."""

    metric: str
    limit: float
    crossed: Literal["above", "below"]

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def judge(self, mode_of: ModeOf) -> Judge:
        def judged(now: Reading) -> Verdicts:
            value = _known(now.values, self.metric)
            if value is None:
                return NOTHING
            holds = value > self.limit if self.crossed == "above" else value < self.limit
            return {self.metric: Verdict(holds, Limit(self.metric, value, self.limit, self.crossed))}

        return judged


@dataclass(frozen=True, slots=True)
class Plateau:
    """Looks for a metric that has not become better by more than `min_delta` for `patience` epochs."""

    aim: Aim
    patience: int
    min_delta: float = 0.0

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.aim.name,)

    def judge(self, mode_of: ModeOf) -> Judge:
        name, mode = self.aim.name, self.aim.mode_by(mode_of)
        best: float | None = None
        waited = 0

        def judged(now: Reading) -> Verdicts:
            nonlocal best, waited
            value = _known(now.values, name)
            if value is None:
                return NOTHING
            if best is None or gain(value, best, mode) > self.min_delta:
                evidence = Pace(name, value, value if best is None else best, waited, self.min_delta)
                best, waited = value, 0
                return {name: Verdict(False, evidence)}
            waited += 1
            if waited < self.patience:
                return NOTHING  # a plateau that is open stays so until there is a new best
            return {name: Verdict(True, Pace(name, value, best, waited, self.min_delta))}

        return judged


@dataclass(frozen=True, slots=True)
class Divergence:
    """Looks for a metric that is `ratio` times worse than its best, or worse by more than `by`.

    A ratio says nothing about a best that is not positive.
    """

    aim: Aim
    ratio: float | None = None
    by: float | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.aim.name,)

    def judge(self, mode_of: ModeOf) -> Judge:
        name, mode = self.aim.name, self.aim.mode_by(mode_of)
        best: float | None = None

        def judged(now: Reading) -> Verdicts:
            nonlocal best
            value = _known(now.values, name)
            if value is None:
                return NOTHING
            if best is None or gain(value, best, mode) > 0:
                best = value
            limit = self._limit(best, mode)
            if limit is None:
                return NOTHING
            return {name: Verdict(gain(value, limit, mode) < 0, Distance(name, value, best, limit))}

        return judged

    def _limit(self, best: float, mode: Mode) -> float | None:
        if self.by is not None:
            return best + self.by if mode == "min" else best - self.by
        if self.ratio is None or best <= 0:
            return None
        return best * self.ratio if mode == "min" else best / self.ratio


@dataclass(frozen=True, slots=True)
class Overfitting:
    """Looks for `epochs` epochs in a row in which the one metric became better and the other one worse.

    It is over when the second is better than it was at its turn. Epochs without both of them do not count.
    """

    train: Aim
    val: Aim
    epochs: int

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.train.name, self.val.name)

    def judge(self, mode_of: ModeOf) -> Judge:
        train_mode, val_mode = self.train.mode_by(mode_of), self.val.mode_by(mode_of)
        before: tuple[float, float] | None = None
        turn: tuple[float, float] | None = None  # where the two began to part
        told: tuple[float, float] | None = None  # the turn of the gap that is open
        parted = 0

        def judged(now: Reading) -> Verdicts:
            nonlocal before, turn, told, parted
            train, val = _known(now.values, self.train.name), _known(now.values, self.val.name)
            if train is None or val is None:
                return NOTHING
            apart = before is not None and gain(train, before[0], train_mode) > 0 > gain(val, before[1], val_mode)
            if not apart:
                turn, parted = (train, val), 0
            parted += apart
            before = (train, val)
            if turn is not None and parted >= self.epochs and told is None:
                told = turn
            if told is None:
                return NOTHING
            evidence = Gap(self.train.name, self.val.name, parted, (told[0], train), (told[1], val))
            over = gain(val, told[1], val_mode) > 0
            told = None if over else told
            return {self.val.name: Verdict(not over, evidence)}

        return judged


@dataclass(frozen=True, slots=True)
class Target:
    """Looks for a metric that is as good as `value`, or better. That stays true."""

    aim: Aim
    value: float

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.aim.name,)

    def judge(self, mode_of: ModeOf) -> Judge:
        name, mode = self.aim.name, self.aim.mode_by(mode_of)

        def judged(now: Reading) -> Verdicts:
            value = _known(now.values, name)
            if value is None or gain(value, self.value, mode) < 0:
                return NOTHING
            return {name: Verdict(True, Reached(name, value, self.value))}

        return judged


def _known(values: Mapping[str, float], name: str) -> float | None:
    value = values.get(name)
    return value if value is not None and math.isfinite(value) else None
