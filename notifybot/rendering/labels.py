"""Labels of a run: its status in a word or two, its position ("epoch 3/30"), and the cause of its end."""

from __future__ import annotations

import re

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
from notifybot.types import Language, Progress, Status

_MOST_EPOCHS = 10**9
_PLACE = re.compile(r" \[epoch ([^\[\]]{1,80})\]$")  # the end of an error text


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


def epoch_name(epoch: int | str, language: Language) -> str:
    """Return what an epoch is called: "epoch 17"."""
    return text(language, "phrase.epoch", epoch=epoch)


def cause(error: str, language: Language) -> str:
    """Return what ended a run with its place in the reader's words: "ValueError: boom [epoch 3]"."""
    return _PLACE.sub(lambda place: f" [{epoch_name(place[1], language)}]", error)


def has_end(total: int | None) -> bool:
    """True for a number of epochs that is meant to be reached: `range(sys.maxsize)` says that there is no end."""
    return total is not None and 0 < total <= _MOST_EPOCHS


def position(progress: Progress, language: Language) -> str:
    """Return how far a run has come: "epoch 3/30", or "epoch 2 (3/30)" where the user's label is not the count.

    Loops over `range(30)` label from 0, so the two differ more often than not. Empty before the first epoch.
    """
    share = f"{progress.done}/{progress.total}" if has_end(progress.total) else ""
    if progress.epoch is None:
        return epoch_name(share or progress.done, language) if progress.done else ""
    if share and progress.epoch == progress.done:
        return epoch_name(share, language)
    return epoch_name(progress.epoch, language) + (f" ({share})" if share else "")
