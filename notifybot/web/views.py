"""What the pages show: rows and events put into words, ready for a template. Pure."""

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
from notifybot.redaction import redact
from notifybot.rendering.alert_text import alert_words
from notifybot.rendering.format import (
    about,
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
from notifybot.rendering.labels import cause, has_end
from notifybot.store.runs import RunRow
from notifybot.types import Checkpoint, Fact, Host, Language, MetricRow, Param, Progress, Status, Tier
from notifybot.web.texts import TEXTS, Texts, ago, span

_MOST_CHARTS = 24
_LATEST_EVENTS = 60


@dataclass(frozen=True, slots=True)
class RunCard:
    """One run in the list, and the head of its own page."""

    id: str
    name: str
    project: str
    state: str  # a status, or "stalled": the class of its colour
    word: str
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
    word: str
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
    charts: tuple[Chart, ...]
    facts: tuple[Fact, ...]
    params: tuple[Fact, ...]
    entries: tuple[Entry, ...]


def state_of(row: RunRow) -> str:
    """A run's status, or "stalled" while a running one stands still."""
    return "stalled" if row.stalled and row.status is Status.RUNNING else str(row.status)


def card_of(row: RunRow, now: datetime, language: Language) -> RunCard:
    """Put a run into the words of the list."""
    texts, state, progress = TEXTS[language], state_of(row), row.progress
    at_work, total = state == "running", progress.total if has_end(progress.total) else None
    return RunCard(
        id=row.id,
        name=redact(row.name) or row.id,
        project=row.project,
        state=state,
        word=texts.statuses[state],
        position=_position(progress, texts),
        done=progress.done,
        total=total or 0,
        eta=texts.eta.format(about(progress.eta_s, language)) if progress.eta_s and total and at_work else "",
        heard=ago(_last_at(row), now, language),
        metrics=metric_rows(progress, language),
    )


def view_of_run(row: RunRow, events: Sequence[Event], now: datetime, language: Language) -> RunView:
    """Put a run and its history into the words of its page."""
    texts = TEXTS[language]
    checkpoint = row.progress.checkpoint
    notice = _notice(row, now, language)
    return RunView(
        card=card_of(row, now, language),
        notice=notice,
        error=_error(row, events, language),
        go_on=_go_on(row, texts) if notice else "",
        checkpoint=redact(checkpoint.path) if checkpoint else "",
        stack=redact(row.stack) if state_of(row) == "stalled" else "",
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
            for name, metric in event.progress.metrics.items():
                found.setdefault(name, {})[epoch] = metric.value
    return {name: sorted(points.items()) for name, points in found.items()}


def _position(progress: Progress, texts: Texts) -> str:
    if not progress.done:
        return texts.no_epoch
    return f"{texts.epoch} {progress.done}" + (f" / {progress.total}" if has_end(progress.total) else "")


def _notice(row: RunRow, now: datetime, language: Language) -> str:
    texts = TEXTS[language]
    match state_of(row):
        case "lost":
            return texts.lost.format(span(_since_s(row.alive_at, now), language))
        case "stalled":
            return texts.stalled.format(span(_since_s(row.progress_at, now), language))
        case "failed":
            return texts.failed
        case "interrupted":
            return texts.interrupted
    return ""


def _last_at(row: RunRow) -> datetime | None:
    """When the run last said something; of one that is over, when it ended."""
    return row.ended_at or row.alive_at


def _since_s(moment: datetime | None, now: datetime) -> float:
    return max((now - moment).total_seconds(), 0.0) if moment else 0.0


def _error(row: RunRow, events: Sequence[Event], language: Language) -> str:
    """What the failed run died of, in its own words."""
    ended = next((event for event in reversed(events) if isinstance(event, RunEnded)), None)
    return redact(cause(ended.error, language)) if ended is not None and row.status is Status.FAILED else ""


def _go_on(row: RunRow, texts: Texts) -> str:
    what = texts.command if row.host.notebook is False else texts.cell
    again = _again(row.progress.checkpoint, what, texts)
    return f"{texts.interrupt} {again}" if state_of(row) == "stalled" else again


def _again(checkpoint: Checkpoint | None, what: str, texts: Texts) -> str:
    """What running the same thing again leads to: more is promised only of a checkpoint that was proven whole."""
    if checkpoint is None:
        return texts.go_on_anew.format(again=what)
    epoch = texts.last_one if checkpoint.epoch is None else texts.at_epoch.format(checkpoint.epoch)
    match checkpoint.tier:
        case Tier.REMOTE:
            return texts.go_on_itself.format(epoch, again=what)
        case Tier.LOCAL:
            return texts.go_on_with_disk.format(epoch, again=what)
        case Tier.UNPROVEN:
            words = texts.go_on_from_file if checkpoint.epoch is None else texts.go_on_from
            return words.format(checkpoint.epoch, again=what)


def _entries(events: Sequence[Event], language: Language) -> list[Entry]:
    """The latest events, newest first. Of epochs only the last one and new bests: the curves show the rest."""
    last = next((event for event in reversed(events) if isinstance(event, EpochFinished)), None)
    shown = [each for each in events if not isinstance(each, EpochFinished) or each.new_best or each is last]
    return [_entry(event, language) for event in reversed(shown[-_LATEST_EVENTS:])]


def _entry(event: Event, language: Language) -> Entry:
    texts = TEXTS[language]
    word = texts.kinds[event.kind]
    match event:
        case RunStarted():
            again = event.attempt > 1 or event.resumed is not None
            parts = (redact(event.host.name), redact(event.host.device), resumed_text(event, language))
            text = " · ".join(part for part in parts if part)
            return Entry(event.at, "running", texts.kinds["run_resumed"] if again else word, text)
        case EpochFinished():
            return Entry(event.at, "finished" if event.new_best else "", word, _epoch_text(event, texts))
        case CheckpointSaved():
            return Entry(event.at, "", word, saved_text(event.checkpoint, language))
        case AlertRaised():
            text = " — ".join(part for part in alert_words(event, language) if part)
            return Entry(event.at, "stalled", word, redact(text))
        case RunEnded():
            return Entry(
                event.at,
                event.status,
                texts.statuses[event.status],
                redact(cause(event.error, language)),
                redact(event.frames),
            )
        case RunStalled():
            still = texts.stood_still.format(span(event.silent_s, language))
            return Entry(event.at, "stalled", word, still, redact(event.stack))
        case RunLost():
            return Entry(event.at, "lost", word, texts.was_silent.format(span(event.silent_s, language)))
        case RunRecovered():
            return Entry(event.at, "running", word, texts.was_away.format(span(event.away_s, language)))


def _epoch_text(event: EpochFinished, texts: Texts) -> str:
    progress = event.progress
    epoch = progress.done if progress.epoch is None else progress.epoch
    values = [f"{name} {number(metric.value)}" for name, metric in list(progress.metrics.items())[:4]]
    best = progress.metrics.get(event.new_best or "")
    if best is not None and not math.isnan(best.value):
        values = [f"★ {event.new_best} {number(best.value)}"]
    return " · ".join([texts.at_epoch.format(epoch), *values])


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
