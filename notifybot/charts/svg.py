"""Learning curves as inline SVG: numbers in, markup out. Colours come from the page, by class name."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from notifybot.charts.series import MOST_SERIES, Point, Series, base_of, thin

WIDTH, HEIGHT = 360, 200
_DIGIT = 6.4  # widest figure at the axis' size; a label grows to the left, and must not leave the picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 12, 24
_MOST_POINTS = 240  # more than the picture has room for
_LARGEST, _SMALLEST = sys.float_info.max, 1e-300


@dataclass(frozen=True, slots=True)
class Chart:
    """Series that belong in one picture, such as train_loss and val_loss under "loss"."""

    title: str
    series: tuple[Series, ...]

    @property
    def svg(self) -> str:
        """Return the picture, safe to put into a page unescaped."""
        return curve_svg(self.series, title=self.title)


def charts_of(histories: Mapping[str, Sequence[Point]]) -> list[Chart]:
    """Put each metric's history into a chart, together with the same metric of other data splits."""
    groups: dict[str, list[Series]] = {}
    for name, points in histories.items():
        groups.setdefault(base_of(name), []).append(Series(name, tuple(points)))
    return [_chart(base, each) for base, series in groups.items() for each in _rows_of(series)]


def curve_svg(series: Sequence[Series], *, title: str, number: str = "{:.4g}") -> str:
    """Draw up to four series over their epochs as one `<svg>` without scripts, styles or outside references.

    A value that is no finite number leaves a gap in the line and a cross at the bottom. Class names: `grid`, `axis`,
    `s0` to `s3`, `lost`.
    """
    drawn = [Series(each.name, thin(each.points, _MOST_POINTS)) for each in series[:MOST_SERIES]]
    finite = [point for each in drawn for point in each.points if math.isfinite(point[1])]
    frame = _Frame.around(finite, [x for each in drawn for x, _ in each.points], number)
    parts = [_grid(frame, number)]
    for at, each in enumerate(drawn):
        parts.append(_line(frame, each, f"s{at}", number))
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
    def around(cls, points: Sequence[Point], epochs: Sequence[float], number: str) -> _Frame:
        ys = [y for _, y in points] or [0.0, 1.0]
        ticks = ticks_between(min(ys), max(ys))
        left = max(_LEFT, 8 + _DIGIT * max(len(_say(tick, number)) for tick in ticks))
        return cls(min(epochs, default=0.0), max(epochs, default=1.0), ticks, round(left, 1))

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


def _grid(frame: _Frame, number: str) -> str:
    parts, x = [], round(frame.left - 6, 1)
    for tick in frame.ticks:
        y = frame.y(tick)
        parts.append(f'<line class="grid" x1="{frame.left}" y1="{y}" x2="{WIDTH - _RIGHT}" y2="{y}"/>')
        parts.append(f'<text class="axis" x="{x}" y="{y + 3.5}" text-anchor="end">{_say(tick, number)}</text>')
    for epoch, anchor in _epoch_marks(frame):
        parts.append(
            f'<text class="axis" x="{frame.x(epoch)}" y="{HEIGHT - 7}" text-anchor="{anchor}">{epoch:g}</text>'
        )
    return "".join(parts)


def _epoch_marks(frame: _Frame) -> list[tuple[float, str]]:
    if frame.x0 == frame.x1:
        return [(frame.x0, "middle")]
    middle = round((frame.x0 + frame.x1) / 2)
    inner = [(float(middle), "middle")] if frame.x1 - frame.x0 >= 4 else []
    return [(frame.x0, "start"), *inner, (frame.x1, "end")]


def _line(frame: _Frame, series: Series, css: str, number: str) -> str:
    parts, path, pen = [], [], "M"
    for epoch, value in series.points:
        if math.isfinite(value):
            path.append(f"{pen}{frame.x(epoch)} {frame.y(value)}")
            pen = "L"
        else:
            parts.append(_cross(frame.x(epoch), epoch, series.name, value))
            pen = "M"
    last = next(((x, y) for x, y in reversed(series.points) if math.isfinite(y)), None)
    if last is not None:
        told = escape(f"{series.name} {_say(last[1], number)} ({last[0]:g})")
        x, y = frame.x(last[0]), frame.y(last[1])
        parts.append(f'<path class="{css}" fill="none" d="{"".join(path)}"/>')
        parts.append(f'<circle class="{css}" cx="{x}" cy="{y}" r="3"><title>{told}</title></circle>')
    return "".join(parts)


def _cross(x: float, epoch: float, name: str, value: float) -> str:
    y = HEIGHT - _BOTTOM - 4
    told = escape(f"{name} {value} ({epoch:g})")
    return f'<path class="lost" d="M{x - 3} {y - 3}l6 6m0 -6l-6 6"><title>{told}</title></path>'


def _say(value: float, number: str) -> str:
    return number.format(value).replace("-", "−").replace("e−0", "e−").replace("e+0", "e")


def _rows_of(series: list[Series]) -> Iterable[list[Series]]:
    return (series[at : at + MOST_SERIES] for at in range(0, len(series), MOST_SERIES))


def _chart(base: str, series: list[Series]) -> Chart:
    return Chart(series[0].name if len(series) == 1 else base, tuple(series))
