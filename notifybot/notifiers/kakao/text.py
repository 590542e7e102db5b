"""Text measured and cut the way KakaoTalk may count it."""

from __future__ import annotations

from notifybot.rendering.text import ELLIPSIS, shorten


def units(text: str) -> int:
    """Length in UTF-16 code units: the strictest count that a service could use (most emoji are two)."""
    return len(text) + sum(1 for each in text if each > "\uffff")


def cut(text: str, limit_units: int) -> str:
    """Return `text` in at most `limit_units` UTF-16 units, ending in an ellipsis where something was cut."""
    limit = limit_units
    while units(short := shorten(text, limit)) > limit_units:
        limit = min(limit, len(short)) - 1
    return short


def prefix(text: str, limit_units: int) -> str:
    """The beginning of `text` in at most `limit_units` UTF-16 units, no character split, without an ellipsis."""
    if units(text) <= limit_units:
        return text
    return cut(text + ELLIPSIS, limit_units + 1).removesuffix(ELLIPSIS)  # one more, so that `cut` always has to cut
