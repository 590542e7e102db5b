"""The metrics of an epoch as rows to read, beside the epoch before and the best so far."""

from __future__ import annotations

from collections.abc import Iterable

from notifybot.rendering.format import UNCHANGED, change, number, sparkline
from notifybot.rendering.labels import epoch_name
from notifybot.rendering.text import one_line, shorten
from notifybot.types import Language, Metric, MetricRow, Progress

STAR = "★"
HEADINGS = {
    Language.EN: ("Metric", "Value", "Change", "Best", "Trend"),
    Language.KO: ("지표", "값", "변화", "최고", "추세"),
}

_LIMIT_ROWS = 100  # more is a mistake in the caller's loop, not a table
_LIMIT_NAME = 40
_LIMIT_LINE_NAME = 24
_LIMIT_LINE_ITEMS = 6


def metric_rows(progress: Progress, language: Language) -> tuple[MetricRow, ...]:
    """Return one row a metric, in the order they were logged."""
    metrics = list(progress.metrics.items())[:_LIMIT_ROWS]
    return tuple(_row(name, metric, progress.epoch, language) for name, metric in metrics)


def rowless(progress: Progress) -> int:
    """Count the metrics that have no row."""
    return max(len(progress.metrics) - _LIMIT_ROWS, 0) + progress.more


def _row(name: str, metric: Metric, epoch: int | None, language: Language) -> MetricRow:
    return MetricRow(
        name=shorten(one_line(name), _LIMIT_NAME),
        value=number(metric.value),
        change=change(metric.value, metric.previous),
        best=_best(metric, epoch, language),
        spark=sparkline(metric.history) if len(metric.history) > 1 else "",
    )


def _best(metric: Metric, epoch: int | None, language: Language) -> str:
    if metric.best is None:
        return ""
    if is_best(metric, epoch):
        return STAR
    return number(metric.best) + at_epoch(metric.best_epoch, language)


def is_best(metric: Metric, epoch: int | None) -> bool:
    """True when this epoch's value is the best so far."""
    return metric.best == metric.value and metric.best_epoch in (None, epoch)


def at_epoch(epoch: int | None, language: Language) -> str:
    """Return the epoch a value was reached in, to be put after it; empty where it is not known."""
    return f" ({epoch_name(epoch, language)})" if epoch is not None else ""


def changes_line(rows: Iterable[MetricRow], limit: int) -> str:
    """Return the first metrics in one line that fits, with what changed: "loss 0.412 (−0.021) · val_acc 0.871 ★"."""
    return _line(map(row_text, rows), limit)


def values_line(rows: Iterable[MetricRow], limit: int) -> str:
    """Return the first metrics in one line that fits, values alone: "loss 0.412 · val_acc 0.871"."""
    return _line((f"{shorten(row.name, _LIMIT_LINE_NAME)} {row.value}" for row in rows), limit)


def best_line(progress: Progress, language: Language, limit: int) -> str:
    """Return the best values of the run in one line that fits: "val_acc 0.912 (epoch 28)"."""
    return _line(
        (
            f"{shorten(one_line(name), _LIMIT_LINE_NAME)} {number(each.best)}{at_epoch(each.best_epoch, language)}"
            for name, each in progress.metrics.items()
            if each.best is not None
        ),
        limit,
    )


def row_text(row: MetricRow) -> str:
    """Return a row as words: "loss 0.412 (−0.021)", with a star where it is the best so far."""
    changed = f" ({row.change})" if row.change not in ("", UNCHANGED) else ""
    star = f" {STAR}" if row.best == STAR else ""
    return f"{shorten(row.name, _LIMIT_LINE_NAME)} {row.value}{changed}{star}"


def _line(items: Iterable[str], limit: int) -> str:
    """Join whole items as long as they fit; the first is always there."""
    line = ""
    for count, item in enumerate(items):
        longer = f"{line} · {item}" if line else item
        if line and (len(longer) > limit or count >= _LIMIT_LINE_ITEMS):
            break
        line = longer
    return line
