"""What the doctor finds: one sentence on how a thing stands, and one on what to do, in both languages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from notifybot.i18n import Localized, localized


class Level(StrEnum):
    """How a thing stands. A `NOTE` is worth knowing, and no fault."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one thing stands, and what to do about it."""

    part: str
    verdict: Level
    what: Localized
    remedy: Localized | None = None


def ok(part: str, what: Localized | str) -> Finding:
    """Nothing to do. A text without places is given by its key, here and below."""
    return Finding(part, Level.OK, _text(what))


def note(part: str, what: Localized | str, remedy: Localized | str | None = None) -> Finding:
    """Worth knowing."""
    return Finding(part, Level.NOTE, _text(what), None if remedy is None else _text(remedy))


def wrong(part: str, what: Localized | str, remedy: Localized | str) -> Finding:
    """Something to mend."""
    return Finding(part, Level.WRONG, _text(what), _text(remedy))


def _text(what: Localized | str) -> Localized:
    return localized(what) if isinstance(what, str) else what
