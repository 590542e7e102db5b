"""Epochs of a command, put together from its lines: of a program that prints steps and epochs, the epochs are counted.

Steps are the open epoch's, averaged: where a program prints an epoch's line at its end, those before it; where it
prints a heading or a bar at its beginning, those after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from notifybot.command.progress_lines import LineReading

_COARSE = {"step": 0, "round": 1, "trial": 1, "epoch": 2}


def is_finer(unit: str, than: str) -> bool:
    """True where several of a unit make one of the other, as steps an epoch."""
    return _COARSE.get(unit, 2) < _COARSE.get(than, -1)


@dataclass(slots=True)
class Means:
    """Means of what was printed, by name."""

    _sums: dict[str, tuple[float, int]] = field(default_factory=dict)

    def add(self, values: Mapping[str, float]) -> None:
        """Take in values of one line."""
        for name, value in values.items():
            total, count = self._sums.get(name, (0.0, 0))
            self._sums[name] = total + value, count + 1

    def read(self) -> dict[str, float]:
        """Return the means, and begin anew."""
        sums, self._sums = self._sums, {}
        return {name: total / count for name, (total, count) in sums.items()}


@dataclass(slots=True)
class Epochs:
    """Merges readings until their epoch, step or round is over: the next one has begun, or the program has ended.

    `unit` is the coarsest that was met; what is finer is part of it.
    """

    unit: str = ""
    _open: LineReading | None = None
    _within: Means = field(default_factory=Means)  # of finer readings that no epoch has taken

    def take(self, reading: LineReading) -> LineReading | None:
        """Return the position that this reading ends, with all that was printed of it."""
        ended = None
        if is_finer(reading.unit, self.unit):
            if self._open is not None and is_over(self._open):
                ended = self.settle()
            self._within.add(reading.metrics)
            return ended
        if is_finer(self.unit, reading.unit):
            self._open = None  # its numbers are in the means
        elif self._open is not None and (self._open.unit, self._open.label) != (reading.unit, reading.label):
            ended = self.settle()
        if self._open is None:
            self._open = reading
        else:
            known = self._open
            self._open = replace(
                reading, metrics={**known.metrics, **reading.metrics}, total=reading.total or known.total
            )
        if reading.unit != "epoch":
            self._within.add(reading.metrics)
        self.unit = reading.unit
        return ended

    def settle(self) -> LineReading | None:
        """Return the position that is open, as it is over, and open none."""
        if self._open is None:
            return None
        ended, self._open = self._open, None
        if ended.unit == "epoch":
            ended = replace(ended, metrics=self._within.read() | dict(ended.metrics))
        return ended

    def close(self, *, failed: bool = False) -> LineReading | None:
        """Return the last position, at the end of all; None where it was begun alone, of a program that `failed`."""
        return None if failed and self.begun is not None else self.settle()

    @property
    def begun(self) -> int | None:
        """Label of the epoch that is open and not over."""
        return None if self._open is None or is_over(self._open) else self._open.label

    def rest(self) -> dict[str, float]:
        """Return the means of what came after the last epoch, in a run that counts epochs."""
        return self._within.read() if self.unit == "epoch" else {}


def is_over(reading: LineReading) -> bool:
    """True for what is printed at an epoch's end, and of a bar that is full."""
    return reading.part is None or reading.part >= 1.0
