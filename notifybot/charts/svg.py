"""Learning curves as inline SVG: numbers in, markup out. Colours come from the page, by class name."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from notifybot.charts.series import MOST_SERIES, Curve, Point, base_of, figure, place, thin

WIDTH, HEIGHT = 360, 200
_DIGIT = 6.4  # widest figure at the axis' size; a label grows to the left, and must not leave the picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 24
_MOST_POINTS = 240  # more than the picture has room for
_LARGEST, _SMALLEST = sys.float_info.max, 1e-300


@dataclass(frozen=True, slots=True)
class Chart:
    """Curves that belong in one picture, such as train_loss and val_loss under "loss"."""

    title: str
    curves: tuple[Curve, ...]

    @property
    def svg(self) -> str:
        """Return the picture, safe to put into a page unescaped."""
        return curve_svg(self.curves, title=self.title)


def charts_of(histories: Mapping[str, Sequence[Point]]) -> list[Chart]:
    """Put each metric's history into a chart, together with the same metric of other data splits."""
    groups: dict[str, list[Curve]] = {}
    for name, points in histories.items():
        groups.setdefault(base_of(name), []).append(Curve(name, tuple(points)))
    charts = []
    for base, curves in groups.items():
        for at in range(0, len(curves), MOST_SERIES):
            shown = tuple(curves[at : at + MOST_SERIES])
            charts.append(Chart(shown[0].name if len(shown) == 1 else base, shown))
    return charts


def curve_svg(curves: Sequence[Curve], *, title: str) -> str:
    """Draw up to four curves over their epochs as one `<svg>` without scripts, styles or outside references.

    A value that is no finite number leaves a gap in the line and a cross at the bottom. Class names: `grid`, `axis`,
    `s0` to `s3`, `lost`.
    """
    drawn = [Curve(each.name, thin(each.points, _MOST_POINTS)) for each in curves[:MOST_SERIES]]
    frame = _Frame.around([point for each in drawn for point in each.points])
    parts = [_grid(frame), *(_line(frame, each, f"s{at}") for at, each in enumerate(drawn))]
    label = escape(f"{title}: " + ", ".join(each.name for each in drawn))
    return (
        f'<svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(parts)}</svg>'
    )


@dataclass(frozen=True, slots=True)
class _Frame:
    """Mapping from epochs and values to places in the picture."""

    x0: float
    x1: float
    ticks: tuple[float, ...]
    left: float

    @classmethod
    def around(cls, points: Sequence[Point]) -> _Frame:
        xs = [x for x, _ in points] or [0.0, 1.0]
        ys = [y for _, y in points if math.isfinite(y)] or [0.0, 1.0]
        ticks = ticks_between(min(ys), max(ys))
        left = max(_LEFT, 8 + _DIGIT * max(len(figure(tick)) for tick in ticks))
        return cls(min(xs), max(xs), ticks, round(left, 1))

    def x(self, epoch: float) -> float:
        span = self.x1 - self.x0
        share = (epoch - self.x0) / span if span else 0.5
        return round(self.left + share * (WIDTH - self.left - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        share = (value / 2 - low / 2) / (high / 2 - low / 2)  # halved, as the full span may overflow a float
        return round(HEIGHT - _BOTTOM - min(max(share, 0.0), 1.0) * (HEIGHT - _TOP - _BOTTOM), 1)


def ticks_between(low: float, high: float) -> tuple[float, ...]:
    """A few round numbers, evenly spaced, the first not above `low` and the last not below `high`."""
    if high - low < _SMALLEST:
        margin = abs(low) * 0.1 or 1.0
        low, high = max(low - margin, -_LARGEST), min(high + margin, _LARGEST)
    if not math.isfinite(high - low):
        return (low, high)
    rough = (high - low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next((unit * times for times in (1, 2, 2.5, 5, 10) if unit * times >= rough), rough)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(at * step for at in range(first, last + 1)) if last - first <= 8 else (low, high)
    even = len(set(ticks)) == len(ticks) and math.isfinite(ticks[-1] - ticks[0])
    return ticks if even else (low, high)


def _grid(frame: _Frame) -> str:
    parts, x = [], round(frame.left - 6, 1)
    for tick in frame.ticks:
        y = frame.y(tick)
        parts.append(f'<line class="grid" x1="{frame.left}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}"/>')
        parts.append(f'<text class="axis" x="{x}" y="{y + 3.5}" text-anchor="end">{figure(tick)}</text>')
    marks = [(frame.x0, "start"), (frame.x1, "end")] if frame.x0 < frame.x1 else [(frame.x0, "middle")]
    if frame.x1 - frame.x0 >= 4:
        marks.insert(1, (float(round((frame.x0 + frame.x1) / 2)), "middle"))
    for epoch, anchor in marks:
        parts.append(
            f'<text class="axis" x="{frame.x(epoch)}" y="{HEIGHT - 7}" text-anchor="{anchor}">{place(epoch)}</text>'
        )
    return "".join(parts)


def _line(frame: _Frame, curve: Curve, css: str) -> str:
    parts, path, pen, cross_y = [], [], "M", HEIGHT - _BOTTOM - 7
    last: Point | None = None
    for epoch, value in curve.points:
        x = frame.x(epoch)
        if math.isfinite(value):
            path.append(f"{pen}{x} {frame.y(value)}")
            pen, last = "L", (epoch, value)
        else:
            label = escape(f"{curve.name} {value} ({place(epoch)})")
            parts.append(f'<path class="lost" d="M{x - 3} {cross_y}l6 6m0 -6l-6 6"><title>{label}</title></path>')
            pen = "M"
    if last is not None:
        label = escape(f"{curve.name} {figure(last[1])} ({place(last[0])})")
        x, y = frame.x(last[0]), frame.y(last[1])
        parts.append(f'<path class="{css}" fill="none" d="{"".join(path)}"/>')
        parts.append(f'<circle class="{css}" cx="{x}" cy="{y}" r="3"><title>{label}</title></circle>')
    return "".join(parts)
