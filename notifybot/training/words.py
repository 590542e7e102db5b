"""What the hook says to whoever started the training, beside its messages."""

from __future__ import annotations

from notifybot.model import Language

_COMPLETE = {
    Language.EN: "{} is complete, no epoch is left to train: fresh=True would start over",
    Language.KO: "{} 학습은 이미 끝나서 남은 에포크가 없습니다. 처음부터 다시 학습하려면 fresh=True를 지정해 주세요",
}


def complete(name: str, language: Language) -> str:
    """Every epoch of the run is done."""
    return _COMPLETE[language].format(name)
