"""View models of the pages: rows and events as texts, ready for a template. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from notifybot.charts import Chart, Point, charts_of
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
from notifybot.redaction import redact
from notifybot.rendering.alert_text import alert_words
from notifybot.rendering.format import (
    about,
    duration,
    lost_work,
    memory,
    metric_rows,
    model_line,
    new_device,
    next_epoch,
    number,
    size,
    tier_words,
)
from notifybot.rendering.labels import cause, epoch_name, has_end, position
from notifybot.store.runs import RunRow
from notifybot.types import Checkpoint, Fact, Language, MetricRow, Progress, Status, Tier

_MOST_CHARTS = 24
_LATEST_EVENTS = 60


@dataclass(frozen=True, slots=True)
class RunCard:
    """One run in the list, and the head of its own page."""

    id: str
    name: str
    project: str
    state: str  # a status, or "stalled": the class of its colour
    label: str
    position: str
    done: int
    total: int
    eta: str
    heard: str
    metrics: tuple[MetricRow, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a run's history."""

    at: datetime
    state: str
    label: str
    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class RunView:
    """A run's own page."""

    card: RunCard
    notice: str
    error: str
    go_on: str
    checkpoint: str
    stack: str
    axis: str  # what the curves are drawn over, where that is no epoch
    charts: tuple[Chart, ...]
    facts: tuple[Fact, ...]
    params: tuple[Fact, ...]
    entries: tuple[Entry, ...]


def state_of(row: RunRow) -> str:
    """A run's status, or "stalled" while a running one stands still."""
    return "stalled" if row.stalled and row.status is Status.RUNNING else str(row.status)


def card_of(row: RunRow, now: datetime, language: Language) -> RunCard:
    """Return a run as the list shows it."""
    state, progress = state_of(row), row.progress
    total = progress.total if has_end(progress.total) else None
    soon = bool(progress.eta_s and total and state == "running")
    return RunCard(
        id=row.id,
        name=redact(row.name) or row.id,
        project=row.project,
        state=state,
        label=text(language, f"status.{state}"),
        position=_position(progress, language),
        done=progress.done,
        total=total or 0,
        eta=text(language, "web.eta", time=about(progress.eta_s or 0.0, language)) if soon else "",
        heard=ago(row.ended_at or row.alive_at, now, language),
        metrics=metric_rows(progress, language),
    )


def view_of_run(row: RunRow, events: Sequence[Event], now: datetime, language: Language) -> RunView:
    """Return a run and its history as its page shows them."""
    checkpoint = row.progress.checkpoint
    notice = _notice(row, now, language)
    return RunView(
        card=card_of(row, now, language),
        notice=notice,
        error=_error(row, events, language),
        go_on=_go_on(row, language) if notice else "",
        checkpoint=redact(checkpoint.path) if checkpoint else "",
        stack=redact(row.stack) if state_of(row) == "stalled" else "",
        axis="" if row.progress.unit == "epoch" else text(language, f"word.{row.progress.unit}"),
        charts=tuple(charts_of(histories(events))[:_MOST_CHARTS]),
        facts=facts_of(row, events, now, language),
        params=params_of(row),
        entries=tuple(_entries(events, language)),
    )


def histories(events: Sequence[Event]) -> dict[str, list[Point]]:
    """Every metric's values over the epochs. An epoch that was done again after a resume counts as it was last."""
    found: dict[str, dict[float, float]] = {}
    for event in events:
        if isinstance(event, EpochFinished):
            epoch = event.progress.done if event.progress.epoch is None else event.progress.epoch
            for name, metric in event.progress.shown.items():
                found.setdefault(name, {})[epoch] = metric.value
    return {name: sorted(points.items()) for name, points in found.items()}


def _position(progress: Progress, language: Language) -> str:
    if not progress.done:
        return text(language, "web.no_epoch" if progress.unit == "epoch" else f"web.no_{progress.unit}")
    if progress.unit != "epoch":
        return position(progress, language)
    return f"{text(language, 'web.epoch')} {progress.done}" + (
        f" / {progress.total}" if has_end(progress.total) else ""
    )


def _notice(row: RunRow, now: datetime, language: Language) -> str:
    match state_of(row):
        case "lost":
            return text(language, "web.lost", time=span(_since_s(row.alive_at, now), language))
        case "stalled":
            return text(language, "web.stalled", time=span(_since_s(row.progress_at, now), language))
        case "failed":
            return text(language, "web.failed")
        case "interrupted":
            return text(language, "web.interrupted")
    return ""


