"""Learning curves: as inline SVG for a page, and as PNG for a message where matplotlib is installed."""

from __future__ import annotations

from notifybot.charts.series import Curve, Point
from notifybot.charts.svg import HEIGHT, WIDTH, Chart, charts_of, curve_svg, ticks_between

__all__ = ["HEIGHT", "WIDTH", "Chart", "Curve", "Point", "charts_of", "curve_svg", "ticks_between"]
