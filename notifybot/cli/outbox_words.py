"""What `notifybot outbox list | show | retry | drop` prints, in Korean and English."""

from __future__ import annotations

from dataclasses import dataclass

from notifybot.store.schema import DeliveryState
from notifybot.types import Language


@dataclass(frozen=True, slots=True)
class Words:
    """Headings and sentences. Those with braces are format strings."""

    number: str
    state: str
    states: dict[DeliveryState, str]
    none_in_state: str
    message: str
    event: str
    attempts: str
    created: str
    due: str
    done: str
    no_such: str
    again: str
    left: str
    which: str
    ids_or_all: str
    delivered: str
    waits: str
    dropped: str
    cannot_retry: str
    cannot_drop: str
    how_on: str


_EN = Words(
    number="ID",
    state="State",
    states={
        DeliveryState.PENDING: "pending",
        DeliveryState.SENT: "sent",
        DeliveryState.DEAD: "dead",
        DeliveryState.DROPPED: "dropped",
    },
    none_in_state="No message is {state}.",
    message="Message",
    event="Event",
    attempts="Tries",
    created="Put at",
    due="Due at",
    done="Done at",
    no_such="there is no message {id} in the outbox: `notifybot outbox list` shows their ids",
    again="Messages to be sent again: {number}",
    left="not put back",
    which="say which messages are to be sent again. All that were given up: notifybot outbox retry --all. "
    "Single ones, by the IDs that `notifybot outbox list` shows: notifybot outbox retry ID",
    ids_or_all="name either single messages by their IDs, or --all (and with it --notifier or --run)",
    delivered="{id}: sent.",
    waits="{id}: it waits for {notifier}, and goes out with the next training here that uses it. {error}",
    dropped="{id}: dropped.",
    cannot_retry="{id}: not put back. Only a dead message can be, and one that the notifier does not have yet.",
    cannot_drop="{id}: not dropped. Only a message that is dead or waits can be.",
    how_on="Send all again: notifybot outbox retry --all    One: notifybot outbox retry ID    "
    "Give up for good: notifybot outbox drop ID",
)

_KO = Words(
    number="번호",
    state="상태",
    states={
        DeliveryState.PENDING: "대기",
        DeliveryState.SENT: "전송됨",
        DeliveryState.DEAD: "포기",
        DeliveryState.DROPPED: "생략",
    },
    none_in_state="‘{state}’ 상태인 메시지가 없습니다.",
    message="내용",
    event="이벤트",
    attempts="시도",
    created="접수",
    due="예정",
    done="처리",
    no_such="보낼 편지함에 {id}번 메시지가 없습니다. `notifybot outbox list`에서 번호를 확인하세요",
    again="다시 보낼 메시지: {number}건",
    left="되돌리지 못함",
    which="다시 보낼 메시지를 지정하세요. 포기한 메시지 모두: notifybot outbox retry --all. "
    "`notifybot outbox list`에 나오는 번호로 하나씩: notifybot outbox retry 번호",
    ids_or_all="메시지 번호와 --all 가운데 하나만 지정하세요(--notifier와 --run은 --all에만 씁니다)",
    delivered="{id}: 전송했습니다.",
    waits="{id}: {notifier} 전송을 기다립니다. 이 알림 수단을 쓰는 다음 학습 때 나갑니다. {error}",
    dropped="{id}: 보내지 않기로 했습니다.",
    cannot_retry="{id}: 되돌려 놓지 못했습니다. 전송을 포기한 메시지이면서 아직 전달되지 않은 것만 가능합니다.",
    cannot_drop="{id}: 그대로 두었습니다. 전송을 포기했거나 대기 중인 메시지만 뺄 수 있습니다.",
    how_on="모두 다시 보내기: notifybot outbox retry --all    하나만: notifybot outbox retry 번호    "
    "보내지 않기: notifybot outbox drop 번호",
)

_WORDS = {Language.EN: _EN, Language.KO: _KO}


def words_of(language: Language) -> Words:
    """The words of a language."""
    return _WORDS[language]
