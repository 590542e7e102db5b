"""What people read about a sweep, in both languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from notifybot.rendering.format import number as figure
from notifybot.types import Language, Param


class Told(Protocol):
    """What is told of a trial."""

    @property
    def number(self) -> int: ...
    @property
    def params(self) -> dict[str, Param]: ...
    @property
    def value(self) -> float | None: ...
    @property
    def error(self) -> str: ...
    @property
    def url(self) -> str: ...


def trial_line(trial: Told, count: int | None, best: Told | None, metric: str, language: Language) -> tuple[str, str]:
    """The title and the text for one trial that is over."""
    korean = language is Language.KO
    which = f"{trial.number}/{count}" if count else str(trial.number)
    outcome = _outcome(trial, metric, korean)
    if best is trial:
        outcome += " · 지금까지 최고" if korean else " · best so far"
    elif best is not None and best.value is not None:
        outcome += f" ({'최고' if korean else 'best'} {figure(best.value)}, #{best.number})"
    return f"{'시도' if korean else 'Trial'} {which}: {outcome}", _lines(trial.params)


def summary_of(trials: Sequence[Told], best: Told | None, metric: str, language: Language) -> tuple[str, str]:
    """The title and the text for the whole sweep."""
    korean = language is Language.KO
    many, failed = len(trials), sum(bool(each.error) for each in trials)
    counted = (
        f"시도 {many}회" + (f", 실패 {failed}회" if failed else "")
        if korean
        else f"{many} trial{'' if many == 1 else 's'}" + (f", {failed} failed" if failed else "")
    )
    if best is None or best.value is None:
        none = f"{metric} 값이 없습니다" if korean else f"no value of {metric}"
        return f"{'스윕 결과' if korean else 'Sweep result'}: {none} ({counted})", ""
    title = f"{'스윕 결과: 최고' if korean else 'Sweep result: best'} {metric} = {figure(best.value)}, #{best.number}"
    return f"{title} ({counted})", "\n".join(filter(None, (_lines(best.params), best.url)))


def _outcome(trial: Told, metric: str, korean: bool) -> str:
    value = "" if trial.value is None else f"{metric} = {figure(trial.value)}"
    if trial.error:
        failed = f"실패했습니다({trial.error})" if korean else f"failed ({trial.error})"
        return f"{failed}, {value}" if value else failed
    return value or (f"{metric} 값이 없습니다" if korean else f"no value of {metric}")


def _lines(params: Mapping[str, Param]) -> str:
    """A line for each parameter; W&B's own begin with an underscore."""
    shown = {name: value for name, value in params.items() if not name.startswith("_")}
    return "\n".join(f"{name} = {_text(value)}" for name, value in shown.items())


def _text(value: Param) -> str:
    """As Python would read it: parameters are copied from here into code."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
