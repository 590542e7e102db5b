"""Variables of the templates: an event in ready-made words of bounded length, with one set of names for all kinds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypedDict, cast

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
from notifybot.policy import severity_of
from notifybot.redaction import redact
from notifybot.rendering.alert_text import alert_words
from notifybot.rendering.error_text import reason_line
from notifybot.rendering.format import (
    about,
    best_line,
    changes_line,
    duration,
    lost_work,
    memory_line,
    metric_rows,
    model_line,
    new_device,
    next_epoch,
    number,
    percent,
    progress_bar,
    size,
    tier_words,
    uptime_line,
    values_line,
)
from notifybot.rendering.labels import cause, epoch_name, has_end, position, status_word
from notifybot.rendering.text import clean, one_line, shorten, shorten_path
from notifybot.types import Checkpoint, Fact, Host, Language, MetricRow, Param, Progress, Resumed

LIMIT_NAME = 48  # leaves a brief of 200 characters room for what happened
LIMIT_CODE = 8000
_LIMIT_ALERT = 1500
_LIMIT_ERROR = 400
_LIMIT_PARAMS = 24
_LIMIT_NOTE = 200
_LIMIT_NOTES = 5


class View(TypedDict):
    """Variables of a template. Empty text, 0 or None where an event has no such value.

    Other people's text (`name`, `error`, `alert_text`, …) is data: it is never read as a template.
    """

    kind: str
    lang: str
    status: str  # the status in the message's language
    severity: str
    run_id: str
    name: str
    project: str
    epoch: int | None  # the user's own label
    done: int
    total: int | None
    position: str  # "epoch 3/30"
    percent: str
    bar: str
    eta: str
    elapsed: str
    epoch_time: str
    metrics: str  # values and changes, the first few
    values: str  # values alone
    best: str  # best values and where they were reached
    rows: tuple[MetricRow, ...]
    checkpoint: str
    checkpoint_file: str  # the end of the path
    checkpoint_size: str
    checkpoint_epoch: str  # "epoch 3"
    checkpoint_tier: str  # "local" or "remote" where it was proven whole
    checkpoint_proof: str  # the same in words
    checkpoint_fleeting: bool  # only on a machine that is reset
    host: str
    notebook: bool | None  # whether a notebook's cell trains; None where nobody said
    memory: str  # "12.7 GB RAM"
    uptime: str  # "up 3 h"
    model: str  # "1.2 M of 11.7 M parameters learn"
    params: tuple[Fact, ...]
    attempt: int
    resumed: bool  # from a checkpoint of notifybot; the next six belong to it
    resumed_epoch: str  # the last finished one: "epoch 17"
    resumed_step: int  # steps done of the epoch after it
    next_epoch: str
    new_device: str  # "T4" or "machine"; empty on the same machine
    saved_ago: str
    lost: str  # work that is done again
    notes: tuple[str, ...]  # differences from the program
    new_best: str
    new_best_value: str
    alert_title: str
    alert_text: str
    alerts_same: int  # alerts of this title since the last one that was sent
    alerts_others: int  # of titles of which no message was sent
    alerts_untold: int  # at the end: not even counted in a message
    ended: str  # how a run ended: one of the statuses, in English
    error: str
    note: str  # why a run finished early
    silent: str
    was: str
    skipped: int


def view_of(event: Event, language: Language, skipped: int = 0) -> View:
    """Return the variables of a template for `event`."""
    progress = _progress(event)
    rows = metric_rows(progress, language)
    new_best = event.new_best if isinstance(event, EpochFinished) and event.new_best else ""
    found = progress.metrics.get(new_best)
    variables: dict[str, Any] = {
        "kind": event.kind,
        "lang": language,
        "status": status_word(event, language),
        "severity": severity_of(event),
        "run_id": event.run.id,
        "name": told(event.run.name, LIMIT_NAME) or event.run.id[:8],
        "project": told(event.run.project, LIMIT_NAME),
        "metrics": changes_line(rows, 90),
        "values": values_line(rows, 72),
        "best": best_line(progress, language, 90),
        "rows": rows,
        "host": _host(_machine(event)),
        "notebook": event.notebook if isinstance(event, RunEnded) else _machine(event).notebook,
        "new_best": told(new_best, 24),
        "new_best_value": number(found.value if found.best is None else found.best) if found else "",
        "silent": _silence(event, language),
        "skipped": skipped,
    }
    variables |= _course(progress, language) | _saved(_checkpoint(event), language)
    return cast("View", variables | _start(event, language) | _own(event, language))


def _course(progress: Progress, language: Language) -> dict[str, Any]:
    """Return the variables of progress and speed."""
    return {
        "epoch": progress.epoch,
        "done": progress.done,
        "total": progress.total,
        "position": position(progress, language),
        "percent": percent(progress.done, progress.total or 0),
        "bar": progress_bar(progress.done, progress.total or 0),
        "eta": about(progress.eta_s, language) if progress.eta_s else "",
        "elapsed": duration(progress.elapsed_s, language) if progress.elapsed_s else "",
        "epoch_time": duration(progress.epoch_s, language) if progress.epoch_s else "",
    }


def _saved(checkpoint: Checkpoint | None, language: Language) -> dict[str, Any]:
    """Return the variables of the last checkpoint, for a narrow line and a wide one."""
    saved_in = checkpoint.epoch if checkpoint else None
    return {
        "checkpoint": _path(checkpoint, 60),
        "checkpoint_file": _path(checkpoint, 24),
        "checkpoint_size": size(checkpoint.size_bytes) if checkpoint and checkpoint.size_bytes else "",
        "checkpoint_epoch": epoch_name(saved_in, language) if saved_in is not None else "",
        "checkpoint_tier": checkpoint.tier if checkpoint else "",
        "checkpoint_proof": tier_words(checkpoint, language),
        "checkpoint_fleeting": checkpoint.fleeting if checkpoint else False,
    }


def _start(event: Event, language: Language) -> dict[str, Any]:
    """Return the variables of a start: the machine, the model, and the checkpoint that it resumed from."""
    start = event if isinstance(event, RunStarted) else None
    host = start.host if start else Host()
    resumed = start.resumed if start else None
    epoch = resumed.epoch if resumed else None
    return {
        "memory": memory_line(host, language),
        "uptime": uptime_line(host.up_s, language),
        "model": model_line(start.model, language) if start else "",
        "resumed": resumed is not None,
        "resumed_epoch": epoch_name(epoch, language) if epoch is not None else "",
        "resumed_step": resumed.step if resumed else 0,
        "next_epoch": next_epoch(resumed, _progress(event), language) if resumed else "",
        "new_device": new_device(resumed, host, language) if resumed else "",
        "saved_ago": about(resumed.since_s, language) if resumed else "",
        "lost": lost_work(resumed, language) if resumed else "",
        "notes": _notes(resumed, language) if resumed else (),
    }


def _notes(resumed: Resumed, language: Language) -> tuple[str, ...]:
    """Return the notes on the restored state, a line each."""
    lines = [told(reason_line(each, language), _LIMIT_NOTE) for each in resumed.notes[:_LIMIT_NOTES]]
    more = len(resumed.notes) - len(lines) + resumed.more_notes
    return (*lines, f"… +{more}") if more > 0 else tuple(lines)


def _own(event: Event, language: Language) -> dict[str, Any]:
    """Return the variables that only some kinds of event have; empty in the others."""
    start = event if isinstance(event, RunStarted) else None
    alert = alert_words(event, language) if isinstance(event, AlertRaised) else None
    end = event if isinstance(event, RunEnded) else None
    return {
        "params": _params(start.params) if start else (),
        "attempt": start.attempt if start else 1,
        "alert_title": told(alert.title, 80) if alert else "",
        "alert_text": told_lines(alert.text, _LIMIT_ALERT) if alert else "",
        "alerts_same": event.same if isinstance(event, AlertRaised) else 0,
        "alerts_others": event.others if isinstance(event, AlertRaised) else 0,
        "alerts_untold": end.untold if end else 0,
        "ended": end.status if end else "",
        "error": told(cause(end.error, language), _LIMIT_ERROR) if end else "",
        "note": told(end.note, 80) if end else "",
        "was": event.was if isinstance(event, RunRecovered) else "",
    }


def told(text: str, limit: int) -> str:
    """Return other people's text as one safe line. Redacted before it is cut: half a secret is not recognised."""
    return shorten(redact(one_line(text)), limit)


