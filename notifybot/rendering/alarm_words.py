"""What people are told about a run's alerts, in their language: what began, what is over, and what it rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, assert_never

from notifybot.alerts.evidence import (
    Alert,
    DiskRoom,
    Distance,
    Duration,
    EpochPace,
    Evidence,
    Finite,
    Gap,
    GpuRoom,
    GpuUse,
    Limit,
    Reached,
)
from notifybot.rendering.alert_text import AlertWords
from notifybot.rendering.format import duration, memory, number, size
from notifybot.rendering.text import one_line, shorten, shorten_path
from notifybot.types import Language, Severity

_LIMIT_NAME = 40  # leaves a title of 80 characters room for what happened
_LIMIT_PATH = 60
_LIMIT_MANY = 5


class Told(NamedTuple):
    """An alert in one language."""

    words: AlertWords
    severity: Severity


class _Text(NamedTuple):
    """A title, a line for each subject, and what may help."""

    title: str
    line: str
    advice: str = ""


def raised(evidence: Sequence[Evidence], language: Language) -> Told:
    """What began under one rule: a line for each subject (a metric, a disk, a GPU)."""
    first = evidence[0]
    if isinstance(first, Alert):
        return Told(AlertWords(first.title, first.text), Severity(first.severity))
    words = _filled(evidence, language, _BEGAN[language], _MANY_BEGAN)
    return Told(words, max(map(_severity, evidence), key=lambda severity: severity.rank))


def cleared(evidence: Sequence[Evidence], language: Language) -> Told | None:
    """What is over under one rule; None where there is nothing to say."""
    if isinstance(evidence[0], Alert | Reached):
        return None
    return Told(_filled(evidence, language, _OVER[language], _MANY_OVER), Severity.SUCCESS)


def unlogged(missing: Sequence[str], logged: Sequence[str], language: Language) -> Told:
    """Metrics that rules wait for were not among those of the first epoch."""
    title, text, nothing = _UNLOGGED[language]
    return Told(AlertWords(title, text.format(_names(missing), _names(logged) or nothing)), Severity.WARNING)


def _severity(seen: Evidence) -> Severity:
    """A loss that is no number ends what can be learned; another metric may just have nothing to be computed from."""
    if isinstance(seen, Finite):
        return Severity.ERROR if _is_loss(seen) else Severity.WARNING
    return Severity.SUCCESS if isinstance(seen, Reached) else Severity.WARNING


def _is_loss(seen: Evidence) -> bool:
    return isinstance(seen, Finite) and "loss" in seen.metric.casefold()


def _filled(
    evidence: Sequence[Evidence],
    language: Language,
    texts: Mapping[type, _Text],
    many: Mapping[Language, str],
) -> AlertWords:
    """One message for all that happened at once."""
    title, line, advice = texts[type(evidence[0])]
    fields = [_fields(each, language) for each in evidence[:_LIMIT_MANY]]
    lines = [line.format_map(each) for each in fields]
    if more := len(evidence) - len(fields):
        lines.append(f"… +{more}")
    if len(evidence) > 1 and isinstance(evidence[0], Finite):
        title = many[language]
    if isinstance(evidence[0], Finite) and not any(map(_is_loss, evidence)):
        advice = ""
    first = fields[0] | {"more": str(len(evidence) - 1)}
    return AlertWords(title.format_map(first), "\n".join(filter(None, [*lines, advice])))


def _fields(seen: Evidence, language: Language) -> dict[str, str]:
    """The evidence as it is shown. Names and paths are other people's text: they are put in, never read as a form."""
    match seen:
        case Finite(metric, value, before):
            known = "" if before is None else _BEFORE[language].format(number(before))
            return _metric(metric, value) | {"before": known}
        case Limit(metric, value, limit, crossed):
            return _metric(metric, value) | {"limit": number(limit), "side": _SIDES[language][crossed]}
        case EpochPace(metric, value, best, waited, min_delta):
            by = _BY[language].format(number(min_delta)) if min_delta else ""
            return _metric(metric, value) | {"best": number(best), "epochs": _epochs(waited, language), "by": by}
        case Distance(metric, value, best, limit):
            return _metric(metric, value) | {"best": number(best), "limit": number(limit)}
        case Gap(train, val, epochs, train_course, val_course):
            courses = {"train": _name(train), "fell": _course(train_course), "rose": _course(val_course)}
            return _metric(val, val_course[1]) | courses | {"epochs": _epochs(epochs, language)}
        case Reached(metric, value, target):
            return _metric(metric, value) | {"target": number(target)}
        case Alert():
            return {}
        case _:
            return _resources(seen, language)


