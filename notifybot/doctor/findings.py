"""What the doctor finds: one sentence on how a thing stands, and one on what to do, in both languages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from notifybot.rendering.both import Both


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
    what: Both
    remedy: Both | None = None


def ok(part: str, what: Both) -> Finding:
    """Nothing to do."""
    return Finding(part, Level.OK, what)


def note(part: str, what: Both, remedy: Both | None = None) -> Finding:
    """Worth knowing."""
    return Finding(part, Level.NOTE, what, remedy)


def wrong(part: str, what: Both, remedy: Both) -> Finding:
    """Something to mend."""
    return Finding(part, Level.WRONG, what, remedy)
