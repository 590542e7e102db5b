"""Text that came from the user's program, made fit to be stored and sent."""

from __future__ import annotations

from notifybot.redaction import redact
from notifybot.rendering.text import shorten


def clean(text: str, limit_chars: int) -> str:
    """Return `text` without secrets and half characters, cut between two characters to `limit_chars`.

    Secrets go first: half a token would no longer be recognised. A lone surrogate has no UTF-8 form.
    """
    text = redact(text).encode("utf-8", "replace").decode("utf-8").replace("\x00", "")
    return shorten(text, limit_chars)


def written(value: object) -> str | None:
    """`str(value)`; None where the value's own code raises, or is nested too deeply. Never raises."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001  a foreign __str__ or __repr__ may raise anything
        return None


def one_line(text: str, limit_chars: int) -> str:
    """`clean`, with every run of white space made one space."""
    return clean(" ".join(text.split()), limit_chars)
