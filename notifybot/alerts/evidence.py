"""Evidence of an alert: the numbers that a person needs to judge it, in no language."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from notifybot.types import Severity


@dataclass(frozen=True, slots=True)
class Alert:
    """Alert of a rule of your own: a title of one line, a few lines of text, and the severity."""

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
    """A metric's value and the limit that it should stay above or below. `crossed` is the forbidden side."""

    metric: str
    value: float
    limit: float
    crossed: Literal["above", "below"]


@dataclass(frozen=True, slots=True)
class EpochPace:
    """A metric's value and its best before, which is `waited` epochs old."""

    metric: str
    value: float
    best: float
    waited: int
    min_delta: float = 0.0


@dataclass(frozen=True, slots=True)
class Distance:
    """A metric's value and its best, with the limit of the distance between them."""

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
    """A metric that has reached its target."""

    metric: str
    value: float
    target: float


@dataclass(frozen=True, slots=True)
class Duration:
    """Duration of an epoch and the median of those before it, in seconds."""

    epoch_s: float
    median_s: float
    factor: float


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """Free space on the disk that holds `path`, and the least that should be free."""

    path: str
    free_bytes: int
    total_bytes: int
    least_bytes: int


@dataclass(frozen=True, slots=True)
class GpuUse:
    """Utilisation of the run's busiest GPU over `over_s` seconds, in percent of the time."""

    gpu: str
    busy_percent: float
    limit_percent: float
    over_s: float


@dataclass(frozen=True, slots=True)
class GpuRoom:
    """Memory of a GPU in use by any process, and the limit."""

    gpu: str
    used_bytes: int
    total_bytes: int
    limit_percent: float


Evidence = Alert | Finite | Limit | EpochPace | Distance | Gap | Reached | Duration | DiskRoom | GpuUse | GpuRoom
