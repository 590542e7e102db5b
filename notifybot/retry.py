"""Retry policy: seconds until the next try, from the failures so far and Retry-After. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from random import Random

from notifybot.errors import TemporaryError

BASE_S = 1.0
QUICK_TRIES = 6  # tries with waits of up to 1, 2, 4 … 32 s: half a minute on average
QUICK_S = 60.0  # the length of a short outage; after it, one probe a minute
PROBE_S = 60.0
RETRY_AFTER_CAP_S = 3600.0


def delay_s(failures: Sequence[float], now_s: float, error: TemporaryError, rng: Random) -> float:
    """Seconds to wait after the latest of `failures` (their monotonic moments in seconds, oldest first).

    Exponential with full jitter within an outage's first minute, then one probe a minute: a receiver that is back is
    noticed within 60 s and sees at most 67 tries of a process in an hour. The first minute's jitter has spread the
    processes that probe. The receiver's own Retry-After is a lower bound (at most an hour of it is believed).
    """
    is_new = len(failures) <= QUICK_TRIES and now_s - failures[0] < QUICK_S
    wait = rng.uniform(0.0, BASE_S * 2.0 ** (len(failures) - 1)) if is_new else PROBE_S
    return max(wait, bound_s(error))


def bound_s(error: TemporaryError) -> float:
    """Seconds before which the receiver does not want to be asked again, whatever else there is to send."""
    return min(error.retry_after_s or 0.0, RETRY_AFTER_CAP_S)


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
