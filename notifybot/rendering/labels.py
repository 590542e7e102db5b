"""The few words that are no sentence and so not in a template: statuses, labels, and what an epoch is called."""

from __future__ import annotations

import re
from dataclasses import dataclass

from notifybot.events import (
    AlertRaised,
    CheckpointSaved,
    EpochFinished,
    Event,
    RunEnded,
    RunLost,
    RunRecovered,
    RunStalled,
    RunStarted,
)
from notifybot.types import Language, Progress, Status


@dataclass(frozen=True, slots=True)
class Labels:
    """The names of a message's facts in one language."""

    eta: str
    elapsed: str
    epoch_time: str
    machine: str
    device: str
    checkpoint: str


LABELS = {
    Language.EN: Labels("ETA", "Elapsed", "Per epoch", "Machine", "Device", "Last checkpoint"),
    Language.KO: Labels("남은 시간", "경과 시간", "에포크당", "장비", "장치", "마지막 체크포인트"),
}

_STATUSES: dict[Language, dict[str, str]] = {
    Language.EN: {str(word): str(word) for word in (*Status, "stalled", "recovered", "alert")},
    Language.KO: {
        Status.RUNNING: "진행 중",
        Status.FINISHED: "완료",
        Status.STOPPED: "조기 종료",
        Status.INTERRUPTED: "중단됨",
        Status.FAILED: "실패",
        Status.LOST: "연결 끊김",
        "stalled": "멈춤",
        "recovered": "복구됨",
        "alert": "알림",
    },
}
_EPOCH = {Language.EN: "epoch", Language.KO: "에포크"}
_MOST_EPOCHS = 10**9
_PLACE = re.compile(r" \[epoch ([^\[\]]{1,80})\]$")  # as an ending says it


def status_word(event: Event, language: Language) -> str:
    """Return where a run stands after `event`, in one word or two."""
    status = _status(event)
    return _STATUSES[language].get(status, status)


def _status(event: Event) -> str:
    match event:
        case RunEnded():
            return event.status
        case RunLost():
            return Status.LOST
        case RunStalled():
            return "stalled"
        case RunRecovered():
            return "recovered"
        case AlertRaised():
            return "alert"
        case RunStarted() | EpochFinished() | CheckpointSaved():
            return Status.RUNNING


def epoch_name(epoch: int, language: Language) -> str:
    """Return what an epoch is called: "epoch 17"."""
    return f"{_EPOCH[language]} {epoch}"


def cause(error: str, language: Language) -> str:
    """Return what ended a run with its place in the reader's words: "ValueError: boom [epoch 3]"."""
    return _PLACE.sub(rf" [{_EPOCH[language]} \1]", error)


def has_end(total: int | None) -> bool:
    """True for a number of epochs that somebody means to reach: `range(sys.maxsize)` says that there is no end."""
    return total is not None and 0 < total <= _MOST_EPOCHS


def position(progress: Progress, language: Language) -> str:
    """Return how far a run has come: "epoch 3/30", or "epoch 2 (3/30)" where the user's label is not the count.

    Loops over `range(30)` label from 0, so the two differ more often than not. Empty before the first epoch.
    """
    share = f"{progress.done}/{progress.total}" if has_end(progress.total) else ""
    if progress.epoch is None:
        return f"{_EPOCH[language]} {share or progress.done}" if progress.done else ""
    if share and progress.epoch == progress.done:
        return f"{_EPOCH[language]} {share}"
    return epoch_name(progress.epoch, language) + (f" ({share})" if share else "")
