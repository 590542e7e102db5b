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


@dataclass(frozen=True, slots=True)
class RunThread:
    """A run's root message and thread. `root_ts` is empty while it has none. `born_of` is the event that the root was
    posted for.

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

    def answering(self, event_id: str) -> RunThread:
        """The same after an event got its reply."""
        return replace(self, answered=(*self.answered, event_id)[-_REMEMBERED:])

    def showing(self, state: Shown) -> RunThread:
        """The same after the root was brought to a state; this very object where it shows that or a later one.

        The late ending of a run that was meanwhile reported lost comes later than the alarm: the run had ended before.
        It is to be sent once more.
        """
        shown = self.shown
        if shown.lost and state.ended and state.session >= shown.session:
            return replace(self, shown=state, answered=tuple(each for each in self.answered if each != state.event_id))
        follows = (state.at, state.ended, state.done) >= (shown.at, shown.ended, shown.done)
        return replace(self, shown=state) if follows and state.event_id != shown.event_id else self

    def without_root(self) -> RunThread:
        """The same after the root was found to be gone."""
        return replace(self, channel_id="", root_ts="", born_of="", shown=Shown())

    def moving(self) -> RunThread:
        """The same after a reply was posted outside the thread, whose root is no more; unchanged after a few times."""
        return replace(self.without_root(), moves=self.moves + 1) if self.moves < _MOVES_MOST else self

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
        """Read what `to_value` wrote; an empty mapping is a run never reported, and so is one that makes no sense.

        It may come from another machine, by a file or through the watchdog.
        """
        try:
            at = datetime.fromisoformat(value["at"])
            at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
            lost, session = bool(value.get("lost", False)), str(value.get("session", ""))
            shown = Shown(at, bool(value["ended"]), int(value["done"]), str(value["event"]), lost, session)
            answered = tuple(str(each) for each in list(value["answered"])[-_REMEMBERED:])
            channel_id, root_ts = str(value["channel"]), str(value["root"]) if value["channel"] else ""
            called, moves = str(value.get("called", "")), int(value.get("moves", 0))
            return cls(channel_id, root_ts, str(value["born_of"]), shown, answered, called, moves)
        except (KeyError, TypeError, ValueError):
            return cls()


def _incident(event: Event) -> str:
    """One session's silence and end are one incident."""
    return event.run.session or event.run.id
