"""Renderer: turns an event into a message and never raises; templates of one language, the user's before ours."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifybot.errors import ConfigError, reader_text, system_words
from notifybot.events import KINDS, EpochFinished, Event, RunEnded, RunStalled
from notifybot.i18n import built_in_folder
from notifybot.policy import severity_of
from notifybot.rendering.format import headings, metric_rows
from notifybot.rendering.labels import status_word
from notifybot.rendering.text import safe_line, shorten
from notifybot.rendering.view import View, code_of, facts_of, view_of
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
        self._templates = {kind: library.templates(kind) for kind in KINDS}
        self._complained: set[str] = set()

    def render(self, event: Event, *, link: str | None = None, skipped: int = 0) -> Message:
        """Return the message about `event`. Never raises: a template that fails gives way to ours, ours to bare words.

        `skipped` counts older epoch messages that this one replaces.
        """
        for template in self._templates.get(event.kind, ()):
            try:
                return self._compose(event, template, link, skipped)
            except Exception as error:  # noqa: BLE001 - a template is code that users write: better plain than silent
                self._complain(event.kind, error)
        return _bare(event, self.language, link)

    def render_summary(self, event: EpochFinished) -> Message:
        """Return an epoch's figures without the templates' words, at a third of the cost: for the console's line."""
        rows = metric_rows(event.progress, self.language)
        return replace(_bare(event, self.language, None), headings=self._headings, rows=rows)

    def _compose(self, event: Event, template: CompiledTemplate, link: str | None, skipped: int) -> Message:
        view = view_of(event, self.language, skipped)
        title, body, brief = template.render(view)
        title = " ".join(title.split())
        body, brief = ("\n".join(filter(None, map(str.strip, each.splitlines()))) for each in (body, brief))
        if not (title and brief):
            raise ValueError(reader_text("rendering.renderer.title_or_brief_is_empty"))
        return Message(
            event_id=event.id,
            kind=event.kind,
            run=event.run,
            at=event.at,
            language=self.language,
            severity=severity_of(event),
            title=shorten(title, LIMIT_TITLE),
            body=shorten(body, LIMIT_BODY),
            brief=shorten(brief, LIMIT_BRIEF),
            status=view["status"],
            headings=self._headings,
            rows=view["rows"],
            more=len(event.progress.shown) - len(view["rows"]) + event.progress.more,
            facts=facts_of(event, view, self.language),
            code=code_of(event) if isinstance(event, RunEnded | RunStalled) else "",
            link=link,
            epoch=view["epoch"],
            done=view["done"],
            total=view["total"],
            unit=event.progress.unit,
        )

    @cached_property
    def _headings(self) -> tuple[str, str, str, str, str]:
        return headings(self.language)  # not before there is a message: the catalog is read for it

    def _complain(self, kind: str, error: Exception) -> None:
        if kind not in self._complained:
            self._complained.add(kind)
            why = f"{type(error).__name__}: {error}"
            text = reader_text("rendering.renderer.template_failed", kind=kind, why=why)
            _log.warning("%s", text)


def _bare(event: Event, language: Language, link: str | None) -> Message:
    """Return the last-resort message: only fields that every event has, so that nothing can fail.

    The texts are those that come from the user's code: an alert's or an error's.
    """
    status = status_word(event, language)
    title = f"{safe_line(str(event.run.name), 60) or event.run.id} · {status}"
    said = filter(None, (getattr(event, name, "") for name in ("title", "text", "error")))
    body = "\n".join(filter(None, (title, *(safe_line(str(each), 400) for each in said))))
    return Message(
        event_id=event.id,
        kind=event.kind,
        run=event.run,
        at=event.at,
        language=language,
        severity=severity_of(event),
        title=title,
        body=body,
        brief=shorten(body, LIMIT_BRIEF),
        status=status,
        link=link,
    )


BLOCKS = ("title", "body", "brief")

_LIMIT_OUTPUT = 20_000


class CompiledTemplate:
    """Compiled template file. `fallback` renders the blocks that it does not have."""

    def __init__(self, template: Template, fallback: CompiledTemplate | None = None) -> None:
        self._template_of: dict[str, Template] = fallback._template_of.copy() if fallback else {}
        self._template_of |= dict.fromkeys(set(BLOCKS) & template.blocks.keys(), template)

    @property
    def blocks(self) -> frozenset[str]:
        """Names of the blocks that can be rendered."""
        return frozenset(self._template_of)

    def render(self, view: View) -> list[str]:
        """Render all BLOCKS. Raises whatever a template can raise, and ValueError for one that does not stop."""
        texts, contexts = [], {}
        for block in BLOCKS:
            template = self._template_of[block]
            if template not in contexts:
                contexts[template] = template.new_context(dict(view))
            parts, length = [], 0
            for piece in template.blocks[block](contexts[template]):
                parts.append(piece)
                length += len(piece)
                if length > _LIMIT_OUTPUT:
                    raise ValueError(reader_text("rendering.renderer.output_too_long", limit_output=_LIMIT_OUTPUT))
            texts.append("".join(parts))
        return texts


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

    def templates(self, kind: str) -> tuple[CompiledTemplate, ...]:
        """Return the templates for a kind of event, in the order to be tried: the user's, then ours.

        Raises ConfigError for a user's file that does not compile or has none of the blocks.
        """
        ours = CompiledTemplate(self._environment.get_template(f"{self._language}/{kind}.j2"))
        folder = self._user_folder
        paths = (folder / self._language / f"{kind}.j2", folder / f"{kind}.j2") if folder else ()
        path = next((each for each in paths if each.is_file()), None)
        return (CompiledTemplate(self._compile(path), ours), ours) if path else (ours,)

    def _compile(self, path: Path) -> Template:
        try:
            template = self._environment.from_string(path.read_text(encoding="utf-8"))
        except TemplateError as error:
            line = getattr(error, "lineno", None) or 1
            text = reader_text("rendering.renderer.wrong_line", path=path, line=line, message=error.message)
            raise ConfigError(text) from error
        except (OSError, UnicodeDecodeError) as error:
            why = system_words(error) if isinstance(error, OSError) else str(error)
            raise ConfigError(reader_text("rendering.renderer.no_utf_8", path=path, why=why)) from error
        if not template.blocks.keys() & set(BLOCKS):
            names = ", ".join(BLOCKS)
            raise ConfigError(reader_text("rendering.renderer.no_blocks", path=path, names=names))
        return template
