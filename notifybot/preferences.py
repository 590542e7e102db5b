"""Preferences for each notifier, parsed once: kinds of events, frequency, quiet hours, language, routing."""

from __future__ import annotations

import difflib
import json
import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from notifybot.errors import reader_text
from notifybot.events import KINDS, AlertRaised, Event, RunEnded, kind_of
from notifybot.services import SERVICES
from notifybot.types import Language, RunRef, Severity, Status, Unit

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class QuietHours:
    """Quiet hours from `start` to before `end` of local time in `zone`, over midnight if `end` is earlier.

    Equal times mean no quiet hours. Only the shown time counts: an hour that a clock change repeats is quiet
    twice, one that it skips is simply absent.
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
        days = (today + _DAY * number for number in range(4))  # four days: clocks may skip a day's only open hour
        ends = (each for day in days for each in self._ends_on(day))
        return min(each for each in ends if each > moment and not self.covers(each))

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}" if self.start != self.end else "off"

    def _ends_on(self, day: date) -> Iterator[datetime]:
        """Yield each moment of a day at which the clock shows the end, skips it, or is set back to before the start."""
        begin, over = (datetime.combine(each, time(), self.zone).astimezone(UTC) for each in (day, day + _DAY))
        if self._offset(begin) != self._offset(over):
            yield self._leap(begin, over)
        shown = datetime.combine(day, self.end, self.zone)
        first, second = shown.astimezone(UTC), shown.replace(fold=1).astimezone(UTC)
        if second < first:  # clocks skip this time: they spring ahead over it
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


ENDING, ALERT = kind_of(RunEnded), kind_of(AlertRaised)
_DETAILS = {ENDING: [each.value for each in Status if each.ended], ALERT: [each.value for each in Severity]}
FAILURES = frozenset(
    (f"{ENDING}:{Status.FAILED}", f"{ENDING}:{Status.INTERRUPTED}", "run_lost", "run_stalled", f"{ALERT}:error")
)
AWAITED = FAILURES | {ENDING}  # sent in quiet hours too: the process may be gone by morning
_GROUPS = {"all": frozenset(KINDS), "endings": frozenset({ENDING}), "failures": FAILURES}
_ALL_KINDS = (*_GROUPS, *KINDS, *(f"{kind}:{detail}" for kind, details in _DETAILS.items() for detail in details))

NOTIFIERS = tuple(each.name for each in SERVICES)
_WINDOW = re.compile(r"(\d\d?):(\d\d)\s*[-–~]\s*(\d\d?):(\d\d)\s+(\S+)")
_EVERY = re.compile(r"(\d+(?:\.\d+)?)\s*([^\W\d_]+)")
_UNITS = {
    **dict.fromkeys(("s", "sec", "second", "seconds", "초"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes", "분"), 60.0),
    **dict.fromkeys(("h", "hour", "hours", "시간"), 3600.0),
}
_COUNTED: dict[str, Unit] = {
    **dict.fromkeys(("epoch", "epochs", "에포크"), "epoch"),
    **dict.fromkeys(("step", "steps", "스텝"), "step"),
    **dict.fromkeys(("round", "rounds", "라운드"), "round"),
    **dict.fromkeys(("trial", "trials", "트라이얼"), "trial"),
}
_MOST_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Every:
    """Interval of epoch messages: in epochs, or steps (`unit`), or in seconds. Neither: the notifier's own."""

    epochs: int | None = None
    seconds: float | None = None
    unit: Unit = "epoch"

    def __str__(self) -> str:
        if self.epochs is not None:
            return f"{self.epochs} {self.unit}s"
        return "auto" if self.seconds is None else f"{self.seconds:g} s"


AUTO = Every()


@dataclass(frozen=True, slots=True)
class Route:
    """Routing rule of a notifier for one run: the patterns under `key`, and the name that must match one of them."""

    key: str
    patterns: tuple[str, ...]
    name: str

    @property
    def fitting(self) -> str | None:
        """First pattern that matches the run; None if none does."""
        return next((each for each in self.patterns if fnmatchcase(self.name, each)), None)


