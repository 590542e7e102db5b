"""The page on which the exhibits hang: one file, which needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from notifybot.clock import Clock
from notifybot.gallery.previews import AlarmPreview, AlertListPreview, Exhibit, Piece, exhibits, said
from notifybot.i18n import built_in_folder, has_text, localized, text
from notifybot.rendering import Renderer
from notifybot.types import Language

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
class PreviewColumn:
    """The exhibits of one language, and what there is to say about them."""

    language: Language
    exhibits: Sequence[Exhibit]
    note: str = ""


@dataclass(frozen=True, slots=True)
class GallerySection:
    """One kind of message."""

    anchor: str
    kind: str
    heading: str
    walls: Sequence[PreviewColumn]


def page(pieces: Mapping[Language, Sequence[Piece]], clock: Clock) -> str:
    """Render the gallery of these pieces: the same ones in each language, in the same order."""
    rooms = [_room(list(pieces), same, clock) for same in zip(*pieces.values(), strict=True)]
    environment = Environment(
        loader=FileSystemLoader(built_in_folder() / "web"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["bare"] = bare
    environment.globals["place_of"] = place_of
    return environment.get_template("gallery.html").render(rooms=rooms, t=text, languages=sorted(pieces))


def bare(exhibit: Exhibit) -> str:
    """A page of the sandbox with nothing left on it but its message."""
    return exhibit.content.replace("</head>", _FLAT.replace("HIDDEN", exhibit.hides or ""), 1)


def place_of(exhibit: Exhibit, language: Language) -> str:
    """Where a message is read, in the language of its column; what has no text is a name of its own."""
    key = f"gallery.place.{exhibit.place.lower().replace(', ', '_').replace(' ', '_')}"
    return text(language, key) if has_text(key) else exhibit.place


def _room(languages: Sequence[Language], same: Sequence[Piece], clock: Clock) -> GallerySection:
    label, alone = same[0].label, isinstance(same[0], AlarmPreview)
    both = list(zip(languages, same, strict=True))
    titles = (_title(piece, language, clock) for language, piece in both)
    note = localized("gallery.slack_posts_this_itself")  # under a message that not all notifiers tell
    walls = [
        PreviewColumn(language, list(exhibits(piece, language, clock)), note.in_(language) if alone else "")
        for language, piece in both
    ]
    return GallerySection(label.replace(" ", "-"), label, " / ".join(titles), walls)


def _title(piece: Piece, language: Language, clock: Clock) -> str:
    if isinstance(piece, AlarmPreview):
        return said(piece, clock.now().timestamp(), language).plain.text.partition("\n")[0]
    if isinstance(piece, AlertListPreview):
        return piece.title
    return Renderer(language).render(piece.event, skipped=piece.skipped).title
