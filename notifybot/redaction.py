"""Secret values never leave: they are known here by value, and struck out of any text on its way out."""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MARK = "[redacted]"
_SHORTEST = 8  # shorter values would strike out ordinary words

_lock = threading.Lock()
_forms: tuple[str, ...] = ()


def register(secrets: Iterable[str | None]) -> None:
    """Remember secret values (raw, URL-encoded and base64 forms) for `redact`. Idempotent."""
    global _forms
    with _lock:
        known = set(_forms)
        for secret in secrets:
            if secret and len(secret) >= _SHORTEST:
                known.update(_spellings(secret))
        _forms = tuple(sorted(known, key=len, reverse=True))


def _spellings(secret: str) -> set[str]:
    forms = {secret, quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode()).decode()}
    _, _, path = secret.partition("://")
    if "/" in path:  # a webhook URL is logged by HTTP libraries as its path alone
        forms.add("/" + path.partition("/")[2])
    return {form for form in forms if len(form) >= _SHORTEST}


def redact(text: str) -> str:
    """Return `text` with every registered secret replaced by a mark."""
    for form in _forms:
        if form in text:
            text = text.replace(form, MARK)
    return text


class RedactingFilter(logging.Filter):
    """Strikes secrets out of log records. Put on the loggers of HTTP libraries, which log paths at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        clean = redact(message)
        if clean != message:
            record.msg, record.args = clean, ()
        if (
            record.exc_info
            and record.exc_info[1] is not None
            and redact(str(record.exc_info[1])) != str(record.exc_info[1])
        ):
            record.exc_info, record.exc_text = None, None
        return True


_FILTER = RedactingFilter()
_TALKATIVE = (
    "urllib3.connectionpool", "urllib3.util.retry", "requests", "notifybot", "slack_sdk",
    "slack_sdk.webhook.client", "slack_sdk.web.base_client", "slack_sdk.web.client",
)  # fmt: skip


def guard_loggers() -> None:
    """Put the redacting filter on every logger known to print request paths. Idempotent."""
    for name in _TALKATIVE:
        logger = logging.getLogger(name)
        if _FILTER not in logger.filters:
            logger.addFilter(_FILTER)
