"""The labelled lines of a run's page: what it runs on, what it goes on from, and what is kept of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from notifybot.events import Event, RunStarted
from notifybot.redaction import redact
from notifybot.rendering.format import about, memory, number, size
from notifybot.rendering.lines import lost_work, model_line, new_device, next_epoch, tier_words
from notifybot.store.runs import RunRow
from notifybot.types import Checkpoint, Fact, Host, Language, Param, Status
from notifybot.web.texts import TEXTS, Texts, ago, span


def facts_of(row: RunRow, events: Sequence[Event], now: datetime, language: Language) -> tuple[Fact, ...]:
    """Return what is known of a run beside its curves, the most useful first."""
    texts, start = TEXTS[language], latest_start(events)
    pairs = (
        *_course(row, now, language, texts),
        (texts.resumed, resumed_text(start, language) if start else ""),
        (texts.model, model_line(start.model, language) if start else ""),
        (texts.machine, redact(row.host.name)),
        (texts.device, redact(row.host.device)),
        (texts.memory, memory(row.host.memory_bytes) if row.host.memory_bytes else ""),
        (texts.uptime, _uptime(row, start, now, language)),
        (texts.process, _process(row.host)),
        (texts.attempt, str(row.attempt) if row.attempt > 1 else ""),
        (texts.project, row.project),
        ("ID", row.id),
    )
    return tuple(Fact(label, value) for label, value in pairs if value)


def params_of(row: RunRow) -> tuple[Fact, ...]:
    """Return a run's hyper-parameters."""
    return tuple(Fact(redact(name), _param(value)) for name, value in row.params.items())


def latest_start(events: Sequence[Event]) -> RunStarted | None:
    """Return how the run's latest session began."""
    return next((event for event in reversed(events) if isinstance(event, RunStarted)), None)


def saved_text(checkpoint: Checkpoint | None, language: Language) -> str:
    """Return how safe a checkpoint is, where it is and how large; empty where there is none."""
    if checkpoint is None:
        return ""
    bytes_ = size(checkpoint.size_bytes) if checkpoint.size_bytes else ""
    return _joined(tier_words(checkpoint, language), redact(checkpoint.path), bytes_)


def resumed_text(start: RunStarted, language: Language) -> str:
    """Return what a session went on from; empty where it began anew."""
    resumed, texts = start.resumed, TEXTS[language]
    if resumed is None:
        return ""
    if resumed.step:
        origin = texts.from_step.format(next_epoch(resumed, start.progress, language) or texts.epoch, resumed.step)
    else:
        origin = texts.last_one if resumed.epoch is None else texts.at_epoch.format(resumed.epoch)
        origin = texts.from_there.format(origin)
    moved, lost = new_device(resumed, start.host, language), lost_work(resumed, language)
    past = texts.redone.format(lost) if lost else texts.saved_before.format(about(resumed.since_s, language))
    return _joined(origin, texts.moved_to.format(moved) if moved else "", past)


def _course(row: RunRow, now: datetime, language: Language, texts: Texts) -> Iterator[tuple[str, str]]:
    progress, over = row.progress, row.status.ended
    heard = texts.no_beats if row.beat_s is None and not over else ago(row.ended_at or row.alive_at, now, language)
    yield texts.checkpoint, saved_text(progress.checkpoint, language) or texts.no_checkpoint
    yield texts.heard.capitalize(), heard
    yield texts.moved.capitalize(), "" if over else ago(row.progress_at, now, language)
    yield texts.took, span(progress.elapsed_s or None, language)
    yield texts.per_epoch, span(progress.epoch_s or None, language)


def _uptime(row: RunRow, start: RunStarted | None, now: datetime, language: Language) -> str:
    """How long the machine has been up by now, as long as it can be taken to be there."""
    if start is None or start.host.up_s is None or row.status is not Status.RUNNING:
        return ""
    return about(start.host.up_s + max((now - start.at).total_seconds(), 0.0), language)


def _process(host: Host) -> str:
    return _joined(f"pid {host.pid}" if host.pid else "", f"Python {redact(host.python)}" if host.python else "")


def _param(value: Param) -> str:
    return number(value, 6) if isinstance(value, float) else redact(str(value))


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)
