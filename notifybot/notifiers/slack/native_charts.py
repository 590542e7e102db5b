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

from notifybot.charts.series import Curve, Panel, panels_of
from notifybot.errors import DeliveryError
from notifybot.events import EpochFinished, Event, RunEnded
from notifybot.i18n import text
from notifybot.notifiers.base import Memory
from notifybot.notifiers.slack.api import FAULTS_BEFORE_LESS, is_layout, may_be_layout
from notifybot.notifiers.slack.blocks import BODY_CHARS, EMPTY, Block, Payload
from notifybot.rendering.format import number
from notifybot.rendering.text import one_line, shorten
from notifybot.types import Language, Progress

_CHARTS, _SERIES, _POINTS, _NAME_CHARS, _TITLE_CHARS = 2, 4, 20, 20, 50
_COLUMNS, _ROWS, _CELL_CHARS, _PAGE = 7, 20, 40, 5
_REFUSED = "layouts_refused_until"  # memory key

T = TypeVar("T")


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
    charts = charts and Layout.CHART not in without
    more: list[Block] = []
    if charts and isinstance(event, EpochFinished) and event.new_best:
        more += _charts(event.progress, language, focus=event.new_best, most=1)
    if isinstance(event, RunEnded):
        more += _charts(event.progress, language, focus=None, most=_CHARTS) if charts else []
        more += _table(event.progress, language) if Layout.DATA_TABLE not in without else []
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


def tell(
    post: Callable[[Payload], T], build: Callable[[Set[Layout]], Payload], memory: Memory, attempts: int, now: datetime
) -> T:
    """Post what `build` makes without what this workspace does not take; while it refuses, with one thing less.

    What was missing when the message was taken is remembered for a while. After some `attempts` at a message a fault of
    Slack's counts as a refusal, as it fails at layouts that it cannot show. Raises as `post` does.
    """
    without, missing, fault = _refused(memory, now), _NOTHING, False
    payload = build(without)
    while True:
        try:
            sent = post(payload)
        except DeliveryError as error:
            faulty = may_be_layout(error, attempts)
            if not (is_layout(error) or (faulty and not fault)):
                raise
            steps = _steps_after_fault(attempts) if faulty else tuple(frozenset({each}) for each in Layout)
            found = ((each, build(without | each)) for each in steps)
            missing, less = next(((each, less) for each, less in found if less != payload), (_NOTHING, payload))
            if not missing:
                raise
            without, payload, fault = without | missing, less, faulty
        else:
            if missing and (fault or Layout.BLOCKS not in missing):  # all blocks refused: cause unknown
                _refuse(memory, now, missing, _AFTER_A_FAULT if fault else max(_ASK_AGAIN.values()))
            return sent


def _steps_after_fault(attempts: int) -> tuple[frozenset[Layout], ...]:
    """In October 2025 Slack failed at tables: https://github.com/soxtoby/SlackNet/issues/246"""
    plain = frozenset({Layout.BLOCKS})
    return (_TABLES, plain) if attempts <= FAULTS_BEFORE_LESS else (plain,)


def _refused(memory: Memory, now: datetime) -> frozenset[Layout]:
    """Return the layouts that this workspace refused lately."""
    until = memory.get("").get(_REFUSED)
    return frozenset(each for each in Layout if isinstance(until, dict) and _is_later(until.get(each), now))


def _is_later(moment: object, now: datetime) -> bool:
    try:
        return isinstance(moment, str) and datetime.fromisoformat(moment) > now
    except (TypeError, ValueError):
        return False


def _refuse(memory: Memory, now: datetime, layouts: Set[Layout], most: timedelta) -> None:
    known = memory.get("")
    before = known.get(_REFUSED)
    until = {each.value: (now + min(_ASK_AGAIN[each], most)).isoformat() for each in layouts}
    memory.put("", known | {_REFUSED: (before if isinstance(before, dict) else {}) | until})


def _charts(progress: Progress, language: Language, *, focus: str | None, most: int) -> list[Block]:
    curves = [Curve(name, tuple(points.items())) for name, points in _recent(progress).items()]
    panels, _ = panels_of(curves, focus=focus, most=most)
    return [block for panel in panels if (block := _chart(panel, language)) is not None]


def _chart(panel: Panel, language: Language) -> Block | None:
    """Every series has a finite value at every category, as Slack wants it; an epoch with a NaN is left out."""
    curves = {
        shorten(one_line(curve.name), _NAME_CHARS) or EMPTY: dict(curve.points) for curve in panel.curves[:_SERIES]
    }
    shared = set.intersection(*(set(points) for points in curves.values()))
    epochs = [each for each in next(iter(curves.values())) if each in shared]  # in the order they were trained in
    whole = [each for each in epochs if all(math.isfinite(points[each]) for points in curves.values())][-_POINTS:]
    if len(whole) < 2:
        return None
    labels = [f"{each:.0f}" for each in whole]
    series = [
        {"name": name, "data": [{"label": f"{each:.0f}", "value": points[each]} for each in whole]}
        for name, points in curves.items()
    ]
    axes = {"categories": labels, "x_label": text(language, "slack.chart.epoch")}
    title = text(language, "slack.chart.title", names=", ".join(curves), count=len(whole))
    return {
        "type": "data_visualization",
        "title": shorten(title, _TITLE_CHARS),
        "chart": {"type": "line", "series": series, "axis_config": axes},
    }


def _table(progress: Progress, language: Language) -> list[Block]:
    """The last epochs, newest first."""
    recent = dict(list(_recent(progress).items())[: _COLUMNS - 1])
    falling = any(list(points) != sorted(points) for points in recent.values())
    epochs = sorted({epoch for points in recent.values() for epoch in points}, reverse=not falling)[:_ROWS]
    if len(epochs) < 2:
        return []
    heading = [_text(text(language, "slack.chart.epoch")), *(_text(name) for name in recent)]
    rows = [[_number(epoch), *(_number(points.get(epoch)) for points in recent.values())] for epoch in epochs]
    caption = text(language, "slack.chart.table_caption", count=len(epochs))
    return [{"type": "data_table", "caption": caption, "page_size": _PAGE, "rows": [heading, *rows]}]


def _recent(progress: Progress) -> Mapping[str, dict[float, float]]:
    """The latest values of each metric by epoch, as far as an event remembers them."""
    return {
        name: {float(epoch): value for epoch, value in metric.points(progress)}
        for name, metric in progress.metrics.items()
    }


def _text(shown: str) -> Block:
    return {"type": "raw_text", "text": shorten(one_line(shown), _CELL_CHARS) or EMPTY}


def _number(value: float | None) -> dict[str, Any]:
    if value is None or not math.isfinite(value):
        return _text(EMPTY if value is None else number(value))
    return {"type": "raw_number", "value": value, "text": number(value)}
