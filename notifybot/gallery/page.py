"""Pages of the gallery: a self-contained one for each message and language, and an index of each language."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from notifybot.clock import Clock
from notifybot.gallery.previews import AlarmSample, AlertListSample, Preview, Sample, previews, said
from notifybot.i18n import built_in_folder, has_text, text
from notifybot.rendering import Renderer
from notifybot.types import Language

# A page of the sandbox becomes as tall as its message, without the shape of a phone or a window.
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
class GalleryPage:
    """One message in one language, in every place where it is read. `kind` is its name among all of them."""

    kind: str
    title: str
    previews: Sequence[Preview]
    note: str

    @property
    def anchor(self) -> str:
        """Its file's name, without the ending."""
        return self.kind.replace(" ", "-")


def pages(samples: Mapping[Language, Sequence[Sample]], clock: Clock, reader: Language) -> Iterator[tuple[str, str]]:
    """The files of the gallery and their HTML: a page for each message and language, and an index of each language.

    The samples are the same ones in each language, in the same order. `index.html` leads to the reader's own index.
    """
    environment = Environment(
        loader=FileSystemLoader(built_in_folder() / "web"), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["bare"] = bare
    environment.globals["place_of"] = place_of
    yield "index.html", f'<!DOCTYPE html><meta http-equiv="refresh" content="0; url={reader}/index.html">\n'
    for language, own in samples.items():
        shared = {
            "language": language,
            "t": partial(text, language),
            "others": [(each, text(each, "gallery.language")) for each in samples if each is not language],
        }
        messages = [_page(each, language, clock) for each in own]
        yield (
            f"{language}/index.html",
            environment.get_template("gallery_index.html").render(messages=messages, **shared),
        )
        template = environment.get_template("gallery.html")
        for before, message, after in zip([None, *messages], messages, [*messages[1:], None], strict=False):
            html = template.render(message=message, before=before, next=after, **shared)
            yield f"{language}/{message.anchor}.html", html


def bare(preview: Preview) -> str:
    """A page of the sandbox with nothing left on it but its message."""
    return preview.content.replace("</head>", _FLAT.replace("HIDDEN", preview.hides or ""), 1)


def place_of(preview: Preview, language: Language) -> str:
    """Return the place where a message is read, in the column's language; a product's name is not translated."""
    key = f"gallery.place.{preview.place}"
    return text(language, key) if has_text(key, language) else preview.place


def _page(sample: Sample, language: Language, clock: Clock) -> GalleryPage:
    note = ""
    if isinstance(sample, AlarmSample):
        title = said(sample, clock.now().timestamp(), language).plain.text.partition("\n")[0]
        note = text(language, "gallery.slack_posts_this_itself")  # no other notifier sends it
    elif isinstance(sample, AlertListSample):
        title = sample.title
    else:
        title = Renderer(language).render(sample.event, skipped=sample.skipped).title
    return GalleryPage(sample.label, title, list(previews(sample, language, clock)), note)
