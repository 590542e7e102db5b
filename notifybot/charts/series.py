"""The histories that are drawn, cut down to what a picture has room for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]

MOST_SERIES = 4  # lines in one chart: as many as there are colours that everybody can tell apart
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "eval", "dev"})


@dataclass(frozen=True, slots=True)
class Series:
    """One metric over the epochs: (epoch, value) in order. A value may be NaN or infinite."""

    name: str
    points: tuple[Point, ...]


def thin(points: Sequence[Point], most: int) -> tuple[Point, ...]:
    """Keep about `most` points: the lowest and the highest of each stretch, so that no spike is lost, and its NaN."""
    if len(points) <= most:
        return tuple(points)
    stretch = math.ceil(len(points) / (most // 2))
    kept: list[Point] = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        strange = [point for point in part if not math.isfinite(point[1])]
        finite = [point for point in part if math.isfinite(point[1])]
        ends = {min(finite, key=_value), max(finite, key=_value)} if finite else set()
        kept += sorted(ends | set(strange[:1]))
    return (*kept, points[-1]) if kept[-1] != points[-1] else tuple(kept)


def base_of(name: str) -> str:
    """The metric without its data split: "train_loss", "val/loss" and "loss" are all "loss"."""
    kept = [word for word in words_of(name) if word.lower() not in _SPLITS]
    return "_".join(kept) or name


def words_of(name: str) -> list[str]:
    """The parts of a metric's name."""
    return [word for word in re.split(r"[_/.\- ]+", name) if word]


def _value(point: Point) -> float:
    return point[1]
