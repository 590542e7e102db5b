"""Numbers as people read them: metric values, changes, durations, sizes, and small pictures made of characters."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from notifybot.i18n import text
from notifybot.redaction import redact
from notifybot.rendering.labels import epoch_name
from notifybot.rendering.text import one_line, safe_line, shorten
from notifybot.types import Checkpoint, Host, Language, Metric, MetricRow, ModelSize, Progress, Resumed, Tier, Unit

MINUS = "\u2212"  # as wide as the plus sign, so that changes line up
UNCHANGED = "±0"
GAP = "·"

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 16
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")
_LONGEST_S = 1e12  # 30,000 years: no real measurement
_COUNTS = "unit.counts"  # its units from the smallest: of thousands in English, of ten thousands in Korean
_SPANS = ((86_400, "unit.days"), (3_600, "unit.hours"), (60, "unit.minutes"), (1, "unit.seconds"))


def number(value: float, digits: int = 4) -> str:
    """Return a metric's value in `digits` significant digits, whole numbers below ten million in full.

    Scientific where it would be longer than it is clear: 1.235e-5. NaN and infinity as "NaN", "∞", "−∞".
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else MINUS + "∞"
    size = abs(value)
    if 1e-4 <= size < 1e7 or size == 0:
        text = f"{size:.0f}" if size == int(size) or size >= 10**digits - 0.5 else f"{size:.{digits}g}"
    else:
        mantissa, _, exponent = f"{size:.{digits - 1}e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}".replace("-", MINUS)
    return MINUS + text if value < 0 else text


def duration(seconds: float, language: Language) -> str:
    """Return a time span in its two largest units: "1 h 12 min", "1시간 12분", "0.4 s"; empty beyond all sense."""
    if not -math.inf < seconds <= _LONGEST_S:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        shown = f"{seconds:.1f}".removesuffix(".0") if seconds >= 1 or seconds < 0.001 else f"{seconds:.2g}"
        return text(language, "unit.seconds", count=shown)
    whole = round(seconds) if seconds < 600 else round(seconds / 60) * 60  # seconds are noise beyond ten minutes
    parts = []
    for size, key in _SPANS:
        many, whole = divmod(whole, size)
        parts.append(text(language, key, count=many) if many else "")
    first = next(at for at, part in enumerate(parts) if part)
    return " ".join(part for part in parts[first : first + 2] if part)


def about(seconds: float, language: Language) -> str:
    """Return an estimated time span, rounded as an estimate should be: to minutes from one minute on."""
    return duration(round(seconds / 60) * 60 if 60 <= seconds <= _LONGEST_S else seconds, language)


def size(count_bytes: int) -> str:
    """Return a file's size in decimal units: "512 B", "44.7 MB"."""
    value, unit = _scaled(count_bytes, len(_SIZES))
    return f"{value} {_SIZES[unit]}"


def memory(count_bytes: int) -> str:
    """Return a machine's memory as its makers and Colab state it, a GB being 2**30 bytes: "12.7 GB"."""
    return f"{count_bytes / 2**30:.1f}".removesuffix(".0") + " GB"


def count(many: int, language: Language) -> str:
    """Return a large number of things in short: "950", "1.2 k", "11.7 M"; in Korean, by ten thousands, "1,170만 개"."""
    if language is Language.KO:  # a value that rounds up to the larger unit is shown in it
        unit = next((unit for unit in (3, 2, 1) if many / 10_000**unit >= 0.99995), 0)
        share = many / 10_000**unit
        shown = f"{share:,.1f}".removesuffix(".0") if unit and share < 9.95 else f"{share:,.0f}"
    else:
        shown, unit = _scaled(many, text(language, _COUNTS).count("|") + 1)
    return text(language, _COUNTS, number=shown).split("|")[unit]


def _scaled(many: float, units: int) -> tuple[str, int]:
    """The number below 1000 with one decimal, and which power of 1000 it was divided by."""
    unit = 0
    while many >= 999.95 and unit < units - 1:
        many, unit = many / 1000, unit + 1
    return f"{many:.1f}".removesuffix(".0"), unit


