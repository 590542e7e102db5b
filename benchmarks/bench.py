"""What the benchmarks share: children in folders of their own, tables, and goals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
T = TypeVar("T")
_FOREIGN = ("NOTIFYBOT_", "WANDB_", "TRACKIO_", "TQDM_", "RANK", "SLURM_PROCID", "OMPI_")


@dataclass
class Outcome:
    """How a child process went. `marks` are moments of the machine's monotonic clock, in seconds."""

    code: int | None  # None: it was still running at the bound, and was killed
    ended_s: float
    marks: dict[str, float]
    result: Any
    stdout: str
    stderr: str
    folder: Path


@dataclass
class Goals:
    """What was aimed at in one benchmark, and what was missed."""

    missed: list[str] = field(default_factory=list)

    def check(self, words: str, value: float, limit: float, *, at_least: bool = False) -> None:
        """Print a goal and whether it was reached."""
        reached = value >= limit if at_least else value <= limit
        line = f"{words}: {value:.3g} (goal {'≥' if at_least else '≤'} {limit:g})"
        print(f"  {'reached' if reached else 'MISSED '}  {line}")
        if not reached:
            self.missed.append(line)


def mark(name: str) -> None:
    """In a child: note the moment at which it got here."""
    with open("marks", "a", encoding="utf-8") as file:
        file.write(f"{name} {time.monotonic()!r}\n")


def keep(result: object) -> None:
    """In a child: what it was started for, as a training saves its model."""
    Path("result.json").write_text(json.dumps(result), "utf-8")


def environment(folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """A child's environment: nothing of the user's own settings, every file in its own folder."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {
        **inherited,
        "PYTHONPATH": str(ROOT),
        "NOTIFYBOT_STATE_DIR": str(folder / "state"),
        "NOTIFYBOT_RUNS_DIR": str(folder / "runs"),
        "NOTIFYBOT_TENSORBOARD": "off",
        "NOTIFYBOT_WANDB": "off",
        "NOTIFYBOT_LANG": "en",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DIR": str(folder),
        "TRACKIO_DIR": str(folder / "trackio"),
        **(extra or {}),
    }


def run(
    arguments: Sequence[str],
    folder: Path,
    *,
    extra: Mapping[str, str] | None = None,
    bound_s: float = 60.0,
    read: Callable[[Path], Any] | None = None,
) -> Outcome:
    """Run `python <arguments>` in `folder`, at most so long. It and what it started are gone when this returns.

    `read` looks at the folder before what the child left running is ended.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder, env=environment(folder, extra), stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = process.wait(bound_s)
        except subprocess.TimeoutExpired:
            code = None
        ended_s = time.monotonic()
        result = read(folder) if read is not None else _result(folder)
        _end(process)
    return Outcome(code, ended_s, _marks(folder), result, _text(folder / "stdout"), _text(folder / "stderr"), folder)


def together(jobs: Iterable[Callable[[], T]], workers: int) -> list[T]:
    """Run the jobs, so many at a time; return what they returned, in their order."""
    with ThreadPoolExecutor(workers) as pool:
        return [future.result() for future in [pool.submit(job) for job in jobs]]


def workplace() -> tempfile.TemporaryDirectory[str]:
    """A folder for one benchmark's children, removed afterwards."""
    return tempfile.TemporaryDirectory(prefix="notifybot-bench-", ignore_cleanup_errors=True)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def middle(values: Iterable[float]) -> float:
    """The median; NaN of nothing, so that a peer that could not run is a gap in a table and not the end of it."""
    known = list(values)
    return median(known) if known else float("nan")


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], note: str = "") -> None:
    """Print a table, its first column to the left and the others to the right."""
    lines = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(line[place]) for line in [list(header), *lines]) for place in range(len(header))]
    print(f"\n{title}")
    for line in [list(header), ["-" * width for width in widths], *lines]:
        first, *others = zip(line, widths, strict=True)
        print("  " + "  ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]))
    if note:
        print(f"  {note}")


def last_line(text: str) -> str:
    """What a child said last: as a rule its exception."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:120] if lines else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the child's own session: the child, and what it started and left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _marks(folder: Path) -> dict[str, float]:
    pairs = [line.split() for line in _text(folder / "marks").splitlines()]
    return {name: float(moment) for name, moment in pairs}


def _result(folder: Path) -> Any:
    text = _text(folder / "result.json")
    return json.loads(text) if text else None


def _text(path: Path) -> str:
    return path.read_text("utf-8", errors="replace") if path.exists() else ""
