"""Alerts in the reader's language: title and text about a checkpoint, a message, a session, or a rule's evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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
from notifybot.events import AlertRaised
from notifybot.i18n import has_text, text
from notifybot.redaction import redact
from notifybot.rendering.error_text import reason_line
from notifybot.rendering.format import duration, memory, number, size
from notifybot.rendering.text import one_line, shorten, shorten_path
from notifybot.types import Language, Notice, Reason, Severity, Unit

_LIMIT_LINE = 300
_LIMIT_LINES = 5
_WHY_FIRST = (
    "checkpoint_not_saved",
    "checkpoint_not_copied",
    "checkpoint_not_found",
    "checkpoint_unreadable",
    "checkpoint_changed",
)


class AlertWords(NamedTuple):
    """The `title` and `text` of an AlertRaised."""

    title: str
    text: str


def checkpoint_not_saved(reason: Reason) -> Notice:
    """A checkpoint could not be written: a run that dies now loses more."""
    return Notice("checkpoint_not_saved", reasons=(_bounded(reason),))


def checkpoint_not_copied(reason: Reason) -> Notice:
    """A checkpoint is whole on the training machine, but not in the folder that outlives it."""
    return Notice("checkpoint_not_copied", reasons=(_bounded(reason),))


def checkpoint_not_found(path: str) -> Notice:
    """The user's code reports a checkpoint that is not there."""
    return Notice("checkpoint_not_found", reasons=(_bounded(Reason("missing", path)),))


def checkpoint_unreadable(reason: Reason) -> Notice:
    """A checkpoint that a framework has just saved cannot be read to its end."""
    return Notice("checkpoint_unreadable", reasons=(_bounded(reason),))


def checkpoint_changed(reason: Reason) -> Notice:
    """A checkpoint that a framework resumes from is not what it was when it was proven."""
    return Notice("checkpoint_changed", reasons=(_bounded(reason),))


def checkpoint_damaged(damaged: Sequence[Reason], used: str | None) -> Notice:
    """Damaged checkpoints were skipped for `used`, or there is none to resume from; at most five are named."""
    named = tuple(_bounded(each) for each in damaged[:_LIMIT_LINES])
    strange = all(each.code in ("no_state", "no_dict") for each in damaged)  # the files may well be whole
    code = "checkpoint_damaged" if used else "no_checkpoint_of_its_kind" if strange else "no_checkpoint_whole"
    return Notice(code, _line(redact(used or "")), named, max(len(damaged) - _LIMIT_LINES, 0))


def checkpoint_spared(spared: Sequence[Reason], size_bytes: int) -> Notice:
    """Old checkpoints are not deleted because they cannot be read; at most five are named."""
    named = tuple(_bounded(each) for each in spared[:_LIMIT_LINES])
    return Notice("checkpoint_spared", size(size_bytes), named, max(len(spared) - _LIMIT_LINES, 0))


def checkpoint_works_again() -> Notice:
    """After one of the first two: a checkpoint was saved, and copied to where it should be."""
    return Notice("checkpoint_works_again")


def not_delivered(notifier: str, reason: Reason) -> Notice:
    """A notifier will never take a message: the others send this notice."""
    return Notice("not_delivered", notifier, (_bounded(reason),))


def nothing_left() -> Notice:
    """A program that should perhaps have been a run of its own found a complete one, and trained nothing."""
    return Notice("nothing_left")


def notice_words(notice: Notice, language: Language) -> AlertWords:
    """Return the words of a notice. Raises KeyError for one of a later version."""
    if not _is_known(notice):
        raise KeyError(notice.code)
    title = text(language, f"alert.notice.{notice.code}.title", notifier=_line(notice.used))
    lines = [_line(reason_line(each, language)) for each in notice.reasons[:_LIMIT_LINES]]
    if notice.code == "not_delivered":
        return AlertWords(title, "\n".join(lines))
    follows = text(language, f"alert.notice.{notice.code}.text", used=_line(notice.used))
    if notice.code in _WHY_FIRST:
        return _after("\n".join(map(_sentence, lines)), title, follows)
    more = [f"… +{notice.more}"] if notice.more > 0 else []
    return AlertWords(title, "\n".join((follows, *lines, *more)))


def alert_words(alert: AlertRaised, language: Language) -> AlertWords:
    """Return an alert's words: a notice in the reader's language, any other alert with its stored title and text."""
    if alert.notice is not None and _is_known(alert.notice):
        return notice_words(alert.notice, language)
    return AlertWords(alert.title, alert.text)


def session_superseded(host: str, language: Language) -> AlertWords:
    """A newer session, on `host` where that is known, reports the run; the older one sends nothing more."""
    newer_on = text(language, "alert.session_superseded.newer_on", host=_line(host)) if host else ""
    title, follows = (text(language, f"alert.session_superseded.{each}") for each in ("title", "text"))
    return _after(newer_on, title, follows)


def session_near_its_end(limit_h: int, up_s: float, language: Language) -> AlertWords:
    """A Colab machine has been up for nearly as long as its sessions usually last."""
    up = duration(up_s, language)
    title = text(language, "alert.session_near_its_end.title")
    return AlertWords(title, text(language, "alert.session_near_its_end.text", hours=limit_h, up=up))


def _is_known(notice: Notice) -> bool:
    return has_text(f"alert.notice.{notice.code}.title")


def _sentence(reason: str) -> str:
    """Close a reason with a full stop: where there is room for one line only, the next sentence follows it."""
    return _line(reason).rstrip(". ") + "." if reason.strip() else ""


def _after(happened: str, title: str, follows: str) -> AlertWords:
    """Put what happened, where that is known, before what follows from it."""
    return AlertWords(title, f"{happened}\n{follows}" if happened else follows)


