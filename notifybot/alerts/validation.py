"""Numbers that rules are made with, checked where they are given."""

from __future__ import annotations

import math
import operator
import os
from typing import SupportsIndex

from notifybot.errors import UsageError, said


def finite(name: str, value: float) -> float:
    """A finite number. Raises UsageError."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(
            said(
                f"{name} is a finite number, not {value!r:.80}",
                f"{name}에는 유한한 숫자를 넣어야 합니다. 받은 값: {value!r:.80}",
            )
        )
    return number


def more_than(least: float, name: str, value: float) -> float:
    """A finite number above `least`. Raises UsageError."""
    number = finite(name, value)
    if number <= least:
        raise UsageError(
            said(
                f"{name} is more than {least:g}, not {number:g}",
                f"{name}은(는) {least:g}보다 커야 합니다. 받은 값: {number:g}",
            )
        )
    return number


def not_negative(name: str, value: float) -> float:
    """A finite number of at least 0. Raises UsageError."""
    number = finite(name, value)
    if number < 0:
        raise UsageError(
            said(f"{name} is at least 0, not {number:g}", f"{name}은(는) 0 이상이어야 합니다. 받은 값: {number:g}")
        )
    return number


def share(name: str, value: float) -> float:
    """A percentage between 0 and 100, neither of them. Raises UsageError."""
    number = finite(name, value)
    if not 0 < number < 100:
        raise UsageError(
            said(
                f"{name} is between 0 and 100, not {number:g}",
                f"{name}은(는) 0과 100 사이여야 합니다. 받은 값: {number:g}",
            )
        )
    return number


def count(name: str, value: SupportsIndex) -> int:
    """A whole number of at least 1. Raises UsageError."""
    number = None if isinstance(value, bool) or not hasattr(value, "__index__") else operator.index(value)
    if number is None or number < 1:
        raise UsageError(
            said(
                f"{name} is a whole number of at least 1, not {value!r:.80}",
                f"{name}은(는) 1 이상의 정수여야 합니다. 받은 값: {value!r:.80}",
            )
        )
    return number


def one_of(**given: object) -> None:
    """Raise UsageError unless exactly one of the arguments was given."""
    if sum(value is not None for value in given.values()) != 1:
        names = [f"{name}=…" for name in given]
        raise UsageError(said(f"give one of {' and '.join(names)}", f"{', '.join(names)} 중 하나만 넣어야 합니다"))


def folder(path: object) -> str:
    """A folder's path as text. Raises UsageError."""
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else ""
    if not isinstance(text, str) or not text.strip():
        raise UsageError(
            said(
                f"low_disk takes the paths of folders, not {path!r:.80}",
                f"low_disk에는 폴더 경로를 넣어야 합니다. 받은 값: {path!r:.80}",
            )
        )
    return text
