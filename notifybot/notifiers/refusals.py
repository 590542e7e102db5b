"""Errors of a delivery that say why by a code, which `rendering.delivery_reasons` puts into words."""

from __future__ import annotations

from notifybot.errors import PermanentError, TemporaryError
from notifybot.rendering.delivery_reasons import in_words


def temporary(
    service: str, code: str, *, retry_after_s: float | None = None, ambiguous: bool = False, **values: str
) -> TemporaryError:
    """A TemporaryError of a service; its text is in the reader's language. `values` fill in the words."""
    text = in_words(service, code, values)
    return TemporaryError(
        text, retry_after_s=retry_after_s, ambiguous=ambiguous, service=service, code=code, values=values
    )


def permanent(service: str, code: str, *, setup: bool = False, **values: str) -> PermanentError:
    """A PermanentError of a service, in the same way."""
    return PermanentError(in_words(service, code, values), setup=setup, service=service, code=code, values=values)
