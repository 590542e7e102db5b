"""Validation of the arguments of alert rules."""

from __future__ import annotations

import math
import operator
import os
from typing import SupportsIndex

from notifybot.errors import UsageError, reader_list, reader_text


def finite(name: str, value: float) -> float:
    """Return a finite number. Raises UsageError."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(reader_text("alerts.validation.not_finite", name=name, value=f"{value!r:.80}"))
    return number


def more_than(least: float, name: str, value: float) -> float:
    """Return a finite number above `least`. Raises UsageError."""
    number = finite(name, value)
    if number <= least:
        raise UsageError(
            reader_text("alerts.validation.too_small", name=name, least=f"{least:g}", number=f"{number:g}")
        )
    return number


def not_negative(name: str, value: float) -> float:
    """Return a finite number of at least 0. Raises UsageError."""
    number = finite(name, value)
    if number < 0:
        raise UsageError(reader_text("alerts.validation.negative", name=name, number=f"{number:g}"))
    return number


def share(name: str, value: float) -> float:
    """Return a percentage above 0 and below 100. Raises UsageError."""
    number = finite(name, value)
    if not 0 < number < 100:
        raise UsageError(reader_text("alerts.validation.no_percentage", name=name, number=f"{number:g}"))
    return number


def count(name: str, value: SupportsIndex) -> int:
    """Return a whole number of at least 1. Raises UsageError."""
    number = None if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(value)
    if number is None or number < 1:
        raise UsageError(reader_text("alerts.validation.no_whole_number", name=name, value=f"{value!r:.80}"))
    return number


def one_of(**given: object) -> None:
    """Raise UsageError unless exactly one of the arguments was given."""
    if sum(value is not None for value in given.values()) != 1:
        names = [f"{name}=…" for name in given]
        raise UsageError(reader_text("alerts.validation.give_one_of", names=reader_list(names)))


def folder(path: object) -> str:
    """Return a folder's path as text. Raises UsageError."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    if not isinstance(text, str) or not text.strip():
        raise UsageError(reader_text("alerts.validation.no_path", path=f"{path!r:.80}"))
    return text