def told_lines(text: str, limit: int) -> str:
    """Return other people's text as safe lines."""
    return shorten(redact(clean(text)).strip("\n"), limit)


def code_of(event: Event) -> str:
    """Return what an event has to show verbatim: the end of a traceback, or the threads' stacks."""
    if isinstance(event, RunEnded):
        frames = redact(clean(event.frames)).strip("\n")
        if len(frames) <= LIMIT_CODE:
            return frames
        return frames[-LIMIT_CODE:].partition("\n")[2]  # the innermost frames come last
    return told_lines(event.stack, LIMIT_CODE) if isinstance(event, RunStalled) else ""


def facts_of(event: Event, language: Language) -> tuple[Fact, ...]:
    """Return the labelled lines of a message, the most useful first. Of a start, they are its parameters."""
    if isinstance(event, RunStarted):
        return _params(event.params)
    progress = _progress(event)
    host, over = _machine(event), isinstance(event, RunEnded | RunLost)
    pairs = (
        ("eta", about(progress.eta_s, language) if progress.eta_s and not over else ""),
        ("elapsed", duration(progress.elapsed_s, language) if progress.elapsed_s else ""),
        ("epoch_time", duration(progress.epoch_s, language) if progress.epoch_s else ""),
        ("machine", told(host.name, 60)),
        ("device", told(host.device, 60)),
        ("checkpoint", _proven(event, language) if not isinstance(event, CheckpointSaved) else ""),
    )
    return tuple(Fact(text(language, f"label.{name}"), value) for name, value in pairs if value)