@dataclass(frozen=True, slots=True)
class Preferences:
    """Preferences of one notifier; the defaults change nothing.

    `events` and `quiet_lets` hold kinds, some with a detail: "run_ended:failed". `events` is None for the notifier's
    own choice, `every` and `quiet` for the settings of all notifiers. `daily` counts messages from midnight in Korea.
    `projects` and `runs` are patterns such as "vision-*" of which one must match; without any, all runs match.
    """

    events: frozenset[str] | None = None
    min_severity: Severity = Severity.INFO
    every: Every | None = None
    quiet: QuietHours | None = None
    quiet_lets: frozenset[str] = AWAITED
    daily: int | None = None
    lang: Language | None = None
    projects: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()

    def routes(self, run: RunRef) -> list[Route]:
        """Return the rules that decide whether the run is routed to the notifier, in the order of the settings."""
        asked = (("projects", self.projects, run.project), ("runs", self.runs, run.name))
        return [Route(key, patterns, name) for key, patterns, name in asked if patterns]

    def or_else(self, every: Every | None, quiet: QuietHours | None) -> Preferences:
        """Return these, with `every` and `quiet` from the settings for all if this notifier has none of its own."""
        return replace(self, every=self.every or every, quiet=self.quiet or quiet)


UNCHANGED = Preferences()


@dataclass(frozen=True, slots=True)
class Tables:
    """Preferences of each notifier, by name and sorted by it."""

    chosen: tuple[tuple[str, Preferences], ...] = ()

    def of(self, name: str) -> Preferences:
        """Return a notifier's preferences; `UNCHANGED` for a name without any."""
        return dict(self.chosen).get(name, UNCHANGED)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.chosen)

    def __str__(self) -> str:
        return ", ".join(self.names)


@dataclass(frozen=True, slots=True)
class Channels:
    """Channels of Slack beside `slack_channel`: by an event's severity, and by patterns of a run's project."""

    severities: tuple[tuple[Severity, str], ...] = ()
    projects: tuple[tuple[str, str], ...] = ()

    def home_of(self, project: str, default: str) -> str:
        """Return the channel of a project's runs: that of the first pattern that matches, else the default."""
        return next((channel for pattern, channel in self.projects if fnmatchcase(project, pattern)), default)

    def of(self, severity: Severity) -> str | None:
        """Return the channel for events of a severity; None where they stay in the run's own."""
        return dict(self.severities).get(severity)

    @property
    def names(self) -> tuple[str, ...]:
        """All channels, each once."""
        return tuple(dict.fromkeys(channel for _, channel in (*self.severities, *self.projects)))

    def __str__(self) -> str:
        return ", ".join(f"{key} {channel}" for key, channel in (*self.severities, *self.projects))


def names(kinds: Collection[str], event: Event) -> bool:
    """True when one of the kinds, some with a detail, means the event."""
    detail = event.status if isinstance(event, RunEnded) else event.severity if isinstance(event, AlertRaised) else ""
    return event.kind in kinds or f"{event.kind}:{detail}" in kinds


# ── Parsing. Each raises ValueError with the rest of a sentence that begins with the setting's name. ─────────────────


def tables_from(value: object) -> Tables:
    """Parse `[notifiers.NAME]` tables, or the same as JSON text from a variable."""
    if isinstance(value, Tables):
        return value
    value = _from_json(value)
    if not isinstance(value, Mapping):
        raise ValueError(reader_text("preferences.must_be_tables"))
    if "watchdog" in value:
        raise ValueError(reader_text("preferences.watchdog_takes_no_settings"))
    return Tables(tuple((name, _table(name, value[name])) for name in sorted(map(str, value))))


def channels_from(value: object) -> Channels:
    """Parse `[slack_channels]`, its keys severities, with `[slack_channels.projects]`; or the same as JSON text."""
    if isinstance(value, Channels):
        return value
    value = _from_json(value)
    if not isinstance(value, Mapping):
        raise ValueError(reader_text("preferences.must_be_a_table_of_channels"))
    table = dict(value)
    projects = table.pop("projects", {})
    if not isinstance(projects, Mapping):
        raise ValueError(reader_text("preferences.must_be_a_table_of_channels"))
    for word in table:
        if word not in tuple(Severity):
            given = {"word": word, "names": ", ".join(Severity)}
            raise ValueError(reader_text("preferences.names_no_severity", **given))
    return Channels(
        tuple((each, _channel(each, table[each])) for each in Severity if each in table),
        tuple((str(pattern), _channel(pattern, channel)) for pattern, channel in projects.items()),
    )


def _channel(key: object, value: object) -> str:
    channel = value.strip() if isinstance(value, str) else ""
    if not 0 < len(channel.removeprefix("#")) <= 200 or not channel.isprintable():
        raise ValueError(reader_text("preferences.names_no_channel", key=key))
    return channel


def _from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError(reader_text("preferences.must_be_json")) from None


