"""What a bot remembers of a run: its root message, the state shown there, and who was answered already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from notifybot.events import Event

_REMEMBERED = 64
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Shown:
    """The state on a root message, in the order states follow each other."""

    at: datetime = _NEVER
    ended: bool = False
    done: int = 0
    event_id: str = ""

    @classmethod
    def of(cls, event: Event) -> Shown:
        """The state that an event tells."""
        return cls(event.at, event.kind == "run_ended", event.progress.done, event.id)

    def gives_way_to(self, other: Shown) -> bool:
        """True when `other` is a later state of the run than this one."""
        return (other.at, other.ended, other.done) >= (
            self.at,
            self.ended,
            self.done,
        ) and other.event_id != self.event_id


@dataclass(frozen=True, slots=True)
class RunThread:
    """A run's root message and thread. `born_of` is the event that the root was posted for."""

    channel_id: str = ""
    root_ts: str = ""
    born_of: str = ""
    shown: Shown = Shown()
    answered: tuple[str, ...] = ()

    @property
    def has_root(self) -> bool:
        return bool(self.channel_id and self.root_ts)

    def answering(self, event_id: str) -> RunThread:
        """The same after an event got its reply."""
        return replace(self, answered=(*self.answered, event_id)[-_REMEMBERED:])

    def without_root(self) -> RunThread:
        """The same after the root was found to be gone."""
        return replace(self, channel_id="", root_ts="", born_of="", shown=Shown())

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
            "answered": list(self.answered),
        }

    @classmethod
    def from_value(cls, value: Mapping[str, Any]) -> RunThread:
        """Read what `to_value` wrote; an empty mapping is a run never told of, and so is one that makes no sense.

        It may come from another machine, by a file or through the watchdog.
        """
        try:
            shown = Shown(_moment(value["at"]), bool(value["ended"]), int(value["done"]), str(value["event"]))
            answered = tuple(str(each) for each in list(value["answered"])[-_REMEMBERED:])
            return cls(str(value["channel"]), str(value["root"]), str(value["born_of"]), shown, answered)
        except (KeyError, TypeError, ValueError):
            return cls()


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
