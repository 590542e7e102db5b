"""Slack's rules for a message's blocks and attachments: each fault as data, and as its error answers name it.

Limits: https://docs.slack.dev/reference/block-kit/blocks
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from notifybot.charts import Curve, curve_svg

BLOCKS = 50
ATTACHMENTS = 100
TEXT_OBJECT = 3000
TABLE_ROWS, TABLE_COLUMNS, TABLE_CHARS = 100, 20, 10_000
MARKDOWN_CHARS = 12_000
_CHARTS_A_MESSAGE, _SERIES, _POINTS, _TITLE, _NAME, _AXIS = 2, 6, 20, 50, 20, 50
_ROWS, _COLUMNS, _CHARS = 201, 20, 20_000


@dataclass(frozen=True)
class Problem:
    """Reason why one place of a payload is refused. `error` is the Web API's code when it is not `invalid_blocks`."""

    pointer: str
    text: str
    error: str = "invalid_blocks"

    def __str__(self) -> str:
        return f"[ERROR] {self.text} [json-pointer:{self.pointer}]"


def problems(payload: Mapping[str, Any]) -> list[Problem]:
    """Say all that Slack would refuse in `blocks` and `attachments` of a message; empty when it is fine."""
    return list(_message(payload))


def _message(payload: Mapping[str, Any]) -> Iterator[Problem]:
    blocks = payload.get("blocks") or []
    attachments = payload.get("attachments") or []
    if not isinstance(blocks, list):
        yield Problem("/blocks", "must be an array", "invalid_blocks_format")
        return
    if not isinstance(attachments, list) or not all(isinstance(each, dict) for each in attachments):
        yield Problem("/attachments", "must be an array of objects", "invalid_attachments")
        return
    if len(attachments) > ATTACHMENTS:
        yield Problem("/attachments", f"no more than {ATTACHMENTS} items allowed", "too_many_attachments")
    yield from _blocks(blocks, "/blocks")
    nested: list[Any] = []
    for index, attachment in enumerate(attachments):
        inner = attachment.get("blocks") or []
        if not isinstance(inner, list):
            yield Problem(f"/attachments/{index}/blocks", "must be an array", "invalid_attachments")
            continue
        yield from _blocks(inner, f"/attachments/{index}/blocks")
        nested += inner
    yield from _whole([each for each in [*blocks, *nested] if isinstance(each, dict)])


