"""`notifybot status`: lists the runs of this machine."""

from __future__ import annotations

import math
import platform
from datetime import datetime

from rich.console import Console
from rich.text import Text

from notifybot.cli.database import database, open_store
from notifybot.cli.options import Cell, Listing, columns, in_json
from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.i18n import text
from notifybot.rendering.format import about, duration, number
from notifybot.rendering.labels import epoch_name, share_of
from notifybot.rendering.text import one_line
from notifybot.store.outbox import process_is_gone
from notifybot.store.runs import RunRow, recent
from notifybot.types import Language, Progress, Status
from notifybot.watchdog.rules import Limits, silent_limit_s

_STYLES = {
    Status.RUNNING: "cyan",
    Status.FINISHED: "green",
    Status.STOPPED: "",
    Status.INTERRUPTED: "yellow",
    Status.FAILED: "bold red",
    Status.LOST: "bold red",
}
_METRICS = 3


def run(*, limit: int, project: str, as_json: bool) -> int:
    """Print the latest runs of this machine's store."""
    config = load()
    path = database(config)
    rows: list[RunRow] = []
    if path.exists():
        with open_store(path) as store:
            rows = recent(store, limit=limit, project=project or None)
    now = SYSTEM.now()
    if as_json:
        print(in_json([_plain(row, now) for row in rows]))
    elif rows:
        headings = columns(config.lang, "run", "status", "epoch", "metrics", "heard", "eta")
        Console().print(Listing(headings, [_fields(row, config.lang, now) for row in rows]))
    else:
        Console().print(text(config.lang, "cli.status.no_runs"))
    return 0


def _fields(row: RunRow, language: Language, now: datetime) -> list[Cell]:
    progress = row.progress
    known = process_of(row, now)
    if known == "gone":
        status = Text(text(language, "cli.status.gone"), style=_STYLES[Status.LOST])
    elif known == "elsewhere":
        status = Text(text(language, "cli.status.elsewhere", machine=one_line(row.host.name)), style="yellow")
    else:
        status = Text(text(language, f"cli.run_status.{row.status}"), style=_STYLES[row.status])
    if row.stalled and known != "gone":
        status.append(f", {text(language, 'cli.status.stalled')}", style="yellow")
    return [
        one_line(row.name),
        status,
        _how_far(progress, language),
        tuple(f"{one_line(name)} {number(each.value)}" for name, each in list(progress.shown.items())[:_METRICS]),
        text(language, "cli.status.ago", time=duration((now - heard_at(row)).total_seconds(), language)),
        about(progress.eta_s, language) if progress.eta_s is not None and known in ("running", "elsewhere") else "",
    ]


def _how_far(progress: Progress, language: Language) -> str:
    """Epochs done, below the column's heading; anything else with the name of what it counts."""
    if progress.unit != "epoch":
        return epoch_name(share_of(progress) or progress.done, language, progress.unit)
    return str(progress.done) if progress.total is None else f"{progress.done}/{progress.total}"


def process_of(row: RunRow, now: datetime) -> str:
    """Return what can be known of a run's process: "running", "gone", "elsewhere", or "ended", as the run said itself.

    "gone" is certain, unless a container with this machine's name and files has a list of processes of its own.
    "elsewhere" is another machine's, into which nothing can look and which is late by the heartbeats that it promised,
    or promised none. "running" is the rest: a process of that number is there, or a heartbeat has just arrived.
    """
    if row.status is not Status.RUNNING:
        return "ended"
    heard, pid = heard_at(row), row.host.pid
    if row.host.name in ("", platform.node()):
        return "gone" if row.host.name and pid and process_is_gone(pid, heard, now) else "running"
    late = row.beat_s is None or (now - heard).total_seconds() > silent_limit_s(row, Limits())
    return "elsewhere" if late else "running"


def heard_at(row: RunRow) -> datetime:
    """Return the moment at which a run was last heard: by an event, a heartbeat, or its start."""
    return max(each for each in (row.started_at, row.alive_at, row.last_event_at) if each is not None)


def _plain(row: RunRow, now: datetime) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "project": row.project,
        "status": row.status.value,
        "process": process_of(row, now),
        "stalled": row.stalled,
        "unit": row.progress.unit,
        "epoch": row.progress.epoch,
        "done": row.progress.done,
        "total": row.progress.total,
        "metrics": {name: _finite(metric.value) for name, metric in row.progress.metrics.items()},
        "started_at": row.started_at.isoformat(),
        "last_heard_at": heard_at(row).isoformat(),
        "eta_s": row.progress.eta_s,
        "checkpoint": row.progress.checkpoint.path if row.progress.checkpoint else None,
    }


def _finite(value: float) -> float | str:
    """Replace NaN and infinity, which JSON lacks, by the names that the event codec uses."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
