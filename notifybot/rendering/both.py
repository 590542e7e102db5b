"""One text in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from notifybot.types import Language


class Values(dict[str, str]):
    """Values that a text should be given and is not, as it may come from elsewhere, are a question mark."""

    def __missing__(self, name: str) -> str:
        return "?"


@dataclass(frozen=True, slots=True)
class Both:
    """A text, or a format string, in English and Korean."""

    en: str
    ko: str

    def in_(self, language: Language) -> str:
        """The text as a reader of that language gets it."""
        return self.ko if language is Language.KO else self.en

    def filled(self, **values: object) -> Both:
        """The text with its places filled."""
        return Both(self.en.format(**values), self.ko.format(**values))

    def told(self, language: Language, values: Mapping[str, str]) -> str:
        """The text of a language with its places filled by what was stored, be it all of it or not."""
        return self.in_(language).format_map(Values(values))
