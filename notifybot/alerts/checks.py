"""Numbers that rules are made with, checked where they are given."""

from __future__ import annotations

import math
import operator
import os
from typing import SupportsIndex

from notifybot.errors import UsageError


def finite(name: str, value: float) -> float:
    """A finite number. Raises UsageError."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{name} is a finite number, not {value!r:.80}")
    return number


def more_than(least: float, name: str, value: float) -> float:
    """A finite number above `least`. Raises UsageError."""
    number = finite(name, value)
    if number <= least:
        raise UsageError(f"{name} is more than {least:g}, not {number:g}")
    return number


def not_negative(name: str, value: float) -> float:
    """A finite number of at least 0. Raises UsageError."""
    number = finite(name, value)
    if number < 0:
        raise UsageError(f"{name} is at least 0, not {number:g}")
    return number


def share(name: str, value: float) -> float:
    """A percentage between 0 and 100, neither of them. Raises UsageError."""
    number = finite(name, value)
    if not 0 < number < 100:
        raise UsageError(f"{name} is between 0 and 100, not {number:g}")
    return number


def count(name: str, value: SupportsIndex) -> int:
    """A whole number of at least 1. Raises UsageError."""
    number = None if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(value)
    if number is None or number < 1:
        raise UsageError(f"{name} is a whole number of at least 1, not {value!r:.80}")
    return number


def one_of(**given: object) -> None:
    """Raise UsageError unless exactly one of the arguments was given."""
    if sum(value is not None for value in given.values()) != 1:
        raise UsageError(f"give one of {' and '.join(f'{name}=…' for name in given)}")


def folder(path: object) -> str:
    """A folder's path as text. Raises UsageError."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    if not isinstance(text, str) or not text.strip():
        raise UsageError(f"low_disk takes the paths of folders, not {path!r:.80}")
    return text
