"""The few words on a picture."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words. `more` and `metric` are format strings."""

    run: str
    epoch: str
    resumed: str
    more: str
    log: str
    metric: str


WORDS = {
    Language.EN: Words(
        run="run", epoch="epoch", resumed="resumed", more="{count} more not shown",
        log="log scale", metric="metric {number}",
    ),
    Language.KO: Words(
        run="실행", epoch="에포크", resumed="이어서 학습", more="외 {count}개 생략",
        log="로그 눈금", metric="지표 {number}",
    ),
}  # fmt: skip
