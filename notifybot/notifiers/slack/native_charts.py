"""Slack's own charts and tables of numbers, and messages that do without what a workspace does not take.

`data_table` came in May and `data_visualization` in June 2026, to one workspace after the other:
https://docs.slack.dev/reference/block-kit/blocks/data-visualization-block
https://docs.slack.dev/reference/block-kit/blocks/data-table-block
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from notifybot.charts.series import Curve, panels_of
from notifybot.errors import DeliveryError
from notifybot.events import EpochFinished, Event, RunEnded
from notifybot.i18n import text
from notifybot.notifiers.base import Memory
from notifybot.notifiers.slack.api import FAULTS_BEFORE_LESS, SlackRefused, is_fault
from notifybot.notifiers.slack.blocks import BODY_CHARS, EMPTY, Block, Payload
from notifybot.rendering.format import number
from notifybot.rendering.labels import grouped
from notifybot.rendering.text import one_line, shorten
from notifybot.types import Language, Unit

_CHARTS, _SERIES, _POINTS, _NAME_CHARS, _TITLE_CHARS = 2, 4, 20, 20, 50
_COLUMNS, _ROWS, _CELL_CHARS, _PAGE = 7, 20, 40, 5
_REFUSED = "layouts_refused_until"  # memory key

T = TypeVar("T")
_Recent = Mapping[str, Mapping[float, float]]  # metric -> epoch -> value


class Layout(StrEnum):
    """Parts of a message that a workspace may not take, in the order of leaving them out. Values name block types."""

    DATA_TABLE = "data_table"
    CHART = "data_visualization"
    TABLE = "table"
    BLOCKS = "blocks"


_TABLES = frozenset({Layout.DATA_TABLE, Layout.TABLE})
_ASK_AGAIN = {
    Layout.DATA_TABLE: timedelta(days=30),  # the workspace may have got them by then
    Layout.CHART: timedelta(days=30),
    Layout.TABLE: timedelta(days=1),  # every workspace has had it since 2025: this one may have been at fault
    Layout.BLOCKS: timedelta(hours=1),
}
_AFTER_A_FAULT = timedelta(days=1)  # Slack's fault may have had another cause
_NOTHING: frozenset[Layout] = frozenset()


def with_native_charts(
    payload: Payload, event: Event, language: Language, *, charts: bool, without: Set[Layout] = frozenset()
) -> Payload:
    """Return the payload with Slack's own `charts` of a new best or an ending, and an ending's table of epochs."""
    focus = event.new_best or None if isinstance(event, EpochFinished) else None
    if focus is None and not isinstance(event, RunEnded):
        return payload
    progress = event.progress
    recent = {  # the latest values of each metric by epoch, as far as an event remembers them
        name: {float(epoch): value for epoch, value in metric.points(progress)}
        for name, metric in progress.shown.items()
    }
    more: list[Block] = []
    if charts and Layout.CHART not in without:
        more += _charts(recent, language, progress.unit, focus=focus, most=_CHARTS if focus is None else 1)
    if focus is None and Layout.DATA_TABLE not in without:
        more += _table(recent, language, progress.unit)
    named = [{**block, "block_id": f"{shorten(event.id, 100)}.native.{at}"} for at, block in enumerate(more)]
    cards = payload.attachments
    if any(block["type"] == Layout.DATA_TABLE for block in named):  # some workspaces take one of either kind only
        cards = tuple(
            {**card, "blocks": [each for each in card["blocks"] if each["type"] != Layout.TABLE]} for card in cards
        )
    body = [each for each in payload.blocks if each["type"] != "context"]
    footer = [each for each in payload.blocks if each["type"] == "context"]
    return replace(payload, blocks=(*body, *named, *footer), attachments=cards)


def untabled(payload: Payload) -> Payload:
    """The same with the rows of a table as lines."""
    cards = [{**card, "blocks": [_as_lines(each) for each in card["blocks"]]} for card in payload.attachments]
    return replace(payload, attachments=tuple(cards))


def _as_lines(block: Block) -> Block:
    if block["type"] != Layout.TABLE:
        return block
    rows = [[cell["text"] for cell in row if cell["text"] != EMPTY] for row in block["rows"][1:]]
    lines = "\n".join(" · ".join(row) for row in rows)
    text = {"type": "plain_text", "text": shorten(lines, BODY_CHARS) or EMPTY, "emoji": False}
    return {"type": "section", "text": text, "block_id": block["block_id"]}


def send_with_fallbacks(
    call: Callable[[dict[str, Any]], T],
    build: Callable[[Set[Layout]], Payload],
    memory: Memory,
    attempts: int,
    now: datetime,
) -> T:
    """Make a call with what `build` makes without what this workspace does not take; if refused, with one thing less.

    What was missing when the message was taken is remembered for a while. After some `attempts` at a message a fault of
    Slack's counts as a refusal, as it fails at layouts that it cannot show. Raises as `call` does.
    """
    until = memory.get("").get(_REFUSED)
    without = _NOTHING
    if isinstance(until, dict):
        without = frozenset(each for each in Layout if _is_later(until.get(each), now))
    missing, fault = _NOTHING, False
    payload = build(without)
    while True:
        try:
            sent = call(payload.arguments())
            break
        except DeliveryError as error:
            faulty = is_fault(error) and attempts >= FAULTS_BEFORE_LESS
            if not (isinstance(error, SlackRefused) and error.layout) and (fault or not faulty):
                raise
            steps = [frozenset({each}) for each in Layout]
            if faulty:  # in October 2025 Slack failed at tables: https://github.com/soxtoby/SlackNet/issues/246
                steps = [_TABLES, frozenset({Layout.BLOCKS})][attempts > FAULTS_BEFORE_LESS :]
            found = ((each, build(without | each)) for each in steps)
            missing, less = next(((each, less) for each, less in found if less != payload), (_NOTHING, payload))
            if not missing:
                raise
            without, payload, fault = without | missing, less, faulty
    if missing and (fault or Layout.BLOCKS not in missing):  # all blocks refused: cause unknown
        known = memory.get("")
        before = known.get(_REFUSED)
        later = {each: now + (min(_ASK_AGAIN[each], _AFTER_A_FAULT) if fault else _ASK_AGAIN[each]) for each in missing}
        refused = {each.value: moment.isoformat() for each, moment in later.items()}
        memory.put("", known | {_REFUSED: (before if isinstance(before, dict) else {}) | refused})
    return sent


def _is_later(moment: object, now: datetime) -> bool:
    try:
        return isinstance(moment, str) and datetime.fromisoformat(moment) > now
    except (TypeError, ValueError):
        return False


def _charts(recent: _Recent, language: Language, unit: Unit, *, focus: str | None, most: int) -> list[Block]:
    """Every series has a finite value at every category, as Slack wants it; an epoch with a NaN is left out."""
    panels, _ = panels_of(
        [Curve(name, tuple(points.items())) for name, points in recent.items()], focus=focus, most=most
    )
    blocks: list[Block] = []
    for panel in panels:
        curves = {
            shorten(one_line(curve.name), _NAME_CHARS) or EMPTY: dict(curve.points) for curve in panel.curves[:_SERIES]
        }
        shared = set.intersection(*(set(points) for points in curves.values()))
        epochs = [each for each in next(iter(curves.values())) if each in shared]  # in the order they were trained in
        whole = [each for each in epochs if all(math.isfinite(points[each]) for points in curves.values())][-_POINTS:]
        if len(whole) < 2:
            continue
        labels = [grouped(int(each), unit) for each in whole]
        series = [
            {
                "name": name,
                "data": [{"label": label, "value": points[each]} for label, each in zip(labels, whole, strict=True)],
            }
            for name, points in curves.items()
        ]
        of_units = "slack.chart.title" if unit == "epoch" else "slack.chart.title_of_reports"
        title = text(language, of_units, names=", ".join(curves), count=len(whole))
        axes = {"categories": labels, "x_label": _axis(language, unit)}
        blocks.append({
            "type": "data_visualization",
            "title": shorten(title, _TITLE_CHARS),
            "chart": {"type": "line", "series": series, "axis_config": axes},
        })  # fmt: skip
    return blocks


def _table(recent: _Recent, language: Language, unit: Unit) -> list[Block]:
    """The last epochs, newest first."""
    first = dict(list(recent.items())[: _COLUMNS - 1])
    falling = any(list(points) != sorted(points) for points in first.values())
    epochs = sorted({epoch for points in first.values() for epoch in points}, reverse=not falling)[:_ROWS]
    if len(epochs) < 2:
        return []
    heading = [_text(_axis(language, unit)), *(_text(name) for name in first)]
    rows = [[_number(epoch, unit), *(_number(points.get(epoch)) for points in first.values())] for epoch in epochs]
    of_units = "slack.chart.table_caption" if unit == "epoch" else "slack.chart.table_caption_of_reports"
    caption = text(language, of_units, count=len(epochs))
    return [{"type": "data_table", "caption": caption, "page_size": _PAGE, "rows": [heading, *rows]}]


def _axis(language: Language, unit: Unit) -> str:
    return text(language, "slack.chart.epoch" if unit == "epoch" else f"word.{unit}")


def _text(shown: str) -> Block:
    return {"type": "raw_text", "text": shorten(one_line(shown), _CELL_CHARS) or EMPTY}


def _number(value: float | None, unit: Unit = "epoch") -> dict[str, Any]:
    if value is None or not math.isfinite(value):
        return _text(EMPTY if value is None else number(value))
    shown = number(value) if unit == "epoch" else grouped(int(value), unit)
    return {"type": "raw_number", "value": value, "text": shown}
