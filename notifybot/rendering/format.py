"""Numbers as people read them: metric values, changes, durations, sizes, and small pictures made of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from notifybot.types import Language

MINUS = "\u2212"  # as wide as the plus sign, so that changes line up
UNCHANGED = "±0"
GAP = "·"

_BARS = "▁▂▃▄▅▆▇█"
_SPARK_WIDTH = 16
_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")
_MOST_EPOCHS = 10**9
_LONGEST_S = 1e12  # thirty thousand years: nobody measured that
_COUNTS = ("", " k", " M", " B", " T")
_KOREAN_COUNTS = ((10**12, "조"), (10**8, "억"), (10**4, "만"))
_UNITS = {
    Language.EN: ((86_400, " d"), (3_600, " h"), (60, " min"), (1, " s")),
    Language.KO: ((86_400, "일"), (3_600, "시간"), (60, "분"), (1, "초")),
}


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


def change(value: float, previous: float | None) -> str:
    """Return how far `value` moved from `previous`, signed: "+1.3", "−0.012", "±0"; empty where that says nothing."""
    if previous is None:
        return ""
    step = value - previous
    if not math.isfinite(step):
        return ""
    if step == 0:
        return UNCHANGED
    return ("+" if step > 0 else "") + number(step, 3)


def duration(seconds: float, language: Language) -> str:
    """Return a time span in its two largest units: "1 h 12 min", "1시간 12분", "0.4 s"; empty beyond all sense."""
    if not -math.inf < seconds <= _LONGEST_S:
        return ""
    seconds = max(seconds, 0.0)
    if seconds < 9.95:
        shown = f"{seconds:.1f}".removesuffix(".0") if seconds >= 1 or seconds < 0.001 else f"{seconds:.2g}"
        return shown + _UNITS[language][-1][1]
    whole = round(seconds) if seconds < 600 else round(seconds / 60) * 60  # nobody reads the seconds of an hour
    parts = []
    for size, unit in _UNITS[language]:
        many, whole = divmod(whole, size)
        parts.append(f"{many}{unit}" if many else "")
    first = next(at for at, part in enumerate(parts) if part)
    return " ".join(part for part in parts[first : first + 2] if part)


def about(seconds: float, language: Language) -> str:
    """Return an estimated time span, rounded as an estimate should be: to minutes from one minute on."""
    return duration(round(seconds / 60) * 60 if 60 <= seconds <= _LONGEST_S else seconds, language)


def has_end(total: int | None) -> bool:
    """True for a number of epochs that somebody means to reach: `range(sys.maxsize)` says that there is no end."""
    return total is not None and 0 < total <= _MOST_EPOCHS


def size(count_bytes: int) -> str:
    """Return a file's size in decimal units: "512 B", "44.7 MB"."""
    value, unit = _scaled(count_bytes, len(_SIZES))
    return f"{value} {_SIZES[unit]}"


def memory(count_bytes: int) -> str:
    """Return a machine's memory as its makers and Colab state it, a GB being 2**30 bytes: "12.7 GB"."""
    return f"{count_bytes / 2**30:.1f}".removesuffix(".0") + " GB"


def count(many: int, language: Language) -> str:
    """Return a large number of things in short: "950", "1.2 k", "11.7 M"; in Korean, by ten thousands, "1,170만 개"."""
    if language is Language.KO:
        return _korean_count(many)
    value, unit = _scaled(many, len(_COUNTS))
    return value + _COUNTS[unit]


def _korean_count(many: int) -> str:
    for size, unit in _KOREAN_COUNTS:
        if many >= 0.99995 * size:  # what rounds up to the larger unit is told in it
            share = many / size
            return f"{share:,.1f}".removesuffix(".0") + f"{unit} 개" if share < 9.95 else f"{share:,.0f}{unit} 개"
    return f"{many:,}개"


def _scaled(many: float, units: int) -> tuple[str, int]:
    """The number below 1000 with one decimal, and which power of 1000 it was divided by."""
    unit = 0
    while many >= 999.95 and unit < units - 1:
        many, unit = many / 1000, unit + 1
    return f"{many:.1f}".removesuffix(".0"), unit


def percent(done: int, total: int) -> str:
    """Return the share of the work that is done, rounded down so that only the end is "100%"."""
    return f"{min(max(done, 0) * 100 // total, 100)}%" if total > 0 else ""


def progress_bar(done: int, total: int, width: int = 10) -> str:
    """Return the share of the work that is done as `width` characters: "▓▓▓░░░░░░░"."""
    if total <= 0:
        return ""
    full = min(max(done, 0) * width // total, width)
    return "▓" * full + "░" * (width - full)


def sparkline(history: Sequence[float]) -> str:
    """Return the course of a metric as at most 16 bars, the latest last: "█▆▄▂▁".

    NaN is a gap, infinity stands at the edge; a course that does not move lies in the middle.
    """
    points = _downsample(history)
    finite = [each for each in points if math.isfinite(each)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    return "".join(_bar(each, low, high) for each in points)


def _bar(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return GAP
    if math.isinf(value):
        return _BARS[-1 if value > 0 else 0]
    span = high / 2 - low / 2  # halved, as the whole may be more than a float holds
    if span == 0:
        return _BARS[3]
    share = (value / 2 - low / 2) / span
    return _BARS[min(int(share * len(_BARS)), len(_BARS) - 1)]


def _downsample(history: Sequence[float]) -> list[float]:
    if len(history) <= _SPARK_WIDTH:
        return list(history)
    edges = [at * len(history) // _SPARK_WIDTH for at in range(_SPARK_WIDTH + 1)]
    return [_mean(history[start:end]) for start, end in pairwise(edges)]


def _mean(values: Sequence[float]) -> float:
    known = [each for each in values if not math.isnan(each)]
    return sum(each / len(known) for each in known) if known else math.nan
