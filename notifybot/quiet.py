"""Quiet hours: a window of the wall clock in a named time zone, told exactly across midnight and clock changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From `start` to before `end` by the clock on the wall in `zone`, over midnight where `end` is the earlier one.

    Equal ends make no quiet hours at all. What counts is what the clock shows: an hour that a change of clocks
    repeats is quiet twice, one that it skips is not missed.
    """

    start: time
    end: time
    zone: ZoneInfo

    def covers(self, moment: datetime) -> bool:
        """True within the quiet hours."""
        shown = moment.astimezone(self.zone).time()
        if self.start <= self.end:
            return self.start <= shown < self.end
        return shown >= self.start or shown < self.end

    def over_at(self, moment: datetime) -> datetime:
        """The first moment after `moment` outside the quiet hours, in UTC. `moment` itself must be within."""
        today = moment.astimezone(self.zone).date()
        days = (today + _DAY * number for number in range(4))  # the one open hour of a day may be one that clocks skip
        ends = (each for day in days for each in self._ends_on(day))
        return min(each for each in ends if each > moment and not self.covers(each))

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}" if self.start != self.end else "off"

    def _ends_on(self, day: date) -> Iterator[datetime]:
        """Every moment of a day at which the clock shows the end, springs over it, or is set back before the start."""
        begin, over = (datetime.combine(each, time(), self.zone).astimezone(UTC) for each in (day, day + _DAY))
        if self._offset(begin) != self._offset(over):
            yield self._leap(begin, over)
        shown = datetime.combine(day, self.end, self.zone)
        first, second = shown.astimezone(UTC), shown.replace(fold=1).astimezone(UTC)
        if second < first:  # no clock shows it: it springs ahead in between
            yield self._leap(second, first)
        else:
            yield from (first, second)

    def _leap(self, before: datetime, after: datetime) -> datetime:
        """The second in which the offset of the zone changes between two moments."""
        new = after.astimezone(self.zone).utcoffset()
        seconds = range(int((after - before).total_seconds()))
        number = bisect_left(seconds, True, key=lambda s: self._offset(before + timedelta(seconds=s)) == new)
        return before + timedelta(seconds=number)

    def _offset(self, moment: datetime) -> timedelta | None:
        return moment.astimezone(self.zone).utcoffset()


NEVER = QuietHours(time(), time(), ZoneInfo("UTC"))
