"""The renderer: an event in, a message out, whatever happens."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from notifybot.errors import ConfigError, said
from notifybot.events import KINDS, EpochFinished, Event
from notifybot.policy import severity_of
from notifybot.rendering.labels import status_word
from notifybot.rendering.sources import Library, Words
from notifybot.rendering.table import HEADINGS, metric_rows, rowless
from notifybot.rendering.text import shorten
from notifybot.rendering.view import code_of, facts_of, told, view_of
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
            raise ConfigError(
                said(
                    f"templates_dir: there is no folder {templates_dir}. Make it, or remove the setting.",
                    f"templates_dir: {templates_dir} 폴더가 없습니다. 폴더를 만들거나 이 설정을 지우세요.",
                )
            )
        self.language = language
        library = Library(language, templates_dir)
        self._words = {kind: library.words(kind) for kind in KINDS}
        self._complained: set[str] = set()

    def render(self, event: Event, *, link: str | None = None, skipped: int = 0) -> Message:
        """Return the message about `event`. Never raises: a template that fails gives way to ours, ours to bare words.

        `skipped` counts older epoch messages that this one replaces.
        """
        for words in self._words.get(event.kind, ()):
            try:
                return _compose(event, self.language, words, link, skipped)
            except Exception as error:  # noqa: BLE001 - a template is code that users write: better plain than silent
                self._complain(event.kind, error)
        return _bare(event, self.language, link)

    def outline(self, event: EpochFinished) -> Message:
        """Return an epoch's figures without the templates' words, at a third of the cost: for the console's line."""
        rows = metric_rows(event.progress, self.language)
        return replace(_bare(event, self.language, None), headings=HEADINGS[self.language], rows=rows)

    def _complain(self, kind: str, error: Exception) -> None:
        if kind not in self._complained:
            self._complained.add(kind)
            why = f"{type(error).__name__}: {error}"
            text = said(
                f"template for {kind} failed, told in other words: {why}",
                f"{kind} 템플릿에 오류가 있어 기본 문구로 알립니다: {why}",
            )
            _log.warning("%s", text)


def _compose(event: Event, language: Language, words: Words, link: str | None, skipped: int) -> Message:
    view = view_of(event, language, skipped)
    title, brief = _line(words.say("title", view)), _lines(words.say("brief", view))
    if not (title and brief):
        raise ValueError(said("title and brief must not be empty", "title과 brief는 비워 둘 수 없습니다"))
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
        headings=HEADINGS[language],
        rows=view["rows"],
        more=rowless(event.progress),
        facts=facts_of(event, language),
        code=code_of(event),
        link=link,
        epoch=view["epoch"],
        done=view["done"],
        total=view["total"],
    )


def _line(text: str) -> str:
    return " ".join(text.split())


def _lines(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())


def _bare(event: Event, language: Language, link: str | None) -> Message:
    """The last resort: nothing but what every event has, so that nothing can fail."""
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
    """What the user's code said in its own words: an error or an alert."""
    texts = (getattr(event, name, "") for name in ("title", "text", "error"))
    return "\n".join(told(str(text), 400) for text in texts if text)
