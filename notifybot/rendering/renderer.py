"""Renderer: turns an event into a message and never raises; templates of one language, the user's before ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifybot.errors import ConfigError, reader_text, system_words
from notifybot.events import KINDS, EpochFinished, Event
from notifybot.i18n import built_in_folder
from notifybot.policy import severity_of
from notifybot.rendering.format import headings, metric_rows, rowless
from notifybot.rendering.labels import status_word
from notifybot.rendering.text import shorten
from notifybot.rendering.view import View, code_of, facts_of, told, view_of
from notifybot.types import Language, Message

LIMIT_TITLE = 120
LIMIT_BODY = 4000
LIMIT_BRIEF = 200  # the text of a KakaoTalk message

_log = logging.getLogger("notifybot")


class Renderer:
    """Puts events into words, in one language.

    All templates are compiled at construction, which raises ConfigError for a user's template that is broken.
    """

    def __init__(self, language: Language, templates_dir: Path | None = None) -> None:
        if templates_dir is not None and not templates_dir.is_dir():
            raise ConfigError(reader_text("rendering.renderer.templates_dir_is_missing", templates_dir=templates_dir))
        self.language = language
        library = TemplateSet(language, templates_dir)
        self._words = {kind: library.words(kind) for kind in KINDS}
        self._complained: set[str] = set()

    def render(self, event: Event, *, link: str | None = None, skipped: int = 0) -> Message:
        """Return the message about `event`. Never raises: a template that fails gives way to ours, ours to bare words.

        `skipped` counts older epoch messages that this one replaces.
        """
        for words in self._words.get(event.kind, ()):
            try:
                return self._compose(event, words, link, skipped)
            except Exception as error:  # noqa: BLE001 - a template is code that users write: better plain than silent
                self._complain(event.kind, error)
        return _bare(event, self.language, link)

    def render_summary(self, event: EpochFinished) -> Message:
        """Return an epoch's figures without the templates' words, at a third of the cost: for the console's line."""
        rows = metric_rows(event.progress, self.language)
        return replace(_bare(event, self.language, None), headings=self._headings, rows=rows)

    def _compose(self, event: Event, words: CompiledTemplate, link: str | None, skipped: int) -> Message:
        language = self.language
        view = view_of(event, language, skipped)
        title, brief = _line(words.say("title", view)), _lines(words.say("brief", view))
        if not (title and brief):
            raise ValueError(reader_text("rendering.renderer.title_or_brief_is_empty"))
        return Message(
            event_id=event.id,
            kind=event.kind,
            run=event.run,
            at=event.at,
            language=language,
            severity=severity_of(event),
            title=shorten(title, LIMIT_TITLE),
            body=shorten(_lines(words.say("body", view)), LIMIT_BODY),
            brief=shorten(brief, LIMIT_BRIEF),
            status=view["status"],
            headings=self._headings,
            rows=view["rows"],
            more=rowless(event.progress),
            facts=facts_of(event, language),
            code=code_of(event),
            link=link,
            epoch=view["epoch"],
            done=view["done"],
            total=view["total"],
        )

    @cached_property
    def _headings(self) -> tuple[str, str, str, str, str]:
        return headings(self.language)  # not before a message is to be told: the catalog is read for it

    def _complain(self, kind: str, error: Exception) -> None:
        if kind not in self._complained:
            self._complained.add(kind)
            why = f"{type(error).__name__}: {error}"
            text = reader_text("rendering.renderer.template_failed", kind=kind, why=why)
            _log.warning("%s", text)


def _line(text: str) -> str:
    return " ".join(text.split())


def _lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _bare(event: Event, language: Language, link: str | None) -> Message:
    """Return the last-resort message: only fields that every event has, so that nothing can fail."""
    status = status_word(event, language)
    title = f"{told(str(event.run.name), 60) or event.run.id} · {status}"
    words = "\n".join(text for text in (title, _said(event)) if text)
    return Message(
        event_id=event.id,
        kind=event.kind,
        run=event.run,
        at=event.at,
        language=language,
        severity=severity_of(event),
        title=title,
        body=words,
        brief=shorten(words, LIMIT_BRIEF),
        status=status,
        link=link,
    )


def _said(event: Event) -> str:
    """Return the texts that come from the user's code: an error's or an alert's."""
    texts = (getattr(event, name, "") for name in ("title", "text", "error"))
    return "\n".join(told(str(text), 400) for text in texts if text)


BLOCKS = ("title", "body", "brief")

_LIMIT_OUTPUT = 20_000
_Block = Callable[[Context], Iterator[str]]


class CompiledTemplate:
    """Compiled template file. `fallback` renders the blocks that it does not have."""

    def __init__(self, template: Template, fallback: CompiledTemplate | None = None) -> None:
        self._template_of: dict[str, Template] = fallback._template_of.copy() if fallback else {}
        self._template_of |= dict.fromkeys(set(BLOCKS) & template.blocks.keys(), template)

    @property
    def blocks(self) -> frozenset[str]:
        """Names of the blocks that can be rendered."""
        return frozenset(self._template_of)

    def say(self, block: str, view: View) -> str:
        """Render one block. Raises whatever a template can raise, and ValueError for one that does not stop."""
        template = self._template_of[block]
        context = template.new_context(dict(view))
        return _collect(template.blocks[block](context))


def _collect(pieces: Iterator[str]) -> str:
    parts, length = [], 0
    for piece in pieces:
        parts.append(piece)
        length += len(piece)
        if length > _LIMIT_OUTPUT:
            raise ValueError(reader_text("rendering.renderer.output_too_long", limit_output=_LIMIT_OUTPUT))
    return "".join(parts)


@cache  # most of what a renderer costs is to compile these
def _environment(folder: Path) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=False,  # the output is plain text; each notifier escapes for its own service
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["shorten"] = shorten
    return environment


class TemplateSet:
    """All templates of one language: ours, and the user's files that stand in front of them."""

    def __init__(self, language: Language, user_folder: Path | None = None) -> None:
        self._language = language
        self._user_folder = user_folder
        self._environment = _environment(built_in_folder())

    def words(self, kind: str) -> tuple[CompiledTemplate, ...]:
        """Return the templates for a kind of event, in the order to be tried: the user's, then ours.

        Raises ConfigError for a user's file that does not compile or has none of the blocks.
        """
        ours = CompiledTemplate(self._environment.get_template(f"{self._language}/{kind}.j2"))
        path = self._user_file(kind)
        return (CompiledTemplate(self._compile(path), ours), ours) if path else (ours,)

    def _user_file(self, kind: str) -> Path | None:
        if self._user_folder is None:
            return None
        paths = (self._user_folder / self._language / f"{kind}.j2", self._user_folder / f"{kind}.j2")
        return next((path for path in paths if path.is_file()), None)

    def _compile(self, path: Path) -> Template:
        try:
            template = self._environment.from_string(path.read_text(encoding="utf-8"))
        except TemplateError as error:
            line = getattr(error, "lineno", None) or 1
            raise ConfigError(
                reader_text(
                    "rendering.renderer.wrong_line",
                    path=path,
                    line=line,
                    message=error.message,
                )
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            why = system_words(error) if isinstance(error, OSError) else str(error)
            raise ConfigError(reader_text("rendering.renderer.no_utf_8", path=path, why=why)) from error
        if not template.blocks.keys() & set(BLOCKS):
            names = ", ".join(BLOCKS)
            raise ConfigError(reader_text("rendering.renderer.no_blocks", path=path, names=names))
        return template
