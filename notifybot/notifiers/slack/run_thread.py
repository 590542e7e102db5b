"""The bot's memory of a run: its root message, the state shown there, and the events already replied to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from notifybot.events import AlertRaised, Event, RunRecovered
from notifybot.policy import calls_people

_REMEMBERED = 64
_MOVES_MOST = 3
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shown:
    """The state on a root message, in the order states follow each other."""

    at: datetime = _NEVER
    ended: bool = False
    done: int = 0
    event_id: str = ""
    lost: bool = False
    session: str = ""

    @classmethod
    def of(cls, event: Event) -> Shown:
        """Return the state that an event reports."""
        ended, lost = event.kind == "run_ended", event.kind == "run_lost"
        return cls(event.at, ended, event.progress.done, event.id, lost, event.run.session)

    def is_older_than(self, other: Shown) -> bool:
        """True when `other` is a later state of the run than this one, or shows that this one was a false alarm."""
        return self.is_amended_by(other) or (
            (other.at, other.ended, other.done)
            >= (
                self.at,
                self.ended,
                self.done,
            )
            and other.event_id != self.event_id
        )

    def is_amended_by(self, other: Shown) -> bool:
        """True for the late ending of a run that was meanwhile reported lost: it had ended before."""
        return self.lost and other.ended and other.session >= self.session


@dataclass(frozen=True, slots=True)
class RunThread:
    """A run's root message and thread. `born_of` is the event that the root was posted for.

    `called` is the incident that people were called for, by a mention. `moves` counts new roots for replies that found
    none: a server that never says where a reply went is believed a few times only.
    """

    channel_id: str = ""
    root_ts: str = ""
    born_of: str = ""
    shown: Shown = Shown()
    answered: tuple[str, ...] = ()
    called: str = ""
    moves: int = 0

    @property
    def has_root(self) -> bool:
        return bool(self.channel_id and self.root_ts)

    def answering(self, event_id: str) -> RunThread:
        """The same after an event got its reply."""
        return replace(self, answered=(*self.answered, event_id)[-_REMEMBERED:])

    def showing(self, state: Shown) -> RunThread:
        """The same after the root was brought to a state. An ending that amends an alarm is to be told once more."""
        again = (state.event_id,) if self.shown.is_amended_by(state) else ()
        return replace(self, shown=state, answered=tuple(each for each in self.answered if each not in again))

    def without_root(self) -> RunThread:
        """The same after the root was found to be gone."""
        return replace(self, channel_id="", root_ts="", born_of="", shown=Shown())

    @property
    def may_move(self) -> bool:
        return self.moves < _MOVES_MOST

    def moving(self) -> RunThread:
        """The same after a reply was posted outside the thread: its root is no more."""
        return replace(self.without_root(), moves=self.moves + 1)

    def calls_for(self, event: Event) -> bool:
        """True when people are to be called for an event: only once if a run hangs, is lost, then reported failed."""
        return calls_people(event) and (isinstance(event, AlertRaised) or self.called != _incident(event))

    def having_called(self, event: Event) -> RunThread:
        """The same after people were called, if they were. A run that comes back is a new incident next time.

        Each alert is an incident of its own.
        """
        if isinstance(event, RunRecovered):
            return replace(self, called="")
        fate = calls_people(event) and not isinstance(event, AlertRaised)
        return replace(self, called=_incident(event)) if fate else self

    def to_value(self) -> dict[str, Any]:
        """As JSON values, for the notifier's memory."""
        return {
            "channel": self.channel_id,
            "root": self.root_ts,
            "born_of": self.born_of,
            "at": self.shown.at.isoformat(),
            "ended": self.shown.ended,
            "done": self.shown.done,
            "event": self.shown.event_id,
            "lost": self.shown.lost,
            "session": self.shown.session,
            "answered": list(self.answered),
            "called": self.called,
            "moves": self.moves,
        }

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> RunThread:
        """Read what `to_value` wrote; an empty mapping is a run never told of, and so is one that makes no sense.

        It may come from another machine, by a file or through the watchdog.
        """
        try:
            known = Shown(_moment(value["at"]), bool(value["ended"]), int(value["done"]), str(value["event"]))
            shown = replace(known, lost=bool(value.get("lost", False)), session=str(value.get("session", "")))
            answered = tuple(str(each) for each in list(value["answered"])[-_REMEMBERED:])
            place = str(value["channel"]), str(value["root"]), str(value["born_of"])
            return cls(*place, shown, answered, str(value.get("called", "")), int(value.get("moves", 0)))
        except (KeyError, TypeError, ValueError):
            return cls()


def _incident(event: Event) -> str:
    """One session's silence and end are one incident."""
    return event.run.session or event.run.id


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
