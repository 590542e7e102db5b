"""Why a delivery stands as it does, as the column `deliveries.error` holds it.

A reason is kept in no language, as JSON. Anything else is text, and a reason by itself: what an earlier version noted,
and the words of a notifier that has no codes.
"""

from __future__ import annotations

import json

from notifybot.types import Reason

KEPT = "kept back: "  # begins the reason of a delivery that waits to be told together with others
LIMIT_CHARS = 500
_TEXT = "noted"
_ROOM = LIMIT_CHARS - len(KEPT)
_CODE_CHARS, _LEAST_CHARS = 120, 8


def to_text(reason: Reason) -> str:
    """A reason as it is stored, within the column's limit."""
    if reason.code == _TEXT:
        return reason.values.get("text", "")[:LIMIT_CHARS]
    code, values, limit = reason.code[:_CODE_CHARS], dict(reason.values), LIMIT_CHARS
    while len(text := json.dumps({"code": code, "values": values}, ensure_ascii=False)) > _ROOM:
        limit //= 2
        values = {name: value[:limit] for name, value in values.items()} if limit >= _LEAST_CHARS else {}
    return text


def noted(code: str) -> str:
    """What the outbox notes of its own doing, as it is stored: `held.folded` for "folded"."""
    return to_text(Reason(f"held.{code}"))


def from_text(text: str) -> Reason:
    """The reason that a delivery was stored with."""
    if text.startswith(KEPT):
        why = from_text(text.removeprefix(KEPT))
        return Reason(f"kept/{why.code}", values=why.values)
    try:
        fields = json.loads(text) if text.startswith("{") else {}
        code, values = fields["code"], fields["values"]
        return Reason(str(code), values={str(name): str(value) for name, value in values.items()})
    except (ValueError, KeyError, TypeError, AttributeError):
        return Reason(_TEXT, values={"text": text})
