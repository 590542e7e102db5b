"""The few words that delivery has to say about itself."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.model import Language


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words. `kinds` name events by the number; what holds braces is a format string."""

    waits: str
    given_up: str
    left_out: str
    count: str
    kept_back: str
    runs: str
    more: str
    kinds: dict[str, str]


_WORDS = {
    Language.EN: Words(
        waits="{name} cannot be reached now, messages wait: {why}",
        given_up="{name} did not take a message ({kind}): {why}",
        left_out="Messages left out",
        count="{number}",
        kept_back="{number} updates kept for you",
        runs="{number} runs",
        more="… and {number} earlier",
        kinds={
            "run_started": "starts",
            "epoch_finished": "epochs",
            "checkpoint_saved": "checkpoints",
            "alert_raised": "alerts",
            "run_ended": "endings",
            "run_stalled": "stalls",
            "run_lost": "losses of contact",
            "run_recovered": "recoveries",
        },
    ),
    Language.KO: Words(
        waits="{name}에 지금 보낼 수 없어 알림이 기다리고 있습니다: {why}",
        given_up="{name}에 알림을 보내지 못했습니다({kind}): {why}",
        left_out="생략된 알림",
        count="{number}건",
        kept_back="모아 둔 알림 {number}건",
        runs="실행 {number}개",
        more="… 이전 {number}건 더 있음",
        kinds={
            "run_started": "시작",
            "epoch_finished": "에포크",
            "checkpoint_saved": "체크포인트",
            "alert_raised": "경고",
            "run_ended": "종료",
            "run_stalled": "멈춤",
            "run_lost": "연결 끊김",
            "run_recovered": "복구",
        },
    ),
}


def words_in(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
