"""What people are told about a run's alerts, in their language: what began, what is over, and what it rests on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, assert_never

from notifybot.alerts.evidence import (
    Alert,
    DiskRoom,
    Distance,
    Duration,
    Evidence,
    Finite,
    Gap,
    GpuRoom,
    GpuUse,
    Limit,
    Pace,
    Reached,
)
from notifybot.model import Language, Severity
from notifybot.rendering.alerts import AlertWords
from notifybot.rendering.numbers import duration, memory, number, size
from notifybot.rendering.text import one_line, shorten, shorten_path

_LIMIT_NAME = 40  # leaves a title of 80 characters room for what happened
_LIMIT_NAMES = 5
_LIMIT_PATH = 60


class Told(NamedTuple):
    """An alert in one language."""

    words: AlertWords
    severity: Severity


class _Phrase(NamedTuple):
    """One subject's title and line of evidence, and what may help."""

    title: str
    line: str
    advice: str = ""


def raised(evidence: Sequence[Evidence], language: Language) -> Told:
    """What began under one rule: a line for each subject (a metric, a disk, a GPU)."""
    first = evidence[0]
    if isinstance(first, Alert):
        return Told(AlertWords(first.title, first.text), Severity(first.severity))
    severity = Severity.ERROR if isinstance(first, Finite) else Severity.WARNING
    words = _joined(evidence, _BEGAN[language], _MANY[language])
    return Told(words, Severity.SUCCESS if isinstance(first, Reached) else severity)


def cleared(evidence: Sequence[Evidence], language: Language) -> Told | None:
    """What is over under one rule; None where there is nothing to say."""
    if isinstance(evidence[0], Alert | Reached):
        return None
    return Told(_joined(evidence, _OVER[language], _MANY_AGAIN[language]), Severity.SUCCESS)


def unlogged(missing: Sequence[str], logged: Sequence[str], language: Language) -> Told:
    """Metrics that rules wait for were not among those of the first epoch."""
    title, text, nothing = _UNLOGGED[language]
    return Told(AlertWords(title, text.format(_names(missing), _names(logged) or nothing)), Severity.WARNING)


_UNLOGGED = {
    Language.EN: (
        "A metric with an alert was not logged",
        "Not logged in the first epoch: {}. Logged: {}.\nThe alert begins once it is logged. Is the name right?",
        "nothing",
    ),
    Language.KO: (
        "알림을 설정한 지표가 기록되지 않았습니다",
        "첫 에포크에 기록되지 않은 지표: {}. 기록된 지표: {}.\n"
        "지표가 기록되면 그때부터 알림이 동작합니다. 이름이 맞는지 확인해 주세요.",
        "없음",
    ),
}
_MANY = {
    Language.EN: "{} and {} more are NaN or infinite",
    Language.KO: "{} 외 {}개 지표가 NaN 또는 무한대입니다",
}
_MANY_AGAIN = {
    Language.EN: "{} and {} more are finite again",
    Language.KO: "{} 외 {}개 지표가 정상으로 돌아왔습니다",
}


def _joined(evidence: Sequence[Evidence], words: Callable[[Evidence], _Phrase], many: str) -> AlertWords:
    """One message for all that happened at once."""
    phrases = [words(each) for each in evidence[:_LIMIT_NAMES]]
    first, more = evidence[0], len(evidence) - 1
    title = many.format(_name(first.metric), more) if isinstance(first, Finite) and more else phrases[0].title
    lines = [phrase.line for phrase in phrases]
    if len(evidence) > _LIMIT_NAMES:
        lines.append(f"… +{len(evidence) - _LIMIT_NAMES}")
    return AlertWords(title, "\n".join(filter(None, [*lines, phrases[0].advice])))


def _began_en(seen: Evidence) -> _Phrase:
    match seen:
        case Finite(metric, value, before):
            last = "" if before is None else f" (last finite value {number(before)})"
            return _Phrase(
                f"{_name(metric)} is {number(value)}",
                f"{_name(metric)} = {number(value)}{last}",
                "Training goes on but rarely recovers: try a lower learning rate, or an earlier checkpoint.",
            )
        case Limit(metric, value, limit, crossed):
            return _Phrase(f"{_name(metric)} is {crossed} {number(limit)}", f"{_now(metric, value)} (limit {number(limit)}).")
        case Pace(metric, value, best, waited, min_delta):
            by = f" by more than {number(min_delta)}" if min_delta else ""
            return _Phrase(
                f"{_name(metric)} has stopped improving",
                f"No better than {number(best)}{by} for {waited} {_epochs(waited)}. {_now(metric, value)}.",
            )
        case Distance(metric, value, best, limit):
            return _Phrase(
                f"{_name(metric)} is far from its best",
                f"{_now(metric, value)} (best {number(best)}, limit {number(limit)}).",
            )
        case Gap(train, val, epochs, train_course, val_course):
            return _Phrase(
                "The model seems to overfit",
                f"For {epochs} {_epochs(epochs)} {_name(train)} got better ({_course(train_course)}) "
                f"while {_name(val)} got worse ({_course(val_course)}).",
            )
        case Reached(metric, value, target):
            return _Phrase(f"{_name(metric)} has reached its target", f"{_now(metric, value)} (target {number(target)}).")
        case _:
            return _resources_began_en(seen)
