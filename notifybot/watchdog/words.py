"""The few words that the watchdog says by itself."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words."""

    two_title: str
    two_text: str
    listening: str
    open_pages: str
    nobody_told: str


_WORDS = {
    Language.EN: Words(
        two_title="Two processes report this run",
        two_text="The newer one counts. The older one goes on by itself and may overwrite its checkpoints: stop it.",
        listening="listening on {}",
        open_pages="open the pages with (once, within an hour): {}",
        nobody_told="WARNING: no notifier is configured here. The watchdog notices lost runs and tells nobody. "
        "Set one, such as NOTIFYBOT_SLACK_WEBHOOK_URL, and start it again; `notifybot doctor` says what is missing.",
    ),
    Language.KO: Words(
        two_title="두 프로세스가 같은 실행을 보고하고 있습니다",
        two_text="나중에 시작한 프로세스를 기준으로 합니다. 먼저 시작한 프로세스가 체크포인트를 덮어쓸 수 있으니 "
        "중지해 주세요.",
        listening="감시 서버를 시작했습니다: {}",
        open_pages="웹 페이지 열기(한 시간 안에 한 번만 쓸 수 있는 링크): {}",
        nobody_told="경고: 알림 수단이 설정되어 있지 않습니다. 연결이 끊긴 실행을 발견해도 아무에게도 알리지 않습니다. "
        "NOTIFYBOT_SLACK_WEBHOOK_URL 같은 설정을 추가하고 다시 시작하세요. 무엇이 빠졌는지는 `notifybot doctor`가 "
        "알려 줍니다.",
    ),
}


def words_in(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
