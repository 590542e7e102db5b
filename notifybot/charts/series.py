"""The histories that are drawn, cut down to what a picture has room for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from statistics import median

Point = tuple[float, float]

MOST_SERIES = 4  # lines in one chart: as many as there are colours that everybody can tell apart
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "eval", "dev"})


@dataclass(frozen=True, slots=True)
class Curve:
    """One metric over the epochs: (epoch, value) in order. A value may be NaN or infinite.

    `best` is its best point, where it is known which way is better.
    """

    name: str
    points: tuple[Point, ...]
    best: Point | None = None

    @property
    def values(self) -> list[float]:
        """The values that can be drawn."""
        return [value for _, value in self.points if drawable(value)]


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
        ends = {min(finite, key=itemgetter(1)), max(finite, key=itemgetter(1))} if finite else set()
        kept += sorted(ends | set(strange[:1]))
    return (*kept, points[-1]) if kept[-1] != points[-1] else tuple(kept)


def base_of(name: str) -> str:
    """The metric without its data split: "train_loss", "val/loss" and "loss" are all "loss"."""
    kept = [part for part in re.split(r"[_/.\- ]+", name) if part and part.lower() not in _SPLITS]
    return "_".join(kept) or name


def figure(value: float) -> str:
    """A value as the pictures show it, in four digits."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    shown = "NaN" if math.isnan(value) else f"{value:.4g}"
    return shown.replace("-", "−").replace("e−0", "e−").replace("e+0", "e")


def place(value: float, unit: str = "epoch") -> str:
    """A place on the horizontal axis: epochs as they are, steps and the like with their thousands apart."""
    apart = 10_000 if unit == "epoch" else 1_000
    return f"{value:,.0f}" if abs(value) >= apart and value == round(value) else f"{value:g}"


LARGEST = 1e100  # beyond it a value is as good as infinite: the axis could show nothing else
_FAR = 30.0  # times: two curves so far apart would flatten each other
_SCORE = re.compile(r"acc|f1|auc|auroc|precision|recall|iou|dice|bleu|rouge|top.?\d|map(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Panel:
    """Up to four curves on one axis."""

    curves: tuple[Curve, ...]

    @property
    def values(self) -> list[float]:
        """All values that can be drawn."""
        return [value for curve in self.curves for value in curve.values]

    @property
    def logarithmic(self) -> bool:
        """True when the values span so much that a linear axis would show its top alone."""
        values = self.values
        return bool(values) and min(values) > 0 and max(values) / min(values) >= 100


def drawable(value: float) -> bool:
    """True for a number that has a place on an axis."""
    return abs(value) < LARGEST  # false for NaN


def panels_of(curves: Sequence[Curve], *, focus: str | None, most: int) -> tuple[tuple[Panel, ...], int]:
    """Put the curves into at most so many panels; return them and how many curves found no room.

    The panel with the metric named `focus` is always there; then losses, scores and the others have precedence.
    """
    families: dict[tuple[int, str], list[list[Curve]]] = {}
    first = [each for each in curves if each.name == focus]
    for curve in (*first, *(each for each in curves if each.name != focus)):
        panels = families.setdefault(_family(curve), [])
        for panel in panels:
            if len(panel) < MOST_SERIES and _near(panel[0], curve):
                panel.append(curve)
                break
        else:
            panels.append([curve])
    ranked = sorted(  # each family's first panel before any second one
        (focus not in [curve.name for curve in panel], at, family, panel)
        for family, panels in families.items()
        for at, panel in enumerate(panels)
    )
    chosen = sorted((family, at, panel) for _, at, family, panel in ranked[:most])
    shown = tuple(Panel(tuple(each for each in curves if each in panel)) for _, _, panel in chosen)
    return shown, len(curves) - sum(len(panel.curves) for panel in shown)


def _family(curve: Curve) -> tuple[int, str]:
    if "loss" in curve.name.lower():
        return 0, "loss"
    if _SCORE.search(curve.name):
        return 1, "fraction" if max(map(abs, curve.values), default=0.0) <= 1.5 else "percent"
    return 2, base_of(curve.name)


def _near(one: Curve, other: Curve) -> bool:
    """True where one axis fits both."""
    sizes = [median(map(abs, values)) if values else 0.0 for values in (one.values, other.values)]
    return not all(sizes) or max(sizes) / min(sizes) <= _FAR


def gaps_of(curve: Curve) -> list[float]:
    """The epochs whose value has no place on an axis."""
    return [epoch for epoch, value in curve.points if not drawable(value)]


def pieces_of(curve: Curve) -> list[tuple[Point, ...]]:
    """The stretches of a curve between its gaps."""
    pieces: list[list[Point]] = [[]]
    for epoch, value in curve.points:
        if drawable(value):
            pieces[-1].append((epoch, value))
        elif pieces[-1]:
            pieces.append([])
    return [tuple(piece) for piece in pieces if piece]
