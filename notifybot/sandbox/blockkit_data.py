"""What Slack refuses in its blocks for data, and how the sandbox's page draws them.

Limits: https://docs.slack.dev/reference/block-kit/blocks/data-visualization-block and …/data-table-block
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from notifybot.charts import Series, curve_svg

KEYS: dict[str, set[str]] = {
    "data_visualization": {"title", "chart"},
    "data_table": {"caption", "rows", "page_size", "row_header_column_index"},
}
_CHARTS_A_MESSAGE, _SERIES, _POINTS, _TITLE, _NAME, _AXIS = 2, 6, 20, 50, 20, 50
_ROWS, _COLUMNS, _CHARS = 201, 20, 20_000

Fault = tuple[str, str]  # where, and what is wrong


def too_many(blocks: list[Mapping[str, Any]]) -> bool:
    """True when a message has more charts than Slack takes."""
    return [each.get("type") for each in blocks].count("data_visualization") > _CHARTS_A_MESSAGE


def chart_faults(block: Mapping[str, Any]) -> Iterator[Fault]:
    """Say what is wrong with a `data_visualization` block of lines, bars or areas."""
    if not 1 <= len(str(block.get("title") or "")) <= _TITLE:
        yield "/title", f"must have 1 to {_TITLE} characters"
    chart = block.get("chart")
    if not isinstance(chart, dict) or chart.get("type") not in ("line", "bar", "area"):
        yield "/chart/type", "must be one of line, bar, area"
        return
    axes = chart.get("axis_config") or {}
    categories = axes.get("categories") or []
    if not 1 <= len(categories) <= _POINTS or len(set(categories)) != len(categories):
        yield "/chart/axis_config/categories", f"must have 1 to {_POINTS} different items"
    if any(len(str(axes.get(name) or "")) > _AXIS for name in ("x_label", "y_label")):
        yield "/chart/axis_config", f"labels must be less than {_AXIS + 1} characters"
    series = chart.get("series") or []
    names = [str(each.get("name") or "") for each in series]
    if not 1 <= len(series) <= _SERIES or len(set(names)) != len(names):
        yield "/chart/series", f"must have 1 to {_SERIES} items of different names"
    for at, each in enumerate(series):
        if not 1 <= len(names[at]) <= _NAME:
            yield f"/chart/series/{at}/name", f"must have 1 to {_NAME} characters"
        if [point.get("label") for point in each.get("data") or []] != list(categories):
            yield f"/chart/series/{at}/data", "must have one value for each category"
        if not all(_is_finite(point.get("value")) for point in each.get("data") or []):
            yield f"/chart/series/{at}/data", "values must be numbers"


def table_faults(block: Mapping[str, Any]) -> Iterator[Fault]:
    """Say what is wrong with a `data_table` block."""
    if not block.get("caption"):
        yield "/caption", "missing required field"
    if not 1 <= int(block.get("page_size", 5)) <= 100:
        yield "/page_size", "must be 1 to 100"
    rows = block.get("rows") or []
    if not 2 <= len(rows) <= _ROWS:
        yield "/rows", f"must have 2 to {_ROWS} items"
    if len({len(row) for row in rows}) > 1 or not all(1 <= len(row) <= _COLUMNS for row in rows):
        yield "/rows", f"must have 1 to {_COLUMNS} columns, as many in each row"
    cells = [cell for row in rows for cell in row]
    for cell in cells:
        known = cell.get("type") == "raw_text" or (cell.get("type") == "raw_number" and _is_finite(cell.get("value")))
        if not known or not cell.get("text"):
            yield "/rows", "a cell must be a raw_text, or a raw_number with its text"
            return
    if sum(len(cell["text"]) for cell in cells) > _CHARS:
        yield "/rows", f"must be less than {_CHARS + 1} characters in all cells"


def drawn(block: Mapping[str, Any]) -> Markup:
    """A `data_visualization` block over numbers as a picture for the sandbox's page."""
    epochs = [float(each) for each in block["chart"]["axis_config"]["categories"]]
    series = [
        Series(str(each["name"]), tuple(zip(epochs, (float(point["value"]) for point in each["data"]), strict=True)))
        for each in block["chart"]["series"]
    ]
    return Markup(curve_svg(series, title=str(block["title"])))  # noqa: S704 - it escapes every text itself


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
