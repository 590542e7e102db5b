"""How long a Colab machine will probably stay: only a hint, as sessions have no promised length and may end earlier."""

from __future__ import annotations

from notifybot.runtime import in_colab

_HOUR_S = 3600.0
_LIMITS_H = (12, 24)  # without and with a paid plan: googlecolab/colabtools#1961 and #3254
_NEAR_S = 1.5 * _HOUR_S


def near_limit_h(up_s: float) -> int | None:
    """The hours after which a session usually ends, when that is near for a machine that is up so long."""
    return next((hours for hours in _LIMITS_H if 0 <= hours * _HOUR_S - up_s <= _NEAR_S), None)


class Lifetime:
    """The machine's age beside the usual length of a session. Knows nothing outside Colab."""

    def __init__(self, up_s: float | None, now_s: float) -> None:
        self._since_s = None if up_s is None or not in_colab() else now_s - up_s

    def near_its_end(self, now_s: float) -> tuple[int, float] | None:
        """The usual limit in hours and the machine's age in seconds, once, when the one is near the other."""
        if self._since_s is None:
            return None
        up_s = now_s - self._since_s
        limit_h = near_limit_h(up_s)
        if limit_h is None:
            return None
        self._since_s = None
        return limit_h, up_s
