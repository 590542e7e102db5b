"""Retention rule: keep a run's last and best checkpoints."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from notifybot.checkpoints.manifest import Manifest, order
from notifybot.errors import UsageError, reader_text

Mode = Literal["min", "max"]


@dataclass(frozen=True, slots=True)
class Retention:
    """Retention rule for a run's checkpoints. Raises UsageError for a rule that has no meaning."""

    keep_last: int = 3
    keep_best: int = 1
    monitor: str | None = None
    mode: Mode = "min"

    def __post_init__(self) -> None:
        for name, value in (("keep_last", self.keep_last), ("keep_best", self.keep_best)):
            if isinstance(value, bool) or not hasattr(value, "__index__"):
                raise UsageError(reader_text("checkpoints.retention.no_whole_number", name=name, value=f"{value!r}"))
            if value < 0:
                raise UsageError(reader_text("checkpoints.retention.negative", name=name, value=value))
        if self.mode not in ("min", "max"):
            raise UsageError(reader_text("checkpoints.retention.bad_mode", mode=f"{self.mode!r}"))

    def which(self, manifests: Iterable[Manifest]) -> set[str]:
        """Return the names of the `keep_last` newest and the `keep_best` best checkpoints of one run.

        Checkpoints that are not finite count for neither; the newest of them stays for inspection.
        """
        newest = sorted(manifests, key=order, reverse=True)
        usable = [each for each in newest if each.finite] or newest
        spoilt = [each for each in newest if not each.finite]
        return {each.file for each in (*usable[: self.keep_last], *self.ranked(usable)[: self.keep_best], *spoilt[:1])}

    def ranked(self, manifests: Iterable[Manifest]) -> list[Manifest]:
        """Return the checkpoints that can be compared by `monitor`, the best first; of equals the newer is better.

        One without that metric, or with one that is not finite, is never best; nor is any where nothing is monitored.
        """
        if self.monitor is None:
            return []
        sign, name = 1 if self.mode == "min" else -1, self.monitor
        known = ((each.metrics.get(name, math.nan), each) for each in manifests)
        rated = [(sign * value, each) for value, each in known if math.isfinite(value)]
        newest = sorted(rated, key=lambda pair: order(pair[1]), reverse=True)
        return [each for _, each in sorted(newest, key=lambda pair: pair[0])]  # stable: the newer of equals first