def _machine(event: Event) -> Host:
    return event.host if isinstance(event, RunStarted | RunLost | RunStalled) else Host()


def _progress(event: Event) -> Progress:
    progress = event.progress
    if isinstance(event, RunStarted) and progress.total is None:
        progress = replace(progress, total=event.total)
    return progress if not progress.total or has_end(progress.total) else replace(progress, total=None, eta_s=None)


def _checkpoint(event: Event) -> Checkpoint | None:
    return event.checkpoint if isinstance(event, CheckpointSaved) else event.progress.checkpoint


def _proven(event: Event, language: Language) -> str:
    """The last checkpoint's path, and how safe it is where that is known."""
    checkpoint = _checkpoint(event)
    proof = tier_words(checkpoint, language)
    return _path(checkpoint, 60) + (f" ({proof})" if proof else "")


def _path(checkpoint: Checkpoint | None, limit: int) -> str:
    return shorten_path(redact(one_line(checkpoint.path)), limit) if checkpoint else ""


def _host(host: Host) -> str:
    name, device = told(host.name, 40), told(host.device, 40)
    return f"{name} ({device})" if name and device else name or device


def _params(params: dict[str, Param]) -> tuple[Fact, ...]:
    return tuple(Fact(told(name, 40), _param(value)) for name, value in list(params.items())[:_LIMIT_PARAMS])


def _param(value: Param) -> str:
    return number(value, 6) if isinstance(value, float) else told(str(value), 80)


def _silence(event: Event, language: Language) -> str:
    match event:
        case RunLost() | RunStalled():
            return duration(event.silent_s, language)
        case RunRecovered():
            return duration(event.away_s, language)
    return ""
