"""`notifybot status`: lists the runs of this machine."""

from __future__ import annotations

import math
from datetime import datetime

from rich.console import Console
from rich.text import Text

from notifybot.cli.database import database, open_store
from notifybot.cli.options import Cell, Listing, columns, in_json
from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.i18n import text
from notifybot.rendering.format import about, duration, number
from notifybot.rendering.text import one_line
from notifybot.store.runs import RunRow, recent
from notifybot.types import Language, Metric, Status

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
    if as_json:
        print(in_json([_plain(row) for row in rows]))
    elif rows:
        Console().print(_listing(rows, config.lang, SYSTEM.now()))
    else:
        Console().print(text(config.lang, "cli.status.no_runs"))
    return 0


def _listing(rows: list[RunRow], language: Language, now: datetime) -> Listing:
    headings = columns(language, "run", "status", "epoch", "metrics", "heard", "eta")
    return Listing(headings, [_fields(row, language, now) for row in rows])


def _fields(row: RunRow, language: Language, now: datetime) -> list[Cell]:
    eta = row.progress.eta_s
    return [
        one_line(row.name),
        _status(row, language),
        _epochs(row),
        tuple(f"{one_line(name)} {number(metric.value)}" for name, metric in _first_metrics(row)),
        text(language, "cli.status.ago", time=duration((now - heard_at(row)).total_seconds(), language)),
        about(eta, language) if eta is not None and row.status is Status.RUNNING else "",
    ]


def _status(row: RunRow, language: Language) -> Text:
    status = Text(text(language, f"cli.run_status.{row.status}"), style=_STYLES[row.status])
    return status.append(f", {text(language, 'cli.status.stalled')}", style="yellow") if row.stalled else status


def _epochs(row: RunRow) -> str:
    total = row.progress.total
    return str(row.progress.done) if total is None else f"{row.progress.done}/{total}"


def _first_metrics(row: RunRow) -> list[tuple[str, Metric]]:
    return list(row.progress.metrics.items())[:_METRICS]


def heard_at(row: RunRow) -> datetime:
    """Return the moment of a run's last sign of life: its event, its heartbeat, or its start."""
    return max(each for each in (row.started_at, row.alive_at, row.last_event_at) if each is not None)


def _plain(row: RunRow) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "project": row.project,
        "status": row.status.value,
        "stalled": row.stalled,
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