def _bounded(reason: Reason) -> Reason:
    """Return the reason fit to be stored: no secret and no half character, as errors and file names may hold."""
    values = {name: _line(redact(value)) for name, value in reason.values.items()}
    return replace(reason, about=_line(redact(reason.about)), values=values)


def _line(text: str) -> str:
    return shorten(one_line(text), _LIMIT_LINE)


_LIMIT_NAME = 40  # leaves a title of 80 characters room for what happened
_LIMIT_PATH = 60
_LIMIT_MANY = 5


class RenderedAlert(NamedTuple):
    """An alert in one language."""

    words: AlertWords
    severity: Severity


KINDS: dict[type[Evidence], str] = {
    Finite: "finite",
    Limit: "limit",
    EpochPace: "pace",
    Distance: "distance",
    Gap: "gap",
    Reached: "reached",
    Duration: "duration",
    DiskRoom: "disk_room",
    GpuUse: "gpu_use",
    GpuRoom: "gpu_room",
}


def raised(evidence: Sequence[Evidence], language: Language, unit: Unit = "epoch") -> RenderedAlert:
    """Return the alert that one rule raises: a line for each subject (a metric, a disk, a GPU)."""
    first = evidence[0]
    if isinstance(first, Alert):
        return RenderedAlert(AlertWords(first.title, first.text), Severity(first.severity))
    words = _filled(evidence, language, f"alert.began.{KINDS[type(first)]}", unit)
    return RenderedAlert(words, max(map(_severity, evidence), key=lambda severity: severity.rank))


def cleared(evidence: Sequence[Evidence], language: Language, unit: Unit = "epoch") -> RenderedAlert | None:
    """Return the message that one rule's alert is over; None where there is nothing to say."""
    first = evidence[0]
    if isinstance(first, Alert | Reached):
        return None
    return RenderedAlert(_filled(evidence, language, f"alert.over.{KINDS[type(first)]}", unit), Severity.SUCCESS)


def unlogged(missing: Sequence[str], logged: Sequence[str], language: Language) -> RenderedAlert:
    """Metrics that rules wait for were not among those of the first epoch."""
    known = _names(logged) or text(language, "alert.unlogged.nothing")
    which = text(language, "alert.unlogged.text", missing=_names(missing), logged=known)
    return RenderedAlert(AlertWords(text(language, "alert.unlogged.title"), which), Severity.WARNING)


def _severity(seen: Evidence) -> Severity:
    """A loss that is no number ends what can be learned; another metric may just have nothing to be computed from."""
    if isinstance(seen, Finite):
        return Severity.ERROR if _is_loss(seen) else Severity.WARNING
    return Severity.SUCCESS if isinstance(seen, Reached) else Severity.WARNING


def _is_loss(seen: Evidence) -> bool:
    return isinstance(seen, Finite) and "loss" in seen.metric.casefold()


def _filled(evidence: Sequence[Evidence], language: Language, key: str, unit: Unit) -> AlertWords:
    """Return one title and text for all evidence of a moment, from the texts under a key."""
    fields = [_fields(each, language, unit) for each in evidence[:_LIMIT_MANY]]
    lines = [text(language, f"{key}.line", **each) for each in fields]
    if more := len(evidence) - len(fields):
        lines.append(f"… +{more}")
    if has_text(f"{key}.advice", language) and (not isinstance(evidence[0], Finite) or any(map(_is_loss, evidence))):
        lines.append(text(language, f"{key}.advice"))
    title = text(language, _title(evidence, key, language), **fields[0], more=len(evidence) - 1)
    return AlertWords(title, "\n".join(lines))


def _title(evidence: Sequence[Evidence], key: str, language: Language) -> str:
    first = evidence[0]
    if len(evidence) > 1 and isinstance(first, Finite):
        return f"{key}.title_of_many"
    if isinstance(first, Limit) and has_text(f"{key}.title_{first.crossed}", language):
        return f"{key}.title_{first.crossed}"
    return f"{key}.title"


def _fields(seen: Evidence, language: Language, unit: Unit) -> dict[str, str]:
    """Return the evidence's values as text. Names and paths are other people's: inserted, never read as a format."""
    match seen:
        case Finite(metric, value, before):
            known = "" if before is None else text(language, "alert.piece.last_finite_value", value=number(before))
            return _metric(metric, value) | {"before": known}
        case Limit(metric, value, limit):
            return _metric(metric, value) | {"limit": number(limit)}
        case EpochPace(metric, value, best, waited, min_delta):
            by = text(language, "alert.piece.by_more_than", min_delta=number(min_delta)) if min_delta else ""
            return _metric(metric, value) | {"best": number(best), "epochs": _epochs(waited, language, unit), "by": by}
        case Distance(metric, value, best, limit):
            return _metric(metric, value) | {"best": number(best), "limit": number(limit)}
        case Gap(train, val, epochs, train_course, val_course):
            courses = {"train": _name(train), "fell": _course(train_course), "rose": _course(val_course)}
            return _metric(val, val_course[1]) | courses | {"epochs": _epochs(epochs, language, unit)}
        case Reached(metric, value, target):
            return _metric(metric, value) | {"target": number(target)}
        case Alert():
            return {}
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


def _epochs(many: int, language: Language, unit: Unit) -> str:
    """Epochs; of another unit a rule counts the reports that hold its metric."""
    if unit != "epoch":
        return text(language, "alert.piece.one_report" if many == 1 else "alert.piece.many_reports", count=many)
    return text(language, "alert.piece.one_epoch" if many == 1 else "alert.piece.many_epochs", count=many)