def _since_s(moment: datetime | None, now: datetime) -> float:
    return max((now - moment).total_seconds(), 0.0) if moment else 0.0


def _error(row: RunRow, events: Sequence[Event], language: Language) -> str:
    """Return the failed run's error; empty for any other run."""
    ended = next((event for event in reversed(events) if isinstance(event, RunEnded)), None)
    return redact(cause(ended.error, language)) if ended is not None and row.status is Status.FAILED else ""


def _go_on(row: RunRow, language: Language) -> str:
    what = text(language, "web.command") if row.host.notebook is False else text(language, "web.cell")
    again = _again(row.progress, what, language)
    return f"{text(language, 'web.interrupt')} {again}" if state_of(row) == "stalled" else again


def _again(progress: Progress, what: str, language: Language) -> str:
    """Say where a repeated run continues. Only a checkpoint proven whole is promised to work."""
    checkpoint, unit = progress.checkpoint, progress.unit
    if progress.kept_in and progress.done and (checkpoint is None or checkpoint.tier is not Tier.REMOTE):
        return text(language, f"web.go_on_{progress.kept_in}", again=what)
    if checkpoint is None:
        return text(language, "web.go_on_anew", again=what)
    last = checkpoint.epoch is None
    epoch = text(language, "web.last_one") if last else epoch_name(checkpoint.epoch or 0, language, unit)
    match checkpoint.tier:
        case Tier.REMOTE:
            return text(language, "web.go_on_itself", epoch=epoch, again=what)
        case Tier.LOCAL:
            return text(language, "web.go_on_with_disk", epoch=epoch, again=what)
        case Tier.UNPROVEN | Tier.READABLE:
            if not last and unit != "epoch":
                return text(language, "web.go_on_from_place", place=epoch, again=what)
            return text(
                language, "web.go_on_from_file" if last else "web.go_on_from", epoch=checkpoint.epoch, again=what
            )


def _entries(events: Sequence[Event], language: Language) -> list[Entry]:
    """The latest events, newest first. Of epochs only the last one and new bests: the curves show the rest."""
    last = next((event for event in reversed(events) if isinstance(event, EpochFinished)), None)
    shown = [each for each in events if not isinstance(each, EpochFinished) or each.new_best or each is last]
    return [_entry(event, language) for event in reversed(shown[-_LATEST_EVENTS:])]


def _entry(event: Event, language: Language) -> Entry:
    unit = event.progress.unit if isinstance(event, EpochFinished) else "epoch"
    label = text(language, f"web.kinds.{event.kind}" if unit == "epoch" else f"web.kinds.{unit}_finished")
    match event:
        case RunStarted():
            again = event.attempt > 1 or event.resumed is not None
            parts = (redact(event.host.name), redact(event.host.device), resumed_text(event, language))
            shown = " · ".join(part for part in parts if part)
            return Entry(event.at, "running", text(language, "web.kinds.run_resumed") if again else label, shown)
        case EpochFinished():
            return Entry(event.at, "finished" if event.new_best else "", label, _epoch_text(event, language))
        case CheckpointSaved():
            return Entry(event.at, "", label, saved_text(event.checkpoint, language))
        case AlertRaised():
            shown = " — ".join(part for part in alert_words(event, language) if part)
            return Entry(event.at, "stalled", label, redact(shown))
        case RunEnded():
            return Entry(
                event.at,
                event.status,
                text(language, f"status.{event.status}"),
                redact(cause(event.error, language)),
                redact(event.frames),
            )
        case RunStalled():
            still = text(language, "web.stood_still", time=span(event.silent_s, language))
            return Entry(event.at, "stalled", label, still, redact(event.stack))
        case RunLost():
            return Entry(event.at, "lost", label, text(language, "web.was_silent", time=span(event.silent_s, language)))
        case RunRecovered():
            return Entry(event.at, "running", label, text(language, "web.was_away", time=span(event.away_s, language)))