def _resources(seen: Duration | DiskRoom | GpuUse | GpuRoom, language: Language) -> dict[str, str]:
    match seen:
        case Duration(epoch_s, median_s, factor):
            times = {"took": duration(epoch_s, language), "usual": duration(median_s, language)}
            return times | {"factor": number(factor)}
        case DiskRoom(path, free_bytes, total_bytes, least_bytes):
            shown = shorten_path(one_line(path), _LIMIT_PATH)
            return {"path": shown, "free": size(free_bytes), "total": size(total_bytes), "least": size(least_bytes)}
        case GpuUse(gpu, busy_percent, limit_percent, over_s):
            busy = {"gpu": _name(gpu), "busy": number(round(busy_percent, 1)), "limit": number(limit_percent)}
            return busy | {"span": duration(over_s, language)}
        case GpuRoom(gpu, used_bytes, total_bytes, limit_percent):
            room = {"used": memory(used_bytes), "total": memory(total_bytes)}
            return {"gpu": _name(gpu), "limit": number(limit_percent)} | room
        case _:
            assert_never(seen)


def _metric(name: str, value: float) -> dict[str, str]:
    return {"metric": _name(name), "value": number(value)}


def _name(name: str) -> str:
    return shorten(one_line(name), _LIMIT_NAME)


def _names(names: Sequence[str]) -> str:
    shown = [_name(name) for name in names[:_LIMIT_MANY]]
    return ", ".join(shown) + (f" … +{len(names) - _LIMIT_MANY}" if len(names) > _LIMIT_MANY else "")


def _course(course: tuple[float, float]) -> str:
    return " → ".join(map(number, course))


def _epochs(many: int, language: Language) -> str:
    return f"{many}에포크" if language is Language.KO else f"{many} epoch{'s' if many != 1 else ''}"