def _whole(blocks: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Rules over all blocks of a message, wherever they stand."""
    names = [each["block_id"] for each in blocks if "block_id" in each]
    if len(names) != len(set(names)):
        yield Problem("/blocks", "`block_id` must be unique within a message")
    if sum(each.get("type") in ("table", "data_table") for each in blocks) > 1:
        yield Problem("/blocks", "only_one_table_allowed", "invalid_attachments")
    if sum(each.get("type") == "data_visualization" for each in blocks) > _CHARTS_A_MESSAGE:
        yield Problem("/blocks", "too many data_visualization blocks")
    if sum(len(str(each.get("text", ""))) for each in blocks if each.get("type") == "markdown") > MARKDOWN_CHARS:
        yield Problem("/blocks", f"must be less than {MARKDOWN_CHARS + 1} characters", "msg_blocks_too_long")


def _blocks(blocks: Sequence[Any], at: str) -> Iterator[Problem]:
    if len(blocks) > BLOCKS:
        yield Problem(at, f"no more than {BLOCKS} items allowed")
    for index, block in enumerate(blocks):
        yield from _block(block, f"{at}/{index}")


def _block(block: Any, at: str) -> Iterator[Problem]:
    if not isinstance(block, dict):
        yield Problem(at, "must be an object")
        return
    kind = block.get("type", "")
    if kind not in _KINDS:
        yield Problem(f"{at}/type", f"unsupported type: {block.get('type')}")
        return
    keys, check = _KINDS[kind]
    name = block.get("block_id")
    if name is not None and not (isinstance(name, str) and 1 <= len(name) <= 255):
        yield Problem(f"{at}/block_id", "must be a string of 1 to 255 characters")
    unknown = set(block) - {"type", "block_id"} - keys
    if unknown:
        yield Problem(at, f"additional property: {min(unknown)}")
    if check is not None:
        yield from check(block, at)


def _text(value: Any, at: str, limit: int, kinds: tuple[str, ...] = ("plain_text", "mrkdwn")) -> Iterator[Problem]:
    """A text object: `{"type": "plain_text" | "mrkdwn", "text": "…"}`."""
    if not isinstance(value, dict):
        yield Problem(at, "missing required field or not an object")
        return
    kind = value.get("type")
    if kind not in kinds:
        yield Problem(f"{at}/type", f"must be one of {', '.join(kinds)}")
    unknown = set(value) - {"type", "text", "emoji" if kind == "plain_text" else "verbatim"}
    if unknown:
        yield Problem(at, f"additional property: {min(unknown)}")
    yield from _string(value.get("text"), f"{at}/text", limit)


def _string(value: Any, at: str, limit: int, least: int = 1) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield Problem(at, "must be a string")
    elif len(value) < least:
        yield Problem(at, f"must be more than {least - 1} characters")
    elif len(value) > limit:
        yield Problem(at, f"must be less than {limit + 1} characters")


def _items(value: Any, at: str, limit: int) -> Iterator[Problem]:
    if not isinstance(value, list):
        yield Problem(at, "must be an array")
    elif not 1 <= len(value) <= limit:
        yield Problem(at, f"must have 1 to {limit} items")


def _header(block: dict[str, Any], at: str) -> Iterator[Problem]:
    yield from _text(block.get("text"), f"{at}/text", 150, ("plain_text",))


def _section(block: dict[str, Any], at: str) -> Iterator[Problem]:
    if "text" not in block and "fields" not in block:
        yield Problem(at, "missing required field: text or fields")
    if "text" in block:
        yield from _text(block["text"], f"{at}/text", TEXT_OBJECT)
    if "fields" in block:
        yield from _items(block["fields"], f"{at}/fields", 10)
        for index, field in enumerate(block["fields"] if isinstance(block["fields"], list) else []):
            yield from _text(field, f"{at}/fields/{index}", 2000)


def _context(block: dict[str, Any], at: str) -> Iterator[Problem]:
    elements = block.get("elements")
    yield from _items(elements, f"{at}/elements", 10)
    for index, element in enumerate(elements if isinstance(elements, list) else []):
        if isinstance(element, dict) and element.get("type") == "image":
            yield from _image(element, f"{at}/elements/{index}")
        else:
            yield from _text(element, f"{at}/elements/{index}", TEXT_OBJECT)


def _image(block: dict[str, Any], at: str) -> Iterator[Problem]:
    yield from _string(block.get("alt_text"), f"{at}/alt_text", 2000)
    if "slack_file" not in block:
        yield from _string(block.get("image_url"), f"{at}/image_url", 3000)
    if "title" in block:
        yield from _text(block["title"], f"{at}/title", 2000, ("plain_text",))


def _markdown(block: dict[str, Any], at: str) -> Iterator[Problem]:
    yield from _string(block.get("text"), f"{at}/text", MARKDOWN_CHARS)


def _table(block: dict[str, Any], at: str) -> Iterator[Problem]:
    rows = block.get("rows")
    yield from _items(rows, f"{at}/rows", TABLE_ROWS)
    if len(block.get("column_settings") or []) > TABLE_COLUMNS:
        yield Problem(f"{at}/column_settings", f"must have 1 to {TABLE_COLUMNS} items")
    chars = 0
    for y, row in enumerate(rows if isinstance(rows, list) else []):
        yield from _items(row, f"{at}/rows/{y}", TABLE_COLUMNS)
        for x, cell in enumerate(row if isinstance(row, list) else []):
            yield from _cell(cell, f"{at}/rows/{y}/{x}")
            chars += len(str(cell.get("text", ""))) if isinstance(cell, dict) else 0
    if chars > TABLE_CHARS:
        yield Problem(
            f"{at}/rows", f"must be less than {TABLE_CHARS + 1} characters in all cells", "invalid_attachments"
        )


def _cell(cell: Any, at: str) -> Iterator[Problem]:
    if not isinstance(cell, dict):
        yield Problem(at, "must be an object")
    elif cell.get("type") == "rich_text":
        yield from _rich_text(cell, at)
    elif cell.get("type") == "raw_text":
        yield from _string(cell.get("text"), f"{at}/text", TABLE_CHARS)
    else:
        yield Problem(f"{at}/type", f"unsupported type: {cell.get('type')}")


def _rich_text(block: dict[str, Any], at: str) -> Iterator[Problem]:
    elements = block.get("elements")
    if not isinstance(elements, list):
        yield Problem(f"{at}/elements", "must be an array")
        return
    for index, element in enumerate(elements):
        where = f"{at}/elements/{index}"
        kind = element.get("type") if isinstance(element, dict) else None
        if kind == "rich_text_list":
            yield from _rich_text({"elements": element.get("elements")}, where)
        elif kind in ("rich_text_section", "rich_text_preformatted", "rich_text_quote"):
            yield from _spans(element.get("elements"), f"{where}/elements")
        else:
            yield Problem(f"{where}/type", f"unsupported type: {kind}")


def _spans(spans: Any, at: str) -> Iterator[Problem]:
    if not isinstance(spans, list):
        yield Problem(at, "must be an array")
        return
    for index, span in enumerate(spans):
        kind = span.get("type") if isinstance(span, dict) else None
        if kind in ("text", "link"):
            required = "text" if kind == "text" else "url"
            yield from _string(span.get(required), f"{at}/{index}/{required}", TEXT_OBJECT)
        elif kind not in ("broadcast", "channel", "color", "date", "emoji", "user", "usergroup"):
            yield Problem(f"{at}/{index}/type", f"unsupported type: {kind}")


def _chart(block: dict[str, Any], at: str) -> Iterator[Problem]:
    """A `data_visualization` block of lines, bars or areas."""
    if not 1 <= len(str(block.get("title") or "")) <= _TITLE:
        yield Problem(f"{at}/title", f"must have 1 to {_TITLE} characters")
    chart = block.get("chart")
    if not isinstance(chart, dict) or chart.get("type") not in ("line", "bar", "area"):
        yield Problem(f"{at}/chart/type", "must be one of line, bar, area")
        return
    axes = chart.get("axis_config") or {}
    categories = axes.get("categories") or []
    if not 1 <= len(categories) <= _POINTS or len(set(categories)) != len(categories):
        yield Problem(f"{at}/chart/axis_config/categories", f"must have 1 to {_POINTS} different items")
    if any(len(str(axes.get(name) or "")) > _AXIS for name in ("x_label", "y_label")):
        yield Problem(f"{at}/chart/axis_config", f"labels must be less than {_AXIS + 1} characters")
    series = chart.get("series") or []
    names = [str(each.get("name") or "") for each in series]
    if not 1 <= len(series) <= _SERIES or len(set(names)) != len(names):
        yield Problem(f"{at}/chart/series", f"must have 1 to {_SERIES} items of different names")
    for index, each in enumerate(series):
        if not 1 <= len(names[index]) <= _NAME:
            yield Problem(f"{at}/chart/series/{index}/name", f"must have 1 to {_NAME} characters")
        if [point.get("label") for point in each.get("data") or []] != list(categories):
            yield Problem(f"{at}/chart/series/{index}/data", "must have one value for each category")
        if not all(_is_finite(point.get("value")) for point in each.get("data") or []):
            yield Problem(f"{at}/chart/series/{index}/data", "values must be numbers")


def _data_table(block: dict[str, Any], at: str) -> Iterator[Problem]:
    if not block.get("caption"):
        yield Problem(f"{at}/caption", "missing required field")
    if not 1 <= int(block.get("page_size", 5)) <= 100:
        yield Problem(f"{at}/page_size", "must be 1 to 100")
    rows = block.get("rows") or []
    if not 2 <= len(rows) <= _ROWS:
        yield Problem(f"{at}/rows", f"must have 2 to {_ROWS} items")
    if len({len(row) for row in rows}) > 1 or not all(1 <= len(row) <= _COLUMNS for row in rows):
        yield Problem(f"{at}/rows", f"must have 1 to {_COLUMNS} columns, as many in each row")
    cells = [cell for row in rows for cell in row]
    for cell in cells:
        known = cell.get("type") == "raw_text" or (cell.get("type") == "raw_number" and _is_finite(cell.get("value")))
        if not known or not cell.get("text"):
            yield Problem(f"{at}/rows", "a cell must be a raw_text, or a raw_number with its text")
            return
    if sum(len(cell["text"]) for cell in cells) > _CHARS:
        yield Problem(f"{at}/rows", f"must be less than {_CHARS + 1} characters in all cells")


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


# The keys of each type, and its check.
_KINDS: dict[str, tuple[set[str], Callable[[dict[str, Any], str], Iterator[Problem]] | None]] = {
    "header": ({"text", "level"}, _header),
    "section": ({"text", "fields", "accessory", "expand"}, _section),
    "context": ({"elements"}, _context),
    "divider": (set(), None),
    "image": ({"image_url", "alt_text", "title", "slack_file"}, _image),
    "markdown": ({"text"}, _markdown),
    "table": ({"rows", "column_settings"}, _table),
    "rich_text": ({"elements"}, _rich_text),
    "data_visualization": ({"title", "chart"}, _chart),
    "data_table": ({"caption", "rows", "page_size", "row_header_column_index"}, _data_table),
}


def drawn(block: Mapping[str, Any]) -> Markup:
    """A `data_visualization` block over numbers as a picture for the sandbox's page."""
    epochs = [float(each) for each in block["chart"]["axis_config"]["categories"]]
    series = [
        Curve(str(each["name"]), tuple(zip(epochs, (float(point["value"]) for point in each["data"]), strict=True)))
        for each in block["chart"]["series"]
    ]
    return Markup(curve_svg(series, title=str(block["title"])))  # noqa: S704 - it escapes every text itself
