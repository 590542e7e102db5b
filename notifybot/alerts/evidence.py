"""What an alert rests on: the numbers that a person needs to judge it, without a word of any language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from notifybot.types import Severity


@dataclass(frozen=True, slots=True)
class Alert:
    """What a rule of your own says: a title of one line, a few lines of text, and how much a person should care."""

    title: str
    text: str = ""
    severity: Severity | str = Severity.WARNING


@dataclass(frozen=True, slots=True)
class Finite:
    """A metric's value, finite or not, and the last finite one before it."""

    metric: str
    value: float
    before: float | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """A metric beside the limit that it should stay above or below. `crossed` is the forbidden side."""

    metric: str
    value: float
    limit: float
    crossed: Literal["above", "below"]


@dataclass(frozen=True, slots=True)
class EpochPace:
    """A metric beside its best before it, which stands for `waited` epochs."""

    metric: str
    value: float
    best: float
    waited: int
    min_delta: float = 0.0


@dataclass(frozen=True, slots=True)
class Distance:
    """A metric beside its best, and the value beyond which it is too far from that."""

    metric: str
    value: float
    best: float
    limit: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Two metrics, from where they parted to now: one got better and the other worse, `epochs` epochs in a row."""

    train: str
    val: str
    epochs: int
    train_course: tuple[float, float]
    val_course: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Reached:
    """A metric that is as good as was hoped for."""

    metric: str
    value: float
    target: float


@dataclass(frozen=True, slots=True)
class Duration:
    """How long an epoch took beside the median of those before it, in seconds."""

    epoch_s: float
    median_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """What is free on the disk that holds `path`, beside the least that should be."""

    path: str
    free_bytes: int
    total_bytes: int
    least_bytes: int


@dataclass(frozen=True, slots=True)
class GpuUse:
    """How busy the busiest GPU of the run was over `over_s` seconds, in percent of the time."""

    gpu: str
    busy_percent: float
    limit_percent: float
    over_s: float


@dataclass(frozen=True, slots=True)
class GpuRoom:
    """How much of a GPU's memory is in use, by whomever."""

    gpu: str
    used_bytes: int
    total_bytes: int
    limit_percent: float


Evidence = Alert | Finite | Limit | EpochPace | Distance | Gap | Reached | Duration | DiskRoom | GpuUse | GpuRoom