def sparkline(history: Sequence[float]) -> str:
    """Return the course of a metric as at most 16 bars, the latest last: "█▆▄▂▁".

    NaN is a gap, infinity is at the edge; a constant course is in the middle.
    """
    points = list(history)
    if len(points) > _SPARK_WIDTH:  # means of equal stretches
        edges = [at * len(history) // _SPARK_WIDTH for at in range(_SPARK_WIDTH + 1)]
        known = [[each for each in history[start:end] if not math.isnan(each)] for start, end in pairwise(edges)]
        points = [sum(each / len(part) for each in part) if part else math.nan for part in known]
    finite = [each for each in points if math.isfinite(each)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    bottom = low / 2  # halved, as the whole span may be more than a float holds
    span, top = high / 2 - bottom, len(_BARS) - 1
    bars = []
    for each in points:
        if math.isfinite(each):
            bars.append(_BARS[min(int((each / 2 - bottom) / span * len(_BARS)), top) if span else 3])
        else:
            bars.append(GAP if math.isnan(each) else _BARS[-1 if each > 0 else 0])
    return "".join(bars)


STAR = "★"
_LIMIT_ROWS = 100  # more is a mistake in the caller's loop, not a table
_LIMIT_NAME = 40
LIMIT_LINE_NAME = 24
_LIMIT_LINE_ITEMS = 6


def headings(language: Language) -> tuple[str, str, str, str, str]:
    """Return the headings of the columns of the metrics."""
    metric, value, changed = (text(language, f"heading.{name}") for name in ("metric", "value", "change"))
    return metric, value, changed, text(language, "heading.best"), text(language, "heading.trend")


def metric_rows(progress: Progress, language: Language) -> tuple[MetricRow, ...]:
    """Return one row a metric, in the order they were logged. A change is signed: "+1.3", "−0.012", "±0"."""
    rows = []
    for name, metric in list(progress.shown.items())[:_LIMIT_ROWS]:
        change = ""
        if metric.previous is not None and math.isfinite(step := metric.value - metric.previous):
            change = f"{'+' if step > 0 else ''}{number(step, 3)}" if step else UNCHANGED
        row = MetricRow(
            name=shorten(one_line(name), _LIMIT_NAME),
            value=number(metric.value),
            change=change,
            best=STAR if is_best(metric, progress.epoch) else best_text(metric, language, progress.unit),
            spark=sparkline(metric.history) if len(metric.history) > 1 else "",
        )
        rows.append(row)
    return tuple(rows)


def is_best(metric: Metric, epoch: int | None) -> bool:
    """True when this epoch's value is the best so far."""
    return metric.best == metric.value and metric.best_epoch in (None, epoch)


def best_text(metric: Metric, language: Language, unit: Unit = "epoch") -> str:
    """Return a metric's best value, with its epoch where that is known: "0.88 (epoch 14)", "0.88 (step 1,500)"."""
    if metric.best is None:
        return ""
    reached = f" ({epoch_name(metric.best_epoch, language, unit)})" if metric.best_epoch is not None else ""
    return number(metric.best) + reached


def row_text(row: MetricRow) -> str:
    """Return a row as words: "loss 0.412 (−0.021)", with a star where it is the best so far."""
    changed = f" ({row.change})" if row.change not in ("", UNCHANGED) else ""
    star = f" {STAR}" if row.best == STAR else ""
    return f"{shorten(row.name, LIMIT_LINE_NAME)} {row.value}{changed}{star}"


def joined(items: Iterable[str], limit: int) -> str:
    """Join whole items to one line as long as they fit, at most six; the first is always there."""
    line = ""
    for count, item in enumerate(items):
        longer = f"{line} · {item}" if line else item
        if line and (len(longer) > limit or count >= _LIMIT_LINE_ITEMS):
            break
        line = longer
    return line


_LIMIT_DEVICE = 32
_LIMIT_FROZEN = 48
_MAKERS = re.compile(r"^((NVIDIA|AMD|Intel|Tesla|GeForce|Quadro)(\(R\))?\s+)+(?=\S)", re.IGNORECASE)


def model_line(model: ModelSize | None, language: Language) -> str:
    """Return how large a model is and how much of it learns: "1.2 M of 11.7 M parameters learn · frozen: backbone"."""
    if model is None:
        return ""
    total = count(model.total, language)
    if model.trainable >= model.total:
        return text(language, "phrase.parameters", count=total)
    learns = text(language, "phrase.trainable", trainable=count(model.trainable, language), total=total)
    names = _names(model.frozen)
    return f"{learns} · {text(language, 'phrase.frozen', names=names)}" if names else learns


def tier_words(checkpoint: Checkpoint | None, language: Language) -> str:
    """Return how safe a checkpoint is, in a few words; empty if it was not checked.

    "Only on this machine" is said where machines are reset: on a person's own it is no news.
    """
    if checkpoint is None or checkpoint.tier is Tier.UNPROVEN:
        return ""
    if checkpoint.tier is Tier.READABLE:
        return text(language, "phrase.readable")
    if checkpoint.tier is Tier.REMOTE:
        return text(language, "phrase.copied")
    return text(language, "phrase.on_machine" if checkpoint.fleeting else "phrase.on_disk")


def short_device(name: str) -> str:
    """Return an accelerator's name without its makers: "T4" for "Tesla T4"."""
    return safe_line(_MAKERS.sub("", one_line(name)), _LIMIT_DEVICE)


def new_device(resumed: Resumed, host: Host, language: Language) -> str:
    """Return what a session was moved to, its accelerator or just a machine; empty where it stayed."""
    return (short_device(host.device) or text(language, "phrase.machine")) if resumed.new_machine else ""


def lost_work(resumed: Resumed, language: Language) -> str:
    """Return how much work is done again: "12 min". Empty where there is none, or it is not known."""
    return about(resumed.lost_s, language) if resumed.lost_s is not None and resumed.lost_s >= 1 else ""


def next_epoch(resumed: Resumed, progress: Progress, language: Language) -> str:
    """Return the epoch that a resumed session works on: "epoch 18". Empty where there is none or nobody can know.

    Where it could not be seen (a generator's, or an event of an older version), labels that so far were counted from
    0 or 1 show it; a single one does not: `range(0, 30, 5)` begins at 0 as well.
    """
    if resumed.epoch is None:
        return text(language, f"phrase.first_{progress.unit}")
    if resumed.next_epoch is not None:
        return epoch_name(resumed.next_epoch, language, progress.unit)
    if progress.total and progress.done >= progress.total:
        return ""
    counted = not progress.done or (progress.done > 1 and resumed.epoch - progress.done in (-1, 0))
    return epoch_name(resumed.epoch + 1, language, progress.unit) if counted else ""


def _names(names: Sequence[str]) -> str:
    """The first names in one line that fits, and how many more there are: "backbone, embed +3"."""
    shown: list[str] = []
    for name in names:
        longer = [*shown, redact(one_line(name))]
        if shown and len(", ".join(longer)) > _LIMIT_FROZEN:
            break
        shown = longer
    line = shorten(", ".join(shown), _LIMIT_FROZEN)
    return f"{line} +{len(names) - len(shown)}" if len(names) > len(shown) else line
