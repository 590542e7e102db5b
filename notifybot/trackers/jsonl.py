"""Metrics as JSON lines: one file per run that anything can read, without a dependency."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Any, assert_never

from notifybot.events import (
    EPOCH_FINISHED,
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
from notifybot.files import write_atomically
from notifybot.redaction import redact
from notifybot.trackers.base import TrackerContext
from notifybot.types import Checkpoint, Metric, Progress, RunRef, Severity, Status

FILE_NAME = "metrics.jsonl"


class JsonlTracker:
    """Appends one line per event to `metrics.jsonl` in the run's folder; no line is ever there twice.

    Each line carries `kind`, `id` and `at`. Non-finite numbers are the strings "NaN", "Infinity" and "-Infinity",
    so every line is valid JSON. When a run is resumed, a line torn by a kill and the epochs from `purge_from` on
    are taken out, the file being replaced in one step; so they are when the training goes back. Other kinds of lines
    did happen, and stay.
    """

    name = "jsonl"

    def __init__(self, path: Path, seen: set[str]) -> None:
        self.path = path
        self._seen = seen
        self._file = FileIO(path, "a")

    @classmethod
    def open(cls, context: TrackerContext) -> JsonlTracker:
        """Open the run's file, mended and purged."""
        path = context.folder / FILE_NAME
        return cls(path, _mend(path, context.purge_from))

    def record(self, event: Event) -> None:
        """Write the event's line through to the operating system, unless it is there already."""
        fields = _fields(event)
        if fields is None or event.id in self._seen:
            return
        row = {"kind": event.kind, "id": event.id, "at": event.at.isoformat(), **fields}
        text = redact(json.dumps(_plain(row), ensure_ascii=False, allow_nan=False)) + "\n"
        line = text.encode("utf-8", errors="backslashreplace")
        end = self._file.seek(0, os.SEEK_END)
        try:
            if self._file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
        except OSError:
            self._file.truncate(end)  # half a line would spoil the next one
            raise
        self._seen.add(event.id)

    def go_back(self, first: int) -> None:
        """Take those epochs' lines out."""
        self._seen = _mend(self.path, first)
        self._file.close()
        self._file = FileIO(self.path, "a")

    def close(self, status: Status) -> None:
        self._file.close()


def events_in(folder: Path, run: RunRef) -> tuple[Event, ...]:
    """Read back the events that the file in a run's folder holds, in their order; others' lines are left out.

    When a machine is lost, so is what its database knew: from these the other trackers can be made good.
    Raises OSError.
    """
    try:
        lines = (folder / FILE_NAME).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return ()
    found = (_event(_read(line), run) for line in lines if line.endswith(b"\n"))
    return tuple(event for event in found if event is not None)


def _event(row: dict[str, Any], run: RunRef) -> Event | None:
    reader = _READERS.get(str(row.get("kind")))
    try:
        fact = {"id": str(row["id"]), "run": run, "at": datetime.fromisoformat(row["at"])}
        return None if reader is None else reader(fact, row)
    except (KeyError, TypeError, ValueError, AttributeError):  # edited by hand, or written by somebody else
        return None


def _epoch(fact: dict[str, Any], row: dict[str, Any]) -> EpochFinished:
    bests = {  # older versions' files hold none
        name: {"best": float(best["value"]), "best_epoch": best["epoch"]}
        for name, best in row.get("best", {}).items()
        if best is not None
    }
    progress = Progress(
        epoch=row["epoch"],
        done=int(row["done"]),
        total=row["total"],
        metrics={str(name): Metric(float(value), **bests.get(name, {})) for name, value in row["metrics"].items()},
        epoch_s=row["epoch_s"],
        elapsed_s=float(row["elapsed_s"]),
        unit=row.get("unit", "epoch"),
        part=row.get("part"),
    )
    return EpochFinished(**fact, progress=progress, new_best=row["new_best"])


_READERS: dict[str, Callable[[dict[str, Any], dict[str, Any]], Event]] = {
    "run_started": lambda fact, row: RunStarted(
        **fact, attempt=int(row["attempt"]), total=row["total"], params=row["params"]
    ),
    "epoch_finished": _epoch,
    "checkpoint_saved": lambda fact, row: CheckpointSaved(
        **fact, checkpoint=Checkpoint(row["path"], row["epoch"], row["size_bytes"])
    ),
    "alert_raised": lambda fact, row: AlertRaised(
        **fact, title=row["title"], text=row["text"], severity=Severity(row["severity"])
    ),
    "run_ended": lambda fact, row: RunEnded(**fact, status=Status(row["status"]), error=row["error"]),
}


def _fields(event: Event) -> dict[str, Any] | None:
    """Return a line's fields other than kind, id and time; None for an event that the watchdog makes about a run."""
    match event:
        case RunStarted():
            names = {"run": event.run.id, "name": event.run.name, "project": event.run.project}
            return {**names, "attempt": event.attempt, "total": event.total, "params": event.params}
        case EpochFinished(progress=progress):
            counts: dict[str, Any] = {} if progress.unit == "epoch" else {"unit": progress.unit, "part": progress.part}
            return counts | {
                "epoch": progress.epoch,
                "done": progress.done,
                "total": progress.total,
                "metrics": {name: metric.value for name, metric in progress.metrics.items()},
                "best": {
                    name: {"value": metric.best, "epoch": metric.best_epoch}
                    for name, metric in progress.metrics.items()
                    if metric.best is not None
                },
                "epoch_s": progress.epoch_s,
                "elapsed_s": progress.elapsed_s,
                "new_best": event.new_best,
            }
        case CheckpointSaved(checkpoint=checkpoint):
            return {"epoch": checkpoint.epoch, "path": checkpoint.path, "size_bytes": checkpoint.size_bytes}
        case AlertRaised():
            said = {"title": event.title, "text": event.text, "severity": event.severity.value}
            return {"epoch": event.progress.epoch, **said, **({"held": True} if event.held else {})}
        case RunEnded(progress=progress):
            end = {"status": event.status.value, "error": event.error}
            return {"epoch": progress.epoch, "done": progress.done, "elapsed_s": progress.elapsed_s, **end}
        case RunStalled() | RunLost() | RunRecovered():
            return None
        case _:
            assert_never(event)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _read(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:  # a line of another program, which stays
        return {}
    return row if isinstance(row, dict) else {}


def _mend(path: Path, purge_from: int | None) -> set[str]:
    """Remove void and torn lines from a file, and return the ids that are left."""
    present = path.read_bytes() if path.exists() else b""
    rows = [(line, _read(line)) for line in present.splitlines(keepends=True) if line.endswith(b"\n")]
    if purge_from is not None:
        rows = [(line, row) for line, row in rows if not _is_void(row, purge_from)]
    kept = b"".join(line for line, _ in rows)
    if kept != present:
        write_atomically(path, kept)
    return {str(row["id"]) for _, row in rows if "id" in row}


def _is_void(row: dict[str, Any], purge_from: int) -> bool:
    epoch = row.get("epoch")
    return row.get("kind") == EPOCH_FINISHED and isinstance(epoch, int) and epoch >= purge_from