_BEGAN: dict[Language, dict[type, _Text]] = {
    Language.EN: {
        Finite: _Text(
            "{metric} is {value}",
            "{metric} = {value}{before}.",
            "Runs rarely recover: lower the learning rate, or go back to a checkpoint.",
        ),
        Limit: _Text("{metric} is {side} {limit}", "Now {value}, limit {limit}."),
        EpochPace: _Text("{metric} has stopped improving", "No better than {best}{by} for {epochs}, now {value}."),
        Distance: _Text("{metric} is far from its best", "Now {value}, best {best}, limit {limit}."),
        Gap: _Text(
            "The model seems to overfit",
            "{epochs} in a row {train} got better ({fell}) and {metric} got worse ({rose}).",
        ),
        Reached: _Text("{metric} has reached its target", "Now {value}, target {target}."),
        Duration: _Text("An epoch took longer than usual", "{took}, usually {usual} (limit: {factor} times that)."),
        DiskRoom: _Text("A disk is nearly full", "{free} of {total} free at {path} (limit {least})."),
        GpuUse: _Text(
            "The GPU is hardly used",
            "{gpu} was busy {busy}% of the last {span} (limit {limit}%).",
            "It often waits for data: more DataLoader workers may help.",
        ),
        GpuRoom: _Text("GPU memory is nearly full", "{gpu}: {used} of {total} in use (limit {limit}%)."),
    },
    Language.KO: {
        Finite: _Text(
            "{metric} 값이 {value}입니다",
            "{metric} = {value}{before}.",
            "학습은 계속되지만 회복되는 경우는 드뭅니다. 학습률을 낮추거나 이전 체크포인트에서 다시 시작해 보세요.",
        ),
        Limit: _Text("{metric} 값이 {side}", "현재 {value}, 기준 {limit}"),
        EpochPace: _Text(
            "{metric} 값이 더 좋아지지 않습니다",
            "{epochs}째 최고 기록({best})보다{by} 나아지지 않고 있습니다. 현재 {value}",
        ),
        Distance: _Text(
            "{metric} 값이 최고 기록에서 크게 벗어났습니다", "현재 {value}, 최고 {best}, 허용 한계 {limit}"
        ),
        Gap: _Text(
            "과적합이 의심됩니다",
            "{epochs} 연속으로 {train} 값은 좋아졌지만({fell}) {metric} 값은 나빠졌습니다({rose}).",
        ),
        Reached: _Text("{metric} 값이 목표에 도달했습니다", "현재 {value}, 목표 {target}"),
        Duration: _Text("에포크가 평소보다 오래 걸렸습니다", "{took} 걸림, 평소 {usual} (기준: 평소의 {factor}배)"),
        DiskRoom: _Text("디스크 공간이 부족합니다", "{path}: 전체 {total} 중 {free} 남음 (기준 {least})"),
        GpuUse: _Text(
            "GPU를 거의 쓰지 않고 있습니다",
            "{gpu}: 최근 {span} 동안 사용률 {busy}% (기준 {limit}%).",
            "데이터를 기다리는 경우가 많습니다. DataLoader의 num_workers를 늘려 보세요.",
        ),
        GpuRoom: _Text("GPU 메모리가 거의 가득 찼습니다", "{gpu}: {total} 중 {used} 사용 중 (기준 {limit}%)"),
    },
}
_OVER: dict[Language, dict[type, _Text]] = {
    Language.EN: {
        Finite: _Text("{metric} is finite again", "{metric} = {value}."),
        Limit: _Text("{metric} is within its limit again", "Now {value}, limit {limit}."),
        EpochPace: _Text("{metric} improves again", "Now {value}, best before {best}."),
        Distance: _Text("{metric} is near its best again", "Now {value}, best {best}."),
        Gap: _Text("{metric} improves again", "{rose}."),
        Duration: _Text("Epochs take as long as usual again", "{took}, usually {usual}."),
        DiskRoom: _Text("The disk has room again", "{free} of {total} free at {path}."),
        GpuUse: _Text("The GPU is busy again", "{gpu} was busy {busy}% of the last {span}."),
        GpuRoom: _Text("GPU memory has room again", "{gpu}: {used} of {total} in use."),
    },
    Language.KO: {
        Finite: _Text("{metric} 값이 정상으로 돌아왔습니다", "{metric} = {value}"),
        Limit: _Text("{metric} 값이 기준 안으로 돌아왔습니다", "현재 {value}, 기준 {limit}"),
        EpochPace: _Text("{metric} 값이 다시 좋아지고 있습니다", "현재 {value}, 이전 최고 {best}"),
        Distance: _Text("{metric} 값이 최고 기록 근처로 돌아왔습니다", "현재 {value}, 최고 {best}"),
        Gap: _Text("{metric} 값이 다시 좋아졌습니다", "{rose}"),
        Duration: _Text("에포크 시간이 평소 수준으로 돌아왔습니다", "{took} 걸림, 평소 {usual}"),
        DiskRoom: _Text("디스크 공간에 다시 여유가 생겼습니다", "{path}: 전체 {total} 중 {free} 남음"),
        GpuUse: _Text("GPU를 다시 쓰고 있습니다", "{gpu}: 최근 {span} 동안 사용률 {busy}%"),
        GpuRoom: _Text("GPU 메모리에 다시 여유가 생겼습니다", "{gpu}: {total} 중 {used} 사용 중"),
    },
}
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
_MANY_BEGAN = {
    Language.EN: "{metric} and {more} more are NaN or infinite",
    Language.KO: "{metric} 외 {more}개 지표가 NaN 또는 무한대입니다",
}
_MANY_OVER = {
    Language.EN: "{metric} and {more} more are finite again",
    Language.KO: "{metric} 외 {more}개 지표가 정상으로 돌아왔습니다",
}
_BEFORE = {Language.EN: " (last finite value {})", Language.KO: " (마지막 정상 값 {})"}
_BY = {Language.EN: " by more than {}", Language.KO: " {} 넘게"}
_SIDES = {
    Language.EN: {"above": "above", "below": "below"},
    Language.KO: {"above": "기준을 넘었습니다", "below": "기준 아래로 내려갔습니다"},
}
