"""What the demo of the dead man's switch says, in Korean and English."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """Sentences of the story and of its check list."""

    title: str
    intro: str
    waiting: str
    none_waiting: str
    killed: str
    again: str
    finished: str
    by_bot: str
    by_itself: str
    once: str
    soon: str
    where: str
    cleared: str


_EN = Words(
    title="The dead man's switch, without a server",
    intro="A run that is acted out before a stand-in for Slack whose clock is moved: a day passes in seconds. "
    "No account is used.",
    waiting="scheduled at Slack: an alarm for {times}",
    none_waiting="scheduled at Slack: nothing",
    killed="Here the machine is lost in mid-epoch: nobody is left to tell. Only Slack's clock goes on",
    again="The same run, started again on another machine",
    finished="The run has ended and taken its alarm back. A day passes",
    by_bot="posted by the run",
    by_itself="posted by Slack itself",
    once="Slack told the death once, and nothing about the living run",
    soon="It did so {minutes:.0f} minutes after the death (at most 15)",
    where="In the run's thread, and in the channel",
    cleared="No alarm is left at Slack",
)

_KO = Words(
    title="서버 없는 데드맨 스위치",
    intro="시계를 마음대로 돌릴 수 있는 Slack 샌드박스에서 학습 한 번을 연출합니다. "
    "하루가 몇 초 만에 지나가며 계정은 필요하지 않습니다.",
    waiting="Slack에 예약된 알림: {times}",
    none_waiting="Slack에 예약된 알림: 없음",
    killed="여기서 에포크 도중에 장비가 사라집니다. 알려 줄 프로그램이 없고 Slack의 시계만 계속 갑니다",
    again="다른 장비에서 같은 실행을 다시 시작합니다",
    finished="학습이 끝나 예약된 알림을 취소했습니다. 하루가 지나갑니다",
    by_bot="학습이 보냄",
    by_itself="Slack이 스스로 보냄",
    once="Slack이 연결 끊김을 한 번 알렸고, 살아 있는 동안에는 알리지 않았습니다",
    soon="장비가 사라지고 {minutes:.0f}분 뒤에 알렸습니다 (최대 15분)",
    where="실행의 스레드와 채널에 모두 알렸습니다",
    cleared="Slack에 남은 예약 알림이 없습니다",
)

_WORDS = {Language.EN: _EN, Language.KO: _KO}


def words_of(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
