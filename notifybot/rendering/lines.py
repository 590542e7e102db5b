"""Short lines that messages and pages share: the machine, the model, and what a resumed session goes on from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from notifybot.redaction import redact
from notifybot.rendering.format import about, count, memory
from notifybot.rendering.labels import epoch_name
from notifybot.rendering.text import one_line, shorten
from notifybot.types import Checkpoint, Host, Language, ModelSize, Progress, Resumed, Tier

_LIMIT_DEVICE = 32
_LIMIT_FROZEN = 48
_MAKERS = re.compile(r"^((NVIDIA|AMD|Intel|Tesla|GeForce|Quadro)(\(R\))?\s+)+(?=\S)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Words:
    """The parts of the lines in one language; `{}` stands for a value."""

    memory: str
    uptime: str
    parameters: str
    trainable: str
    frozen: str
    machine: str
    first_epoch: str
    on_disk: str
    on_machine: str
    copied: str


_WORDS = {
    Language.EN: _Words(
        memory="{} RAM",
        uptime="up {}",
        parameters="{} parameters",
        trainable="{} of {} parameters learn",
        frozen="frozen: {}",
        machine="machine",
        first_epoch="the first epoch",
        on_disk="verified",
        on_machine="verified, on the training machine only",
        copied="verified and copied",
    ),
    Language.KO: _Words(
        memory="RAM {}",
        uptime="켜진 지 {}",
        parameters="파라미터 {}",
        trainable="파라미터 {1} 중 {0} 학습",
        frozen="고정: {}",
        machine="장비",
        first_epoch="첫 에포크",
        on_disk="검증됨",
        on_machine="검증됨, 학습 장비에만 있음",
        copied="검증 후 복사됨",
    ),
}


def memory_line(host: Host, language: Language) -> str:
    """Return the machine's memory: "12.7 GB RAM"."""
    return _WORDS[language].memory.format(memory(host.memory_bytes)) if host.memory_bytes else ""


def uptime_line(up_s: float | None, language: Language) -> str:
    """Return how long the machine has been up: "up 3 h"."""
    told = about(up_s, language) if up_s else ""
    return _WORDS[language].uptime.format(told) if told else ""


def model_line(model: ModelSize | None, language: Language) -> str:
    """Return how large a model is and how much of it learns: "1.2 M of 11.7 M parameters learn · frozen: backbone"."""
    if model is None:
        return ""
    words = _WORDS[language]
    if model.trainable >= model.total:
        return words.parameters.format(count(model.total, language))
    learns = words.trainable.format(count(model.trainable, language), count(model.total, language))
    names = _names(model.frozen)
    return f"{learns} · {words.frozen.format(names)}" if names else learns


def tier_words(checkpoint: Checkpoint | None, language: Language) -> str:
    """Return how safe a checkpoint is, in a few words; empty where nobody looked into it.

    That it lies on the machine alone is told where machines are reset: on one's own it is no news.
    """
    words = _WORDS[language]
    if checkpoint is None or checkpoint.tier is Tier.UNPROVEN:
        return ""
    if checkpoint.tier is Tier.REMOTE:
        return words.copied
    return words.on_machine if checkpoint.fleeting else words.on_disk


def short_device(name: str) -> str:
    """Return an accelerator's name without its makers: "T4" for "Tesla T4"."""
    return shorten(redact(_MAKERS.sub("", one_line(name))), _LIMIT_DEVICE)


def new_device(resumed: Resumed, host: Host, language: Language) -> str:
    """Return what a session was moved to, its accelerator or just a machine; empty where it stayed."""
    return (short_device(host.device) or _WORDS[language].machine) if resumed.new_machine else ""


def lost_work(resumed: Resumed, language: Language) -> str:
    """Return how much work is done again: "12 min". Empty where there is none, or nobody knows."""
    return about(resumed.lost_s, language) if resumed.lost_s is not None and resumed.lost_s >= 1 else ""


def next_epoch(resumed: Resumed, progress: Progress, language: Language) -> str:
    """Return the epoch that a resumed session works on: "epoch 18". Empty where there is none or nobody can know.

    Where it could not be seen (a generator's, or an event of an older version), labels that so far were counted from
    0 or 1 tell it; a single one does not: `range(0, 30, 5)` begins at 0 as well.
    """
    if resumed.epoch is None:
        return _WORDS[language].first_epoch
    if resumed.next_epoch is not None:
        return epoch_name(resumed.next_epoch, language)
    if progress.total and progress.done >= progress.total:
        return ""
    counted = not progress.done or (progress.done > 1 and resumed.epoch - progress.done in (-1, 0))
    return epoch_name(resumed.epoch + 1, language) if counted else ""


def _names(names: Sequence[str]) -> str:
    """The first names in one line that fits, and how many more there are: "backbone, embed +3"."""
    shown: list[str] = []
    for name in names:
        longer = [*shown, redact(one_line(name))]
        if shown and len(", ".join(longer)) > _LIMIT_FROZEN:
            break
        shown = longer
    line = shorten(", ".join(shown), _LIMIT_FROZEN)
    return f"{line} +{len(names) - len(shown)}" if len(names) > len(shown) else line
