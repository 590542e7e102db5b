"""Alert rule protocol: a rule reads an epoch or a look at the machine and returns verdicts with their evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

from notifybot.alerts.evidence import Evidence
from notifybot.errors import UsageError, reader_text
from notifybot.metric_names import Direction
from notifybot.types import Progress


@dataclass(frozen=True, slots=True)
class Disk:
    """File system that holds `path`. `device` identifies it; `ours` is False for a disk that a rule names."""

    path: str
    device: int
    free_bytes: int
    total_bytes: int
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Gpu:
    """An accelerator. `busy_percent` is None if its driver does not report it."""

    index: int
    name: str
    busy_percent: float | None
    used_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """State of the machine at `at_s`, in seconds of a clock that never jumps."""

    at_s: float
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()


DirectionOf = Callable[[str], Direction | None]
"""Returns the direction in which a metric is good, by its name; None if the name does not show it."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Input of a rule. `values` are the means of one epoch, or of the values logged in it so far."""

    values: Mapping[str, float] = field(default_factory=dict)
    epoch_s: float | None = None
    progress: Progress | None = None
    machine: Machine | None = None


class Verdict(NamedTuple):
    """Answer of a rule: whether its condition holds now, with the evidence."""

    holds: bool
    evidence: Evidence


Verdicts = Mapping[str, Verdict]
"""A verdict for each subject (a metric, a disk, a GPU). A subject without one stays as it was."""

Judge = Callable[[Reading], Verdicts]


@runtime_checkable
class Rule(Protocol):
    """Alert rule. `judge` returns a new function that takes the readings in order and remembers them.

    `metrics` are the names it needs. `judge` raises UsageError if the direction of a metric is unknown.
    """

    @property
    def metrics(self) -> tuple[str, ...]: ...

    def judge(self, direction_of: DirectionOf) -> Judge: ...


NOTHING: Verdicts = {}


@dataclass(frozen=True, slots=True)
class Aim:
    """Metric, with its direction if the user gave one, as in "reward:max"."""

    name: str
    direction: Direction | None = None

    def direction_by(self, direction_of: DirectionOf) -> Direction:
        """Return the user's direction, else the name's. Raises UsageError if neither is known."""
        direction = self.direction or direction_of(self.name)
        if direction is None:
            less, more = repr(self.name + ":min"), repr(self.name + ":max")
            raise UsageError(
                reader_text("alerts.base.metric_without_direction", name=f"{self.name!r}", less=less, more=more)
            )
        return direction


def aim_of(metric: object) -> Aim:
    """Read "val_loss" or "reward:max". Raises UsageError."""
    text = named(metric)
    name, _, word = text.rpartition(":")
    return Aim(name, Direction(word)) if name and word in ("min", "max") else Aim(text)


def named(metric: object) -> str:
    """Return a metric's name unchanged. Raises UsageError for anything else."""
    if not isinstance(metric, str) or not metric.strip():
        raise UsageError(reader_text("alerts.base.no_metric_name", metric=f"{metric!r:.80}"))
    return metric


def gain(value: float, best: float, direction: Direction) -> float:
    """Return by how much `value` is better than `best`; negative if it is worse."""
    return best - value if direction is Direction.MIN else value - best
