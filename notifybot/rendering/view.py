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
    LIMIT_LINE_NAME,
    about,
    best_text,
    duration,
    joined,
    lost_work,
    memory,
    metric_rows,
    model_line,
    new_device,
    next_epoch,
    number,
    row_text,
    size,
    tier_words,
)
from notifybot.rendering.labels import cause, epoch_name, grouped, has_end, position, status_word
from notifybot.rendering.text import clean, one_line, safe_line, shorten, shorten_path
from notifybot.types import Checkpoint, Fact, Host, Language, MetricRow, Progress, Unit

_LIMIT_NAME = 48  # leaves a brief of 200 characters room for what happened
_LIMIT_CODE = 8000
_BAR_WIDTH = 10
_SHORTEST_S = 0.001  # a boosting's round takes less: nobody waits for one
_LIMIT_ALERT = 1500
_LIMIT_ERROR = 400
_LIMIT_PARAMS = 24
_LIMIT_NOTE = 200
_LIMIT_NOTES = 5
_LIMIT_RETURNED = 300


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
    unit: str  # what the run counts: "epoch", "step", "round" or "trial"
    unit_name: str  # the same in the message's language
    epoch: int | None  # the user's own label
    epoch_name: str  # "epoch 3", "step 1,500"
    done: int
    done_text: str  # "1,500"
    total: int | None
    total_text: str
    position: str  # "epoch 3/30", "step 1,500/20,000"
    percent: str
    bar: str
    eta: str
    elapsed: str
    epoch_time: str  # of the last epoch; of a step, a round or a trial, as they go now
    metrics: str  # values and changes, the first few
    values: str  # values alone
    best: str  # best values and where they were reached
    rows: tuple[MetricRow, ...]
    checkpoint: str
    checkpoint_file: str  # the end of the path
    checkpoint_size: str
    checkpoint_epoch: str  # "epoch 3"
    checkpoint_tier: str  # "local" or "remote" where it was proven whole, "readable" where a framework wrote it
    checkpoint_proof: str  # the same in words
    kept_in: str  # where a framework keeps the state by itself: a "storage", a "backup", or nowhere
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
    returned: str  # the value of a function that is the run
    silent: str
    was: str
    skipped: int


_TEXTS = (
    "checkpoint", "checkpoint_file", "checkpoint_size", "checkpoint_epoch", "checkpoint_tier", "checkpoint_proof",
    "host", "memory", "uptime", "model", "resumed_epoch", "next_epoch", "new_device", "saved_ago", "lost",
    "new_best", "new_best_value", "alert_title", "alert_text", "ended", "error", "note", "returned", "silent", "was",
)  # fmt: skip
# The variables that not every event has: most belong to one kind, the checkpoint's to a run that has one.
_EMPTY: dict[str, Any] = dict.fromkeys(_TEXTS, "") | {
    "checkpoint_fleeting": False, "notebook": None, "params": (), "attempt": 1, "resumed": False, "resumed_step": 0,
    "notes": (), "alerts_same": 0, "alerts_others": 0, "alerts_untold": 0,
}  # fmt: skip


