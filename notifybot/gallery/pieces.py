"""What hangs in the gallery: a message that every notifier tells, one that Slack posts by itself, or words alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from notifybot.events import Event
from notifybot.rendering.alert_text import AlertWords
from notifybot.types import Host


@dataclass(frozen=True, slots=True)
class Told:
    """A message about an event. `skipped` counts the epochs that it stands for as well."""

    label: str
    event: Event
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class Scheduled:
    """What the dead man's switch says of a run that was last heard of with `last`.

    An "alarm" is frozen when it is scheduled; a "void" one has been posted about a living run, `sure` or perhaps; one
    that "stands" had been refused before.
    """

    label: str
    last: Event
    host: Host
    said: Literal["alarm", "void", "stands"] = "alarm"
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Listed:
    """The title and text of many alerts, by what they are about. Where they are told they look like any alert."""

    label: str
    title: str
    alerts: Mapping[str, AlertWords]


Piece = Told | Scheduled | Listed
