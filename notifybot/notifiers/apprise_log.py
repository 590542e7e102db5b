"""Why Apprise says no: it answers yes or no, and logs the reason beside it.

Nearly all of its plugins use the same words (counted in 2.2: 158 of 183 say "…, error=404", and the transport's own
words stand after "Socket Exception: " at DEBUG). Where there are none, nobody knows.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from notifybot.errors import DeliveryError
from notifybot.notifiers.refusals import permanent, temporary
from notifybot.redaction import guard_loggers

SERVICE = "apprise"

Line = tuple[int, str]
"""A level of `logging`, and what was said."""

_OPENED = 5  # no level of anybody's: whoever sets one later takes the logger back
_NAME = "apprise"

_STATUS = re.compile(r"\berror=(\d{3})\b")
_NO_CONNECTION = re.compile(r"connection error", re.IGNORECASE)
_TRANSPORT = re.compile(r"Socket Exception: (.*)", re.DOTALL)
_NEVER_SENT = re.compile(
    r"NewConnectionError|NameResolutionError|ConnectTimeout|Connection refused|unreachable|"
    r"Name or service not known|name resolution|nodename nor servname"
)
_NO_ANSWER = re.compile(r"timed out", re.IGNORECASE)
_SMTP = re.compile(r"\(([45]\d\d), b['\"]")  # smtplib's exceptions: (535, b'5.7.8 Username and password …')
_NOT_PROCESSED = (408, 425, 429)
_SETUP = (401, 403, 404, 405, 410)


def reason(label: str, lines: Iterable[Line]) -> DeliveryError | None:
    """What the lines of a failed send mean; None where they give no reason. No word of theirs is repeated.

    A status counts in a warning only: below it Apprise logs the message itself, in which anything may stand.
    """
    heard = list(lines)
    statuses = [int(each) for level, line in heard if level >= logging.WARNING for each in _STATUS.findall(line)]
    if statuses:
        return _status_error(label, statuses)
    transport = " ".join(found[1] for _, line in heard if (found := _TRANSPORT.match(line)))
    if refused := _SMTP.search(transport):
        return _mail_error(label, int(refused[1]))
    if _NEVER_SENT.search(transport):
        return temporary(SERVICE, "no-connection", label=label)
    if _NO_ANSWER.search(transport):
        return temporary(SERVICE, "no-answer", label=label, ambiguous=True)
    if transport or any(_NO_CONNECTION.search(line) for _, line in heard):
        return temporary(SERVICE, "broken", label=label, ambiguous=True)
    return None


def _status_error(label: str, statuses: Iterable[int]) -> DeliveryError:
    """What HTTP's statuses mean; of several receivers' the one that a later try may mend."""
    status = min(statuses, key=lambda each: each < 500 and each not in _NOT_PROCESSED)
    if status in _NOT_PROCESSED or status >= 500:
        return temporary(SERVICE, "failing", label=label, status=str(status), ambiguous=status >= 500)
    if status < 400:
        return temporary(SERVICE, "foreign", label=label, status=str(status), ambiguous=True)
    setup = status in _SETUP
    return permanent(SERVICE, "refused" if setup else "failing", label=label, status=str(status), setup=setup)


def _mail_error(label: str, code: int) -> DeliveryError:
    """A mail server's refusal: 4xx for now, 5xx for good (https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1)."""
    if code < 500:
        return temporary(SERVICE, "mail-later", label=label, status=str(code))
    return permanent(SERVICE, "mail-refused", label=label, status=str(code), setup=True)


# ── Listening ────────────────────────────────────────────────────────────────────────────────────────────────────────

_heard: ContextVar[list[Line] | None] = ContextVar("notifybot_apprise_heard", default=None)


@contextmanager
def listening() -> Iterator[list[Line]]:
    """Collect what Apprise logs on this thread meanwhile, without secrets; it is logged elsewhere as it always was."""
    lines: list[Line] = []
    token = _heard.set(lines)
    try:
        yield lines
    finally:
        _heard.reset(token)


class _Ear(logging.Filter):
    """Hears every line, and lets through what would be logged without us.

    Nothing below DEBUG: there Apprise lists a URL part by part, those too short to be known by value as well.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        lines = _heard.get()
        if lines is not None and record.levelno >= logging.DEBUG:
            lines.append((record.levelno, record.getMessage()))
        logger = logging.getLogger(_NAME)
        usual = logging.getLogger().getEffectiveLevel() if logger.level == _OPENED else logger.level
        return record.levelno >= max(usual, logging.DEBUG)


_EAR = _Ear()


def open_ear() -> None:
    """Guard Apprise's logger and listen to it. Its reasons are at DEBUG, so the logger is opened. Idempotent."""
    guard_loggers()  # first, so that what is heard is redacted
    logger = logging.getLogger(_NAME)
    logger.addFilter(_EAR)  # a filter that is there already is not added again
    if logger.level == logging.NOTSET:
        logger.setLevel(_OPENED)