def every_from(value: object) -> Every:
    """Parse "5 epochs", "500 steps", "10 min" or "auto"."""
    text = value.strip().lower() if isinstance(value, str) else ""
    if isinstance(value, Every) or text == "auto":
        return value if isinstance(value, Every) else AUTO
    found = _EVERY.fullmatch(text)
    number, unit = (float(found[1]), found[2]) if found else (0.0, "")
    if unit in _COUNTED and number >= 1 and number.is_integer():
        return Every(epochs=int(number), unit=_COUNTED[unit])
    if unit in _UNITS and 0 < number * _UNITS[unit] <= _MOST_S:
        return Every(seconds=number * _UNITS[unit])
    raise ValueError(reader_text("preferences.must_be_how_often"))


def quiet_from(value: object) -> QuietHours:
    """Parse "23:00-07:00 Asia/Seoul" or "off"."""
    if isinstance(value, QuietHours):
        return value
    text = value.strip() if isinstance(value, str) else ""
    if text.lower() == "off" or value is False:
        return NEVER
    found = _WINDOW.fullmatch(text)
    if found is None:
        raise ValueError(reader_text("preferences.must_be_quiet_hours"))
    try:
        start, end = time(int(found[1]), int(found[2])), time(int(found[3]) % 24, int(found[4]))
    except ValueError:
        raise ValueError(reader_text("preferences.no_clock_shows_that_time")) from None
    if start == end or int(found[3]) > 24 or (int(found[3]) == 24 and end.minute):
        raise ValueError(reader_text("preferences.must_leave_a_part_of_the_day"))
    return QuietHours(start, end, _zone(found[5]))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):  # not found · the name of a folder · an absolute path
        pass
    known = available_timezones()
    city = [each for each in known if each.rpartition("/")[2].lower() == name.rpartition("/")[2].lower()]
    close = sorted(city) or difflib.get_close_matches(name, known, n=1)
    if not known:
        raise ValueError(reader_text("preferences.needs_a_list_of_time_zones"))
    if close:
        raise ValueError(reader_text("preferences.unknown_time_zone_but_another", meant=close[0]))
    raise ValueError(reader_text("preferences.unknown_time_zone"))


def _table(name: str, value: object) -> Preferences:
    if isinstance(value, Preferences):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(reader_text("preferences.must_be_a_table_of_settings", name=name))
    parsed: dict[str, Any] = {}
    for key, each in value.items():
        parse = _PARSERS.get(key)
        if parse is None:
            close = difflib.get_close_matches(str(key), _PARSERS, n=1)
            given = {"notifier": name, "setting": key}
            if close:
                raise ValueError(reader_text("preferences.is_no_setting_but_another", **given, meant=close[0]))
            raise ValueError(reader_text("preferences.is_no_setting", **given, names=", ".join(_PARSERS)))
        try:
            parsed[key] = parse(each)
        except ValueError as error:
            raise ValueError(
                reader_text("preferences.setting_and_problem", notifier=name, setting=key, problem=error)
            ) from None
    return Preferences(**parsed)


def _kinds(value: object) -> frozenset[str]:
    chosen = (value,) if isinstance(value, str) else value
    if not isinstance(chosen, list | tuple | set | frozenset) or not all(isinstance(each, str) for each in chosen):
        raise ValueError(reader_text("preferences.must_be_kinds_of_events"))
    for word in chosen:
        if word not in _ALL_KINDS:
            close = difflib.get_close_matches(word, _ALL_KINDS, n=1)
            if close:
                raise ValueError(reader_text("preferences.is_no_kind_but_another", meant=close[0]))
            raise ValueError(reader_text("preferences.is_no_kind", names=", ".join((*_GROUPS, *KINDS))))
    return frozenset().union(*(_GROUPS.get(word, {word}) for word in chosen))


def _some_kinds(value: object) -> frozenset[str]:
    kinds = _kinds(value)
    if not kinds:
        raise ValueError(reader_text("preferences.must_name_a_kind_of_event"))
    return kinds


def _member(kind: type[StrEnum], value: object) -> StrEnum:
    *others, last = choices = [each.value for each in kind]
    if isinstance(value, str) and value in choices:
        return kind(value)
    raise ValueError(reader_text("preferences.must_be_one_of", others=", ".join(others), last=last))


def _daily(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(reader_text("preferences.must_be_a_number_of_messages"))


def _patterns(value: object) -> tuple[str, ...]:
    patterns = [value] if isinstance(value, str) else value
    if isinstance(patterns, list | tuple) and patterns and all(isinstance(each, str) and each for each in patterns):
        return tuple(patterns)
    raise ValueError(reader_text("preferences.must_be_names_or_patterns"))


_PARSERS: dict[str, Callable[[object], object]] = {
    "events": _some_kinds,
    "min_severity": partial(_member, Severity),
    "every": every_from,
    "quiet": quiet_from,
    "quiet_lets": _kinds,
    "daily": _daily,
    "lang": partial(_member, Language),
    "projects": _patterns,
    "runs": _patterns,
}
