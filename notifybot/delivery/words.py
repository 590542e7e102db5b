"""The few words that delivery has to say about itself."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.model import Language


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words. `not_taken` and `count` are format strings."""

    not_taken: str
    left_out: str
    count: str


_WORDS = {
    Language.EN: Words(not_taken="{name} did not take a message", left_out="Messages left out", count="{number}"),
    Language.KO: Words(not_taken="{name}에 알림을 보내지 못했습니다", left_out="생략된 알림", count="{number}건"),
}


def words_in(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
