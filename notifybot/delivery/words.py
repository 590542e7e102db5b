"""The few words that delivery has to say about itself."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """One language's words. `kinds` name events by the number, `one_of` a single one; braces make a format string."""

    waits: str
    database: str
    mistake: str
    no_thread: str
    in_memory: str
    given_up: str
    not_sent: str
    left_out: str
    count: str
    kept_back: str
    runs: str
    more: str
    kinds: dict[str, str]
    one_of: dict[str, str]


_KOREAN_KINDS = {  # Korean counts without a plural
    "run_started": "시작",
    "epoch_finished": "에포크",
    "checkpoint_saved": "체크포인트",
    "alert_raised": "경고",
    "run_ended": "종료",
    "run_stalled": "멈춤",
    "run_lost": "연결 끊김",
    "run_recovered": "복구",
}
_WORDS = {
    Language.EN: Words(
        waits="{name} cannot be reached now, messages wait: {why}",
        database="messages for {name} wait, as notifybot's own database is not to be had now: {why}",
        mistake="messages for {name} are held up by a mistake of notifybot's own, and tried again: {why}",
        no_thread="no more threads can be started here: the training goes on, and messages wait for the next start",
        in_memory="notifybot's database takes no record now: {why}; "
        "what happens is kept in memory and written as soon as it does, and the training goes on",
        given_up="{name} did not take a message of {run} ({kind}): {why}",
        not_sent="{number} messages of {run} could not be sent to {name}: {why}. "
        "Once that is mended: notifybot outbox retry --all",
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
        one_of={
            "run_started": "start",
            "epoch_finished": "epoch",
            "checkpoint_saved": "checkpoint",
            "alert_raised": "alert",
            "run_ended": "ending",
            "run_stalled": "stall",
            "run_lost": "loss of contact",
            "run_recovered": "recovery",
        },
    ),
    Language.KO: Words(
        waits="{name}에 지금 보낼 수 없어 알림이 기다리고 있습니다: {why}",
        database="{name} 알림이 기다리고 있습니다. notifybot의 데이터베이스를 지금 쓸 수 없습니다: {why}",
        mistake="notifybot 내부 오류로 {name} 알림이 늦어지고 있으며 다시 시도합니다: {why}",
        no_thread="더 이상 스레드를 시작할 수 없어 알림이 다음 시작을 기다립니다. 학습은 계속됩니다",
        in_memory="notifybot의 데이터베이스에 지금 기록할 수 없습니다: {why}; "
        "그동안의 일은 메모리에 두었다가 가능해지면 바로 기록하며, 학습은 계속됩니다",
        given_up="{name}에 {run}의 알림을 보내지 못했습니다({kind}): {why}",
        not_sent="{name}에 {run}의 알림 {number}건을 보내지 못했습니다: {why}. "
        "해결한 뒤 다시 보내려면: notifybot outbox retry --all",
        left_out="생략된 알림",
        count="{number}건",
        kept_back="모아 둔 알림 {number}건",
        runs="실행 {number}개",
        more="… 이전 {number}건 더 있음",
        kinds=_KOREAN_KINDS,
        one_of=_KOREAN_KINDS,
    ),
}


def words_in(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
