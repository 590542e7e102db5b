"""The few words that the watchdog says by itself."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.model import Language


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words."""

    two_title: str
    two_text: str


_WORDS = {
    Language.EN: Words(
        two_title="Two processes report this run",
        two_text="The newer one counts. The older one goes on by itself and may overwrite its checkpoints: stop it.",
    ),
    Language.KO: Words(
        two_title="두 프로세스가 같은 실행을 보고하고 있습니다",
        two_text="나중에 시작한 프로세스를 기준으로 합니다. 먼저 시작한 프로세스가 체크포인트를 덮어쓸 수 있으니 "
        "중지해 주세요.",
    ),
}


def words_in(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
