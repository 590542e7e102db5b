"""What the dead man's switch asks of Slack, and what can come of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Alarm:
    """A scheduled message about the run. `own`: this session scheduled it. `tried`: a delete's answer was lost.

    `channel_id` is where it waits; empty where nobody said, which is then the run's own channel.
    """

    id: str
    post_at: int
    own: bool = True
    tried: bool = False
    channel_id: str = ""


@dataclass(frozen=True, slots=True)
class Void:
    """An alarm about a living run, posted at that time: for `sure`, or perhaps. `told`: perhaps taken back already."""

    post_at: int
    sure: bool
    told: bool = False


class Call(StrEnum):
    """The kinds of call, which Slack limits each by itself."""

    LIST = "list"
    SCHEDULE = "schedule"
    DELETE = "delete"
    SAY = "say"


@dataclass(frozen=True, slots=True)
class List:
    """Read which alarms of the run wait at Slack."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Have an alarm posted at that time."""

    post_at: int


@dataclass(frozen=True, slots=True)
class Delete:
    """Take an alarm back."""

    alarm: Alarm


@dataclass(frozen=True, slots=True)
class Say:
    """Tell that these alarms are void."""

    voids: tuple[Void, ...]


@dataclass(frozen=True, slots=True)
class Assure:
    """Tell that the alarm stands, after Slack had refused it."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing for now."""


@dataclass(frozen=True, slots=True)
class Over:
    """Nothing any more."""


Action = List | Schedule | Delete | Say | Assure | Wait | Over


@dataclass(frozen=True, slots=True)
class Listed:
    """The alarms that wait."""

    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, slots=True)
class Scheduled:
    """Slack took the alarm."""

    alarm: Alarm


@dataclass(frozen=True, slots=True)
class Done:
    """Deleted, or said."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It may work later. `ambiguous`: it may have worked, and only the answer was lost."""

    retry_after_s: float | None = None
    ambiguous: bool = False


@dataclass(frozen=True, slots=True)
class Denied:
    """Slack says no, and why. `setup`: it will say so always."""

    code: str
    setup: bool = False


Outcome = Listed | Scheduled | Done | Failed | Denied
