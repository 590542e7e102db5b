"""What a rule is: it reads an epoch or a look at the machine, and says whether something holds, with the evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from notifybot.alerts.evidence import Evidence
from notifybot.errors import UsageError, reader_text
from notifybot.types import Progress


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that holds `path`. `device` tells two of them apart; `ours` is False where a rule names it."""

    path: str
    device: int
    free_bytes: int
    total_bytes: int
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Gpu:
    """An accelerator. `busy_percent` is None where its driver does not tell."""

    index: int
    name: str
    busy_percent: float | None
    used_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What was seen at `at_s`, in seconds of a clock that never jumps."""

    at_s: float
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()


Mode = Literal["min", "max"]
ModeOf = Callable[[str], Mode | None]
"""Tells from a metric's name which way it is good; None where the name does not say."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule is shown. `values` are the means of one epoch, or of what was logged of it so far."""

    values: Mapping[str, float] = field(default_factory=dict)
    epoch_s: float | None = None
    progress: Progress | None = None
    machine: Machine | None = None


class Verdict(NamedTuple):
    """Whether what a rule looks for holds now, and what that is read from."""

    holds: bool
    evidence: Evidence


Verdicts = Mapping[str, Verdict]
"""A verdict for each subject (a metric, a disk, a GPU). What is not named is not known now, and stays as it was."""

Judge = Callable[[Reading], Verdicts]


@runtime_checkable
class Rule(Protocol):
    """What to look for. `judge` begins anew: what it returns remembers what it is shown, in order.

    `metrics` are the names it waits for. `judge` raises UsageError where nothing tells which way a metric is good.
    """

    @property
    def metrics(self) -> tuple[str, ...]: ...

    def judge(self, mode_of: ModeOf) -> Judge: ...


NOTHING: Verdicts = {}


@dataclass(frozen=True, slots=True)
class Aim:
    """A metric, and which way it is good where the user said so, as in "reward:max"."""

    name: str
    mode: Mode | None = None

    def mode_by(self, mode_of: ModeOf) -> Mode:
        """The user's word, else what the name tells. Raises UsageError when neither does."""
        mode = self.mode or mode_of(self.name)
        if mode is None:
            less, more = repr(self.name + ":min"), repr(self.name + ":max")
            raise UsageError(
                reader_text("alerts.base.metric_without_direction", name=f"{self.name!r}", less=less, more=more)
            )
        return mode


def aim_of(metric: object) -> Aim:
    """Read "val_loss" or "reward:max". Raises UsageError."""
    text = named(metric)
    name, _, word = text.rpartition(":")
    if word == "min" and name:
        return Aim(name, "min")
    return Aim(name, "max") if word == "max" and name else Aim(text)


def named(metric: object) -> str:
    """A metric's name as it was given. Raises UsageError."""
    if not isinstance(metric, str) or not metric.strip():
        raise UsageError(reader_text("alerts.base.no_metric_name", metric=f"{metric!r:.80}"))
    return metric


def gain(value: float, best: float, mode: Mode) -> float:
    """By how much `value` is better than `best`; negative where it is worse."""
    return best - value if mode == "min" else value - best