def _epoch_text(event: EpochFinished, language: Language) -> str:
    progress = event.progress
    epoch = progress.done if progress.epoch is None else progress.epoch
    values = [f"{name} {number(metric.value)}" for name, metric in list(progress.shown.items())[:4]]
    best = progress.shown.get(event.new_best or "")
    if best is not None and not math.isnan(best.value):
        values = [f"★ {event.new_best} {number(best.value)}"]
    return " · ".join([epoch_name(epoch, language, progress.unit), *values])


def facts_of(row: RunRow, events: Sequence[Event], now: datetime, language: Language) -> tuple[Fact, ...]:
    """Return what is known of a run beside its curves, the most useful first."""
    start = latest_start(events)
    python = f"Python {redact(row.host.python)}" if row.host.python else ""
    pairs = (
        *_course(row, now, language),
        (text(language, "web.resumed"), resumed_text(start, language) if start else ""),
        (text(language, "web.model"), model_line(start.model, language) if start else ""),
        (text(language, "web.machine"), redact(row.host.name)),
        (text(language, "web.device"), redact(row.host.device)),
        (text(language, "web.memory"), memory(row.host.memory_bytes) if row.host.memory_bytes else ""),
        (text(language, "web.uptime"), _uptime(row, start, now, language)),
        (text(language, "web.process"), _joined(f"pid {row.host.pid}" if row.host.pid else "", python)),
        (text(language, "web.attempt"), str(row.attempt) if row.attempt > 1 else ""),
        (text(language, "web.project"), row.project),
        ("ID", row.id),
    )
    return tuple(Fact(label, value) for label, value in pairs if value)


def params_of(row: RunRow) -> tuple[Fact, ...]:
    """Return a run's hyper-parameters."""
    shown = {
        name: number(each, 6) if isinstance(each, float) else redact(str(each)) for name, each in row.params.items()
    }
    return tuple(Fact(redact(name), value) for name, value in shown.items())


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
    resumed = start.resumed
    if resumed is None:
        return ""
    if resumed.step:
        origin = text(
            language,
            "web.from_step",
            epoch=next_epoch(resumed, start.progress, language) or text(language, "web.epoch"),
            step=resumed.step,
        )
    else:
        origin = text(language, "web.last_one")
        if resumed.epoch is not None:
            origin = epoch_name(resumed.epoch, language, start.progress.unit)
        origin = text(language, "web.from_there", origin=origin)
    moved, lost = new_device(resumed, start.host, language), lost_work(resumed, language)
    past = (
        text(language, "web.redone", lost=lost)
        if lost
        else text(language, "web.saved_before", time=about(resumed.since_s, language))
    )
    return _joined(origin, text(language, "web.moved_to", device=moved) if moved else "", past)


def _course(row: RunRow, now: datetime, language: Language) -> Iterator[tuple[str, str]]:
    progress, over = row.progress, row.status.ended
    heard = (
        text(language, "web.no_beats")
        if row.beat_s is None and not over
        else ago(row.ended_at or row.alive_at, now, language)
    )
    yield (
        text(language, "web.checkpoint"),
        saved_text(progress.checkpoint, language) or text(language, "web.no_checkpoint"),
    )
    yield text(language, "web.heard").capitalize(), heard
    yield text(language, "web.moved").capitalize(), "" if over else ago(row.progress_at, now, language)
    yield text(language, "web.took"), span(progress.elapsed_s or None, language)
    of_unit = "web.per_epoch" if progress.unit == "epoch" else f"label.{progress.unit}_time"
    yield text(language, of_unit), span(progress.unit_s or None, language)


def _uptime(row: RunRow, start: RunStarted | None, now: datetime, language: Language) -> str:
    """Return the machine's uptime by now; empty if it is unknown or the run no longer runs."""
    if start is None or start.host.up_s is None or row.status is not Status.RUNNING:
        return ""
    return about(start.host.up_s + max((now - start.at).total_seconds(), 0.0), language)


def _joined(*parts: str) -> str:
    return " · ".join(part for part in parts if part)


def span(seconds: float | None, language: Language) -> str:
    """A time span in whole seconds, as text; empty where it is not known."""
    if seconds is None:
        return ""
    return duration(float(round(seconds)) if seconds >= 1 else seconds, language)


def ago(moment: datetime | None, now: datetime, language: Language) -> str:
    """Return the time since a moment as text, such as "12 s ago"; empty for None."""
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    return text(language, "web.just_now") if seconds < 1 else text(language, "web.ago", time=span(seconds, language))
