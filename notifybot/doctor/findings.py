"""Findings of the doctor: a sentence on the state of one thing, and one on what to do, in both languages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from notifybot.i18n import Localized, localized


class Level(StrEnum):
    """State of a thing. A `NOTE` is worth knowing, and no fault."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """State of one thing, and what to do about it."""

    part: str
    verdict: Level
    what: Localized
    remedy: Localized | None = None


def ok(part: str, what: Localized | str, **values: object) -> Finding:
    """Return a finding without anything to do. Here and below a text may be given by its key, `what` with values."""
    return Finding(part, Level.OK, _text(what, **values))


def note(part: str, what: Localized | str, remedy: Localized | str | None = None, **values: object) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(part, Level.NOTE, _text(what, **values), None if remedy is None else _text(remedy))


def wrong(part: str, what: Localized | str, remedy: Localized | str, **values: object) -> Finding:
    """Return a fault with its remedy."""
    return Finding(part, Level.WRONG, _text(what, **values), _text(remedy))


def _text(what: Localized | str, **values: object) -> Localized:
    return localized(what, **values) if isinstance(what, str) else what
