"""Templates, found and compiled: one file a kind and language with the blocks title, body and brief."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined, Template, TemplateError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifybot.errors import ConfigError, said, system_words
from notifybot.rendering.text import shorten
from notifybot.rendering.view import View
from notifybot.types import Language

BLOCKS = ("title", "body", "brief")

_LIMIT_OUTPUT = 20_000
_Block = Callable[[Context], Iterator[str]]


class Words:
    """What one template file says. Blocks it does not have are said by `fallback`."""

    def __init__(self, template: Template, fallback: Words | None = None) -> None:
        self._template_of: dict[str, Template] = fallback._template_of.copy() if fallback else {}
        self._template_of |= dict.fromkeys(set(BLOCKS) & template.blocks.keys(), template)

    @property
    def blocks(self) -> frozenset[str]:
        """The blocks that can be said."""
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
            raise ValueError(
                said(
                    f"the template says more than {_LIMIT_OUTPUT} characters",
                    f"템플릿의 결과가 {_LIMIT_OUTPUT}자를 넘습니다",
                )
            )
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


class Library:
    """All templates of one language: ours, and the user's files that stand in front of them."""

    def __init__(self, language: Language, user_folder: Path | None = None) -> None:
        self._language = language
        self._user_folder = user_folder
        self._environment = _environment(built_in_folder())

    def words(self, kind: str) -> tuple[Words, ...]:
        """Return who may tell of a kind of event, in the order to be asked: the user's template, then ours.

        Raises ConfigError for a user's file that does not compile or has none of the blocks.
        """
        ours = Words(self._environment.get_template(f"{self._language}/{kind}.j2"))
        path = self._user_file(kind)
        return (Words(self._compile(path), ours), ours) if path else (ours,)

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
                said(
                    f"{path}, line {line}: {error.message}. Correct the template or remove it.",
                    f"{path} {line}번째 줄: {error.message}. 템플릿을 고치거나 지우세요.",
                )
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            why = system_words(error) if isinstance(error, OSError) else str(error)
            raise ConfigError(
                said(
                    f"{path} cannot be read as UTF-8 text: {why}. Correct the file or remove it.",
                    f"{path} 파일을 UTF-8 글자로 읽을 수 없습니다: {why}. 파일을 고치거나 지우세요.",
                )
            ) from error
        if not template.blocks.keys() & set(BLOCKS):
            names = ", ".join(BLOCKS)
            raise ConfigError(
                said(
                    f"{path} has none of the blocks {names}. Write {{% block title %}} … in it.",
                    f"{path}에 {names} 블록이 하나도 없습니다. {{% block title %}} …처럼 블록을 쓰세요.",
                )
            )
        return template


def built_in_folder() -> Path:
    """Where our templates are: inside the installed package, or at the top of the source tree."""
    package = Path(__file__).parents[1]
    installed = package / "_templates"
    return installed if installed.is_dir() else package.parent / "templates"
