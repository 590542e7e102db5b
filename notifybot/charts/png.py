"""Learning curves as PNG, drawn with matplotlib: legible on a phone, and for the red-green colour-blind."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from notifybot.charts.fonts import Fonts, lettering
from notifybot.charts.series import Curve, Panel, drawable, figure, gaps_of, panels_of, pieces_of, place, thin
from notifybot.i18n import text
from notifybot.types import Language

DPI = 100  # resolution for the lengths below, before enlarging
ENLARGED_WIDE, ENLARGED_SQUARE = 1.15, 1.3  # Slack shows a picture in the width of a phone, KakaoTalk in a bubble
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#AA4499")  # Okabe and Ito's, the last one darker for a thin line
DASHES: tuple[Literal["-"] | tuple[float, tuple[float, ...]], ...] = (
    "-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (5, 1.4, 1.2, 1.4)),
)  # fmt: skip
INK, SOFT, FAINT, PAPER, LOST = "#1a1d21", "#5b626b", "#dfe3e8", "#ffffff", "#B00020"
TITLE, TEXT, SMALL = 30.0, 20.0, 17.0  # points; a phone shows the picture at about a third of its size
LEFT, RIGHT, EDGE, HEAD, LEGEND_ROW, BELOW, FOOT, BETWEEN = 128, 40, 40, 138, 38, 44, 34, 26  # pixels
SAMPLE = 42
_PLOTS = {1: 430, 2: 320, 3: 250}  # how high each of so many plots is
_LEAST_PLOT = 100
_HAIR = 1e-6  # inches, so that 1080 pixels are not rounded down to 1079
_MOST_POINTS = 600
_FEW_POINTS = 40
_TITLE_CHARS, _SUBTITLE_CHARS, _NAME_CHARS = 38, 66, 20


@dataclass(frozen=True, slots=True)
class Caption:
    """Text above the curves, in one language."""

    title: str
    subtitle: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """Contents of a picture. `resumed` are the epochs that a later session began with.

    Without a height it is as high as need be. Labels are in `language` where a font has its letters, else in English,
    so `captions` has both.
    """

    curves: tuple[Curve, ...]
    captions: Mapping[Language, Caption] = field(default_factory=dict)
    language: Language = Language.EN
    resumed: tuple[float, ...] = ()
    focus: str | None = None
    width_px: int = 1080
    height_px: int | None = None
    unit: str = "epoch"  # what the horizontal axis counts


def png(picture: Picture, fonts: Fonts | None = None) -> bytes:
    """Draw; the bytes of a PNG file. Empty where no curve has a point."""
    curves = tuple(each for each in picture.curves if each.points)
    panels, left_out = panels_of(curves, focus=picture.focus, most=3 if picture.height_px is None else 2)
    if not panels:
        return b""
    fonts = fonts or lettering()
    with mpl.rc_context({"font.family": list(fonts.families), "text.parse_math": False}):
        sheet = _Sheet(picture, fonts, panels)
        sheet.head()
        for panel in panels:
            sheet.panel(panel)
        sheet.foot(left_out)
        return sheet.png()


class _Sheet:
    """One picture while it is drawn. Lengths are pixels before all is enlarged, from the top left."""

    def __init__(self, picture: Picture, fonts: Fonts, panels: tuple[Panel, ...]) -> None:
        self._picture = picture
        self._fonts = fonts
        self._language = fonts.language(picture.language)
        self._times = ENLARGED_WIDE if picture.height_px is None else ENLARGED_SQUARE
        self._width, self._height = picture.width_px / self._times, 1.0
        self._figure = Figure(dpi=DPI * self._times, facecolor=PAPER)
        FigureCanvasAgg(self._figure)
        self._columns = {panel: self._columns_of(panel) for panel in panels}
        rows = sum(self._rows_of(panel) for panel in panels)
        around = HEAD + FOOT + LEGEND_ROW * rows + (BELOW + BETWEEN) * len(panels)
        room = (picture.height_px or 0) / self._times - around
        self._plot_px = _PLOTS[len(panels)] if picture.height_px is None else max(room / len(panels), _LEAST_PLOT)
        self._height = room + around if picture.height_px else around + self._plot_px * len(panels)
        self._figure.set_size_inches(self._width / DPI + _HAIR, self._height / DPI + _HAIR)
        self._top = float(HEAD)
        epochs = [epoch for panel in panels for curve in panel.curves for epoch, _ in curve.points]
        self._span = min(epochs), max(epochs)

    def png(self) -> bytes:
        """The finished picture."""
        file = io.BytesIO()
        self._figure.savefig(file, format="png", dpi=DPI * self._times)
        return file.getvalue()

    def head(self) -> None:
        """Write the run's name and its state."""
        caption = self._picture.captions.get(self._language) or Caption("")
        title_chars, subtitle_chars = (int(most / self._times) for most in (_TITLE_CHARS, _SUBTITLE_CHARS))
        title = self._fonts.readable(caption.title, title_chars) or text(self._language, "charts.run")
        self._text(EDGE, 58, title, TITLE, weight="bold")
        self._text(EDGE, 104, self._fonts.readable(caption.subtitle, subtitle_chars), TEXT, SOFT)

    def foot(self, left_out: int) -> None:
        """Write the horizontal axis' unit, and how many metrics are not shown."""
        y = self._height - 22
        unit = self._picture.unit
        axis = text(self._language, "charts.epoch" if unit == "epoch" else f"word.{unit}")
        self._text(self._width - RIGHT, y, axis, SMALL, SOFT, align="right")
        if left_out:
            more = text(self._language, "charts.more", count=left_out)
            self._text(EDGE, y, more, SMALL, SOFT)

    def panel(self, panel: Panel) -> None:
        """A legend and the plot below it."""
        first = self._top == HEAD
        self._legend(panel)
        self._top += LEGEND_ROW * self._rows_of(panel)
        axes = self._axes()
        _scale(axes, panel, self._span, self._picture.unit)
        for number, curve in enumerate(panel.curves):
            _draw(axes, replace(curve, points=thin(curve.points, _MOST_POINTS)), number)
        for epoch in self._picture.resumed:
            axes.axvline(epoch - 0.5, color=SOFT, linewidth=2, linestyle=(0, (2, 2)), zorder=1)
        if first and self._picture.resumed:
            self._mark_resumed(axes, self._picture.resumed[-1] - 0.5)
        self._top += self._plot_px + BELOW + BETWEEN

    def _mark_resumed(self, axes: Axes, x: float) -> None:
        """Label the dashed line, on an opaque background so that the word stays legible over a curve."""
        begin, end = self._span
        early = 3 * x < begin + 2 * end
        axes.annotate(
            text(self._language, "charts.resumed"), (x, 1.0),
            xycoords=("data", "axes fraction"), xytext=(8 if early else -8, -4),
            textcoords="offset points", ha="left" if early else "right", va="top", fontsize=SMALL - 2, color=SOFT,
            zorder=6, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 2, "alpha": 0.85},
        )  # fmt: skip

    def _axes(self) -> Axes:
        bottom = self._height - self._top - self._plot_px
        size = ((self._width - LEFT - RIGHT) / self._width, self._plot_px / self._height)
        axes = self._figure.add_axes((LEFT / self._width, bottom / self._height, *size))
        axes.set_facecolor(PAPER)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(SOFT)
        axes.tick_params(labelsize=SMALL, labelcolor=SOFT, length=0, pad=8)
        axes.grid(axis="y", color=FAINT, linewidth=1.6)
        axes.set_axisbelow(True)
        return axes

    def _legend(self, panel: Panel) -> None:
        """A sample of each line, its name, its value now and its best: in words, so that no colour has to be known."""
        columns = self._columns[panel]
        for number in range(len(panel.curves)):
            x = EDGE + number % columns * (self._width - 2 * EDGE) / columns
            y = self._top + LEGEND_ROW * (number // columns) + 14
            line = Line2D(
                (x / self._width, (x + SAMPLE) / self._width), [1 - y / self._height] * 2,
                color=COLOURS[number], linestyle=DASHES[number], linewidth=4,
            )  # fmt: skip
            self._figure.add_artist(line)
            now, best = self._entry(panel, number)
            written = self._text(x + SAMPLE + 10, y, now, SMALL + 1, COLOURS[number])
            self._text(written.get_window_extent().x1 / self._times + 10, y, best, SMALL - 2, SOFT)

    def _entry(self, panel: Panel, number: int) -> tuple[str, str]:
        """Return a curve's name and value for the legend, and the lesser details to print in a lighter colour."""
        curve = panel.curves[number]
        nameless = text(self._language, "charts.metric", number=number + 1)
        name = self._fonts.readable(curve.name, _NAME_CHARS) or nameless
        best = (
            f"★ {figure(curve.best[1])} ({place(curve.best[0], self._picture.unit)})" if curve.best is not None else ""
        )
        scale = text(self._language, "charts.logarithmic") if panel.logarithmic and number == 0 else ""
        return f"{name} {figure(curve.points[-1][1])}", " · ".join(each for each in (best, scale) if each)

    def _columns_of(self, panel: Panel) -> int:
        """Two where every entry of the legend has room in half the width."""
        widths = []
        for number in range(len(panel.curves)):
            now, best = self._entry(panel, number)
            widths.append(SAMPLE + 40 + self._width_of(now, SMALL + 1) + self._width_of(best, SMALL - 2))
        return 2 if len(widths) > 1 and max(widths) <= (self._width - 2 * EDGE) / 2 else 1

    def _rows_of(self, panel: Panel) -> int:
        return math.ceil(len(panel.curves) / self._columns[panel])

    def _width_of(self, text: str, size: float) -> float:
        trial = self._figure.text(0, 0, text, fontsize=size)
        width: float = trial.get_window_extent().width
        trial.remove()
        return width / self._times

    def _text(
        self, x: float, y: float, text: str, size: float, colour: str = INK, *, weight: str = "normal",
        align: Literal["left", "right"] = "left",
    ) -> Text:  # fmt: skip
        return self._figure.text(
            x / self._width, 1 - y / self._height, text,
            fontsize=size, color=colour, fontweight=weight, ha=align, va="center",
        )  # fmt: skip


def _scale(axes: Axes, panel: Panel, span: tuple[float, float], unit: str) -> None:
    """Give both axes their range and a few round numbers."""
    first, last = span
    margin = (last - first) * 0.03 or 1.0
    axes.set_xlim(first - margin, last + margin)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: place(value, unit) if first <= value <= last else ""))
    low, high = min(panel.values, default=0.0), max(panel.values, default=1.0)
    if panel.logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(low / 1.4, high * 1.4)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=2))
        room = (high - low) * 0.08 or abs(high) * 0.1 or 1.0
        axes.set_ylim(low - room, high + room)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: figure(value)))


def _draw(axes: Axes, curve: Curve, number: int) -> None:
    """The line with its gaps, a dot at its end, a star at its best, a cross for each value that is no number."""
    colour, few = COLOURS[number], len(curve.points) <= _FEW_POINTS
    pieces = pieces_of(curve)
    for piece in pieces:
        axes.plot(
            [epoch for epoch, _ in piece], [value for _, value in piece], color=colour, linestyle=DASHES[number],
            linewidth=3.4 if few else 2.6, marker="o" if few or len(piece) == 1 else "", markersize=7, zorder=3,
        )  # fmt: skip
    if pieces:
        last = pieces[-1][-1]
        axes.plot(*last, marker="o", markersize=11, color=colour, markeredgecolor=PAPER, markeredgewidth=2, zorder=4)
    if curve.best is not None and drawable(curve.best[1]):
        axes.plot(*curve.best, marker="*", markersize=25, color=colour, markeredgecolor=PAPER, zorder=5)
    gaps = gaps_of(curve)
    axes.plot(
        gaps, [0.03] * len(gaps), transform=axes.get_xaxis_transform(), linestyle="", marker="x", markersize=11,
        markeredgewidth=3, color=LOST, zorder=5, clip_on=False,
    )  # fmt: skip
