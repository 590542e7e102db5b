"""When to try again. Pure: asked with the facts, answers with a number of seconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from random import Random

from notifybot.errors import TemporaryError

BASE_S = 1.0
CAP_S = 300.0
RETRY_AFTER_CAP_S = 3600.0
TRIES_AN_HOUR = 12
_HOUR_S = 3600.0


def delay_s(failures: Sequence[float], now_s: float, error: TemporaryError, rng: Random) -> float:
    """Seconds to wait after the latest of `failures` (their monotonic moments in seconds, oldest first).

    Exponential with full jitter: uniform between nothing and 1, 2, 4 … up to 300 s. The receiver's own Retry-After
    is a lower bound (at most an hour of it is believed). An outage sees at most 12 tries in any hour: once the
    quick ones are spent, the rest are spread evenly over what is left of it.
    """
    window = min(CAP_S, BASE_S * 2.0 ** min(len(failures) - 1, 16))
    wait = rng.uniform(0.0, window)
    recent = [moment for moment in failures if now_s - moment < _HOUR_S]
    if len(recent) >= TRIES_AN_HOUR:
        wait = max(wait, recent[-TRIES_AN_HOUR] + _HOUR_S - now_s)
    elif len(recent) >= TRIES_AN_HOUR // 2:
        left = recent[0] + _HOUR_S - now_s
        wait = max(wait, left / (TRIES_AN_HOUR - len(recent) + 1) * rng.uniform(0.7, 1.3))
    if error.retry_after_s is not None:
        wait = max(wait, min(error.retry_after_s, RETRY_AFTER_CAP_S))
    return wait


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header in either form, in seconds from `now`, at most an hour; None for garbage.

    Forms: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after (a fraction of a second is taken as well).
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (moment - now).total_seconds() if moment.tzinfo else float("nan")
    if seconds != seconds or seconds < 0:
        return None if seconds != seconds else 0.0
    return min(seconds, RETRY_AFTER_CAP_S)
