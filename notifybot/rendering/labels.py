"""Labels of a run: its status in a word or two, its position ("epoch 3/30", "step 1,500"), and the cause of its end."""

from __future__ import annotations

import math
import re
from typing import cast

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
from notifybot.i18n import text
from notifybot.types import UNITS, Language, Progress, Status, Unit

_MOST_EPOCHS = 10**9
_PLACE = re.compile(rf" \[({'|'.join(UNITS)}) ([^\[\]]{{1,80}})\]$")  # the end of an error text


def status_word(event: Event, language: Language) -> str:
    """Return the status of a run after `event`, in one word or two."""
    match event:
        case RunEnded():
            status: str = event.status
        case RunLost():
            status = Status.LOST
        case RunStalled():
            status = "stalled"
        case RunRecovered():
            status = "recovered"
        case AlertRaised():
            status = "alert"
        case RunStarted() | EpochFinished() | CheckpointSaved():
            status = Status.RUNNING
    return text(language, f"status.{status}").removeprefix("status.")  # as it is, where a later version has more


def grouped(many: int | str, unit: Unit) -> str:
    """Return a number of steps, rounds or trials with its thousands apart: "20,000". One of epochs is as it is."""
    return f"{many:,}" if isinstance(many, int) and unit != "epoch" else str(many)


def epoch_name(epoch: int | str, language: Language, unit: Unit = "epoch") -> str:
    """Return what an epoch is called, or what stands for it: "epoch 17", "step 1,500"."""
    return text(language, f"phrase.{unit}", **{unit: grouped(epoch, unit)})


def cause(error: str, language: Language) -> str:
    """Return what ended a run with its place in the reader's words: "ValueError: boom [epoch 3]"."""
    return _PLACE.sub(lambda place: f" [{_named(place[1], place[2], language)}]", error)


def _named(word: str, label: str, language: Language) -> str:
    unit = cast("Unit", word)
    return epoch_name(int(label) if label.isdecimal() else label, language, unit)


def has_end(total: int | None) -> bool:
    """True for a number of epochs that is meant to be reached: `range(sys.maxsize)` says that there is no end."""
    return total is not None and 0 < total <= _MOST_EPOCHS


def position(progress: Progress, language: Language) -> str:
    """Return how far a run has come: "epoch 3/30", or "epoch 2 (3/30)" where the user's label is not the count.

    Loops over `range(30)` label from 0, so the two differ more often than not. Empty before the first epoch. A step
    has its part of the epochs with it where the trainer counts both: "step 1,500/20,000 (epoch 2.3)".
    """
    unit = progress.unit
    share = share_of(progress)
    if progress.epoch is None:
        return epoch_name(share or progress.done, language, unit) if progress.done else ""
    if progress.part is not None and unit != "epoch":
        part = text(language, "phrase.part", epochs=_part(progress.part))
        return epoch_name(share or progress.epoch, language, unit) + part
    if share and progress.epoch == progress.done:
        return epoch_name(share, language, unit)
    return epoch_name(progress.epoch, language, unit) + (f" ({share})" if share else "")


def share_of(progress: Progress) -> str:
    """Return how many are done of how many: "3/30", "1,500/20,000"; empty where nobody knows how many there are."""
    if progress.total is None or not has_end(progress.total):
        return ""
    return f"{grouped(progress.done, progress.unit)}/{grouped(progress.total, progress.unit)}"


def _part(epochs: float) -> str:
    """Epochs in two or three digits, never more than are done: "0.043", "2.9", "12.3"."""
    if not 0 <= epochs < _MOST_EPOCHS:
        return "?"
    scale = 10 if epochs >= 1 else 1000
    return f"{math.floor(epochs * scale + 1e-6) / scale:g}"
