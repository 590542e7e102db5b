"""Reason for the state of a delivery: its form in the column `deliveries.error`, written and read.

A reason is stored without a language, as JSON. Anything else is text, and is its own reason: notes of an earlier
version, and the words of a notifier that has no codes.
"""

from __future__ import annotations

import json

from notifybot.types import Reason

KEPT = "kept back: "  # prefix of the reason of a delivery that is held to be sent together with others
LIMIT_CHARS = 500
_TEXT = "noted"
_ROOM = LIMIT_CHARS - len(KEPT)
_CODE_CHARS, _LEAST_CHARS = 120, 8


def to_text(reason: Reason) -> str:
    """Return the stored form of a reason, within the column's limit."""
    if reason.code == _TEXT:
        return reason.values.get("text", "")[:LIMIT_CHARS]
    code, values, limit = reason.code[:_CODE_CHARS], dict(reason.values), LIMIT_CHARS
    while len(text := json.dumps({"code": code, "values": values}, ensure_ascii=False)) > _ROOM:
        limit //= 2
        values = {name: value[:limit] for name, value in values.items()} if limit >= _LEAST_CHARS else {}
    return text


def noted(code: str) -> str:
    """Return the stored form of the outbox's own reasons: `held.folded` for "folded"."""
    return to_text(Reason(f"held.{code}"))


def from_text(text: str) -> Reason:
    """Return the reason that a stored text holds."""
    if text.startswith(KEPT):
        why = from_text(text.removeprefix(KEPT))
        return Reason(f"kept/{why.code}", values=why.values)
    try:
        fields = json.loads(text) if text.startswith("{") else {}
        code, values = fields["code"], fields["values"]
        return Reason(str(code), values={str(name): str(value) for name, value in values.items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return Reason(_TEXT, values={"text": text})
