"""The few words that Slack messages add to what the templates say."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words. `more`, `best` and `epoch` are format strings."""

    headings: tuple[str, str, str, str, str]
    more: str
    best: str
    epoch: str
    open: str
    event: str


_WORDS = {
    Language.EN: Words(
        headings=("Metric", "Value", "Change", "Best", "Trend"),
        more="+{count} more",
        best="🏆 New best {name}: {value}",
        epoch="epoch {epoch}",
        open="Open the run",
        event="event",
    ),
    Language.KO: Words(
        headings=("지표", "값", "변화", "최고", "추세"),
        more="외 {count}개",
        best="🏆 {name} 최고 기록을 경신했습니다: {value}",
        epoch="에포크 {epoch}",
        open="실행 보기",
        event="이벤트",
    ),
}


def words_in(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
