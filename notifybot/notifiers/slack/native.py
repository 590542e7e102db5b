"""Slack's own charts and tables of numbers. Not every workspace has them yet, so a message can do without.

`data_table` came in May and `data_visualization` in June 2026, to one workspace after the other:
https://docs.slack.dev/reference/block-kit/blocks/data-visualization-block
https://docs.slack.dev/reference/block-kit/blocks/data-table-block
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from notifybot.charts.panels import Curve, Panel, panels_of
from notifybot.events import EpochFinished, Event, RunEnded
from notifybot.model import Language, Progress
from notifybot.notifiers.base import Memory
from notifybot.notifiers.slack.blocks import EMPTY, Block, Payload
from notifybot.rendering.numbers import number
from notifybot.rendering.text import one_line, shorten

NATIVE = frozenset({"data_visualization", "data_table"})
_CHARTS, _SERIES, _POINTS, _NAME_CHARS, _TITLE_CHARS = 2, 4, 20, 20, 50
_COLUMNS, _ROWS, _CELL_CHARS, _PAGE = 7, 20, 40, 5
_REFUSED = "native_blocks_refused_at"  # in the notifier's memory
_ASK_AGAIN = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class _Words:
    epoch: str
    last: str
    table: str


_WORDS = {
    Language.EN: _Words("epoch", "{names}: last {count} epochs", "The last {count} epochs"),
    Language.KO: _Words("에포크", "{names}: 최근 {count}에포크", "최근 {count}에포크"),
}


def dressed(payload: Payload, event: Event, language: Language, *, charts: bool) -> Payload:
    """The same with what Slack draws itself: `charts` of a new best or an ending, and an ending's table of epochs."""
    more: list[Block] = []
    if charts and isinstance(event, EpochFinished) and event.new_best:
        more += _charts(event.progress, language, focus=event.new_best, most=1)
    if isinstance(event, RunEnded):
        more += _charts(event.progress, language, focus=None, most=_CHARTS) if charts else []
        more += _table(event.progress, language)
    named = [{**block, "block_id": f"{shorten(event.id, 100)}.native.{at}"} for at, block in enumerate(more)]
    cards = payload.attachments
    if any(block["type"] == "data_table" for block in named):  # some workspaces take one of either kind in a message
        cards = tuple(
            {**card, "blocks": [each for each in card["blocks"] if each["type"] != "table"]} for card in cards
        )
    return replace(payload, blocks=(*payload.blocks, *named), attachments=cards)


def undressed(payload: Payload) -> Payload:
    """The same without it; the very same object where there was none."""
    kept = tuple(block for block in payload.blocks if block["type"] not in NATIVE)
    return payload if len(kept) == len(payload.blocks) else replace(payload, blocks=kept)


def are_taken(memory: Memory, now: datetime) -> bool:
    """False for a month after this workspace refused them: it may have them by then."""
    refused_at = memory.get("").get(_REFUSED)
    try:
        return refused_at is None or now - datetime.fromisoformat(refused_at) > _ASK_AGAIN
    except (TypeError, ValueError):
        return True


def refuse(memory: Memory, now: datetime) -> None:
    """Remember that this workspace does not have them."""
    memory.put("", memory.get("") | {_REFUSED: now.isoformat()})


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
    words = _WORDS[language]
    labels = [f"{each:.0f}" for each in whole]
    series = [
        {"name": name, "data": [{"label": f"{each:.0f}", "value": points[each]} for each in whole]}
        for name, points in curves.items()
    ]
    axes = {"categories": labels, "x_label": words.epoch}
    title = words.last.format(names=", ".join(curves), count=len(whole))
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
    words = _WORDS[language]
    heading = [_text(words.epoch), *(_text(name) for name in recent)]
    rows = [[_number(epoch), *(_number(points.get(epoch)) for points in recent.values())] for epoch in epochs]
    caption = words.table.format(count=len(epochs))
    return [{"type": "data_table", "caption": caption, "page_size": _PAGE, "rows": [heading, *rows]}]


def _recent(progress: Progress) -> Mapping[str, dict[float, float]]:
    """The latest values of each metric by epoch, as far as an event remembers them."""
    return {
        name: {float(epoch): value for epoch, value in metric.points(progress.place)}
        for name, metric in progress.metrics.items()
    }


def _text(text: str) -> Block:
    return {"type": "raw_text", "text": shorten(one_line(text), _CELL_CHARS) or EMPTY}


def _number(value: float | None) -> dict[str, Any]:
    if value is None or not math.isfinite(value):
        return _text(EMPTY if value is None else number(value))
    return {"type": "raw_number", "value": value, "text": number(value)}
