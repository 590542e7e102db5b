"""What does `notifybot run` cost the command that it runs: until it begins, and while it prints?"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from benchmarks.bench import Goals, environment, middle, table, workplace

START_RUNS = 7
FLOOD_RUNS = 3
FLOOD_MB = 300
START_S, FLOOD = 0.3, 2.0
_WRAPPED = (sys.executable, "-m", "notifybot", "run", "--")
_BEGIN = "import time; print(time.monotonic())"
_LINE = "[INFO] train.py:118 - batch 000512 of 010000: loss 0.693147, learning rate 0.000300, 1234.5 samples/s"
_FLOOD = f"for _ in range({FLOOD_MB * 1_000_000 // (len(_LINE) + 1)}): print({_LINE!r})"


def main() -> list[str]:
    """Print both tables; return the goals missed."""
    goals = Goals()
    with workplace() as folder:
        spent: dict[str, list[float]] = {"bare": [], "wrapped": []}
        for turn in range(START_RUNS):
            for name in spent:
                spent[name].append(_begins_after_s(name, Path(folder) / f"start-{turn}"))
        rows = [
            [name, f"{middle(values):.3f}", f"{min(values):.3f}-{max(values):.3f}"] for name, values in spent.items()
        ]
        table(f"Until the command's first line of Python (s, {START_RUNS} runs in turn)", ["", "median", "range"], rows)
        goals.check("start of a command, s later", middle(spent["wrapped"]) - middle(spent["bare"]), START_S)
        took: dict[str, list[float]] = {"bare": [], "wrapped": []}
        for turn in range(FLOOD_RUNS):
            for name in took:
                took[name].append(_prints_in_s(name, Path(folder) / f"flood-{turn}"))
        rows = [
            [name, f"{middle(values):.2f}", f"{min(values):.2f}-{max(values):.2f}"] for name, values in took.items()
        ]
        table(f"{FLOOD_MB} MB printed into a pipe (s, {FLOOD_RUNS} runs in turn)", ["", "median", "range"], rows)
        goals.check("printing through a pipe, × bare", middle(took["wrapped"]) / middle(took["bare"]), FLOOD)
    return goals.missed


def _line(name: str, program: str) -> list[str]:
    return [*(_WRAPPED if name == "wrapped" else ()), sys.executable, "-c", program]


def _begins_after_s(name: str, folder: Path) -> float:
    folder.mkdir(exist_ok=True)
    began_s = time.monotonic()
    done = subprocess.run(_line(name, _BEGIN), capture_output=True, text=True, env=environment(folder), check=True)
    return float(done.stdout.split()[0]) - began_s


def _prints_in_s(name: str, folder: Path) -> float:
    """Seconds until the last byte has arrived; what comes after it is the last message's."""
    folder.mkdir(exist_ok=True)
    began_s = time.monotonic()
    with subprocess.Popen(_line(name, _FLOOD), stdout=subprocess.PIPE, env=environment(folder)) as job:
        assert job.stdout is not None
        left = FLOOD_MB * 1_000_000 * 99 // 100
        while left > 0:
            left -= len(job.stdout.read(1 << 20))
        took_s = time.monotonic() - began_s
        job.stdout.read()
    return took_s


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