def view_of(event: Event, language: Language, skipped: int = 0) -> View:
    """Return the variables of a template for `event`."""
    progress = event.progress
    if isinstance(event, RunStarted) and progress.total is None:
        progress = replace(progress, total=event.total)
    if progress.total and not has_end(progress.total):
        progress = replace(progress, total=None, eta_s=None)
    total = progress.total or 0
    unit_s, in_epochs = progress.unit_s, progress.unit == "epoch"
    done = min(max(progress.done, 0), total)
    rows = metric_rows(progress, language)
    bests = (
        f"{shorten(one_line(name), LIMIT_LINE_NAME)} {best_text(each, language, progress.unit)}"
        for name, each in progress.shown.items()
        if each.best is not None
    )
    variables = _EMPTY | {
        "kind": event.kind,
        "lang": language,
        "status": status_word(event, language),
        "severity": severity_of(event),
        "run_id": event.run.id,
        "name": safe_line(event.run.name, _LIMIT_NAME) or event.run.id[:8],
        "project": safe_line(event.run.project, _LIMIT_NAME),
        "unit": progress.unit,
        "unit_name": text(language, f"word.{progress.unit}"),
        "epoch": progress.epoch,
        "epoch_name": "" if progress.epoch is None else epoch_name(progress.epoch, language, progress.unit),
        "done": progress.done,
        "done_text": grouped(progress.done, progress.unit),
        "total": progress.total,
        "total_text": "" if progress.total is None else grouped(progress.total, progress.unit),
        "position": position(progress, language),
        "percent": f"{done * 100 // total}%" if total else "",  # rounded down: only the end is "100%"
        "bar": ("▓" * (done * _BAR_WIDTH // total)).ljust(_BAR_WIDTH, "░") if total else "",
        "eta": about(progress.eta_s, language) if progress.eta_s else "",
        "elapsed": duration(progress.elapsed_s, language) if progress.elapsed_s else "",
        "epoch_time": duration(unit_s, language) if unit_s and (unit_s >= _SHORTEST_S or in_epochs) else "",
        "metrics": joined(map(row_text, rows), 90),
        "values": joined((f"{shorten(row.name, LIMIT_LINE_NAME)} {row.value}" for row in rows), 72),
        "best": joined(bests, 90),
        "rows": rows,
        "kept_in": progress.kept_in if progress.done else "",
        "skipped": skipped if progress.unit == "epoch" else 0,  # how many steps they were is not known
    }
    checkpoint = event.checkpoint if isinstance(event, CheckpointSaved) else progress.checkpoint
    if checkpoint is not None:
        variables |= _saved(checkpoint, language, progress.unit)
    if not isinstance(event, EpochFinished):
        variables |= _own(event, progress, language)
    elif event.new_best:
        found = progress.shown.get(event.new_best)
        value = number(found.value if found.best is None else found.best) if found else ""
        variables |= {"new_best": safe_line(event.new_best, 24), "new_best_value": value}
    return cast("View", variables)


def _saved(checkpoint: Checkpoint, language: Language, unit: Unit) -> dict[str, Any]:
    """Return the variables of the last checkpoint, for a narrow line and a wide one."""
    path = redact(one_line(checkpoint.path))
    return {
        "checkpoint": shorten_path(path, 60),
        "checkpoint_file": shorten_path(path, 24),
        "checkpoint_size": size(checkpoint.size_bytes) if checkpoint.size_bytes else "",
        "checkpoint_epoch": epoch_name(checkpoint.epoch, language, unit) if checkpoint.epoch is not None else "",
        "checkpoint_tier": checkpoint.tier,
        "checkpoint_proof": tier_words(checkpoint, language),
        "checkpoint_fleeting": checkpoint.fleeting,
    }


def _own(event: Event, progress: Progress, language: Language) -> dict[str, Any]:
    """Return the variables that only events of this kind have."""
    match event:
        case RunStarted():
            return _start(event, progress, language)
        case AlertRaised():
            alert = alert_words(event, language)
            return {
                "alert_title": safe_line(alert.title, 80),
                "alert_text": _safe_lines(alert.text, _LIMIT_ALERT),
                "alerts_same": event.same,
                "alerts_others": event.others,
            }
        case RunEnded():
            return {
                "ended": event.status,
                "error": safe_line(cause(event.error, language), _LIMIT_ERROR),
                "note": safe_line(event.note, 80),
                "returned": safe_line(event.returned, _LIMIT_RETURNED),
                "notebook": event.notebook,
                "alerts_untold": event.untold,
            }
        case RunLost() | RunStalled():
            return {"silent": duration(event.silent_s, language), **_machine(event.host)}
        case RunRecovered():
            return {"silent": duration(event.away_s, language), "was": event.was}
    return {}


def _start(start: RunStarted, progress: Progress, language: Language) -> dict[str, Any]:
    """Return the variables of a start: the machine, the model, and the checkpoint that it resumed from."""
    host, resumed = start.host, start.resumed
    up = about(host.up_s, language) if host.up_s else ""
    variables = {
        **_machine(host),
        "memory": text(language, "phrase.memory", memory=memory(host.memory_bytes)) if host.memory_bytes else "",
        "uptime": text(language, "phrase.uptime", time=up) if up else "",
        "model": model_line(start.model, language),
        "attempt": start.attempt,
        "params": tuple(
            Fact(safe_line(name, 40), number(value, 6) if isinstance(value, float) else safe_line(str(value), 80))
            for name, value in list(start.params.items())[:_LIMIT_PARAMS]
        ),
    }
    if resumed is None:
        return variables
    notes = [safe_line(reason_line(each, language), _LIMIT_NOTE) for each in resumed.notes[:_LIMIT_NOTES]]
    more = len(resumed.notes) - len(notes) + resumed.more_notes
    return variables | {
        "resumed": True,
        "resumed_epoch": epoch_name(resumed.epoch, language, progress.unit) if resumed.epoch is not None else "",
        "resumed_step": resumed.step,
        "next_epoch": next_epoch(resumed, progress, language),
        "new_device": new_device(resumed, host, language),
        "saved_ago": about(resumed.since_s, language),
        "lost": lost_work(resumed, language),
        "notes": (*notes, f"… +{more}") if more > 0 else tuple(notes),
    }


def _machine(host: Host) -> dict[str, Any]:
    name, device = safe_line(host.name, 40), safe_line(host.device, 40)
    return {"host": f"{name} ({device})" if name and device else name or device, "notebook": host.notebook}


def _safe_lines(text: str, limit: int) -> str:
    return shorten(redact(clean(text)).strip("\n"), limit)


def code_of(event: RunEnded | RunStalled) -> str:
    """Return what an event has to show verbatim: the end of a traceback, or the threads' stacks."""
    if isinstance(event, RunStalled):
        return _safe_lines(event.stack, _LIMIT_CODE)
    frames = redact(clean(event.frames)).strip("\n")
    # the innermost frames come last
    return frames if len(frames) <= _LIMIT_CODE else frames[-_LIMIT_CODE:].partition("\n")[2]


def facts_of(event: Event, view: View, language: Language) -> tuple[Fact, ...]:
    """Return the labelled lines of a message, the most useful first. Of a start, they are its parameters."""
    if isinstance(event, RunStarted):
        return view["params"]
    facts = {
        "eta": "" if isinstance(event, RunEnded | RunLost) else view["eta"],
        "elapsed": view["elapsed"],
        "epoch_time": view["epoch_time"],
    }
    if isinstance(event, RunLost | RunStalled):
        facts |= {"machine": safe_line(event.host.name, 60), "device": safe_line(event.host.device, 60)}
    if not isinstance(event, CheckpointSaved):
        proof = view["checkpoint_proof"]
        facts["checkpoint"] = view["checkpoint"] + (f" ({proof})" if proof else "")
    unit = event.progress.unit
    keys = {name: f"label.{name}" for name in facts} | {"epoch_time": f"label.{unit}_time"}
    return tuple(Fact(text(language, keys[name]), value) for name, value in facts.items() if value)
