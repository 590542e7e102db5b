"""The page on which the exhibits hang: one file, which needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from notifybot.clock import Clock
from notifybot.events import Event, RunEnded
from notifybot.gallery.exhibits import Exhibit, exhibits
from notifybot.model import Language
from notifybot.rendering import Renderer
from notifybot.rendering.sources import built_in_folder

# A page of the sandbox as tall as its message, and no longer a phone's or a window's shape.
_FLAT = """<style>
html, body, .workspace, main, .phone, .notes, .chat { display: block !important; height: auto !important;
  min-height: 0 !important; overflow: visible !important; }
.phones, .chat { display: grid !important; gap: 0 !important; justify-content: stretch !important; }
.phones { padding: 0 !important; }
.phones figure { width: 100% !important; }
.phone { border: 0 !important; border-radius: 0 !important; box-shadow: none !important; }
.notes { padding: 12px 12px 4px !important; }
.chat { padding: 12px !important; }
a { pointer-events: none; }
HIDDEN { display: none !important; }
</style></head>"""


@dataclass(frozen=True, slots=True)
class Room:
    """One kind of message: its walls hold the exhibits of a language each."""

    anchor: str
    kind: str
    heading: str
    walls: Sequence[tuple[Language, Sequence[Exhibit]]]


def page(events: Mapping[Language, Sequence[Event]], clock: Clock) -> str:
    """Render the gallery of these events: the same ones in each language, in the same order."""
    rooms = [_room(number, same, clock) for number, same in enumerate(zip(*events.values(), strict=True))]
    environment = Environment(
        loader=FileSystemLoader(built_in_folder() / "web"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["bare"] = bare
    return environment.get_template("gallery.html").render(rooms=rooms)


def bare(exhibit: Exhibit) -> str:
    """A page of the sandbox with nothing left on it but its message."""
    return exhibit.content.replace("</head>", _FLAT.replace("HIDDEN", exhibit.hides or ""), 1)


def _room(number: int, same: Sequence[Event], clock: Clock) -> Room:
    first, languages = same[0], list(Language)
    kind = f"{first.kind} {first.status}" if isinstance(first, RunEnded) else first.kind
    titles = (Renderer(language).render(event).title for language, event in zip(languages, same, strict=True))
    walls = [
        (language, list(exhibits(event, language, clock))) for language, event in zip(languages, same, strict=True)
    ]
    return Room(f"{first.kind}-{number}", kind, " / ".join(titles), walls)
