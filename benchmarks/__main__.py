"""`python -m benchmarks [name …]`: ask the questions named, or all of them."""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module

QUESTIONS = (
    "startup",
    "step",
    "callbacks",
    "epoch_end",
    "sigkill",
    "outage",
    "checkpoint",
    "pictures",
    "delivery",
    "delivery_path",
    "command",
)


def main(names: list[str]) -> int:
    """Return how many goals were missed, as the exit code: 0 when all were reached."""
    unknown = [name for name in names if name not in QUESTIONS]
    if unknown:
        print(f"no benchmark is named {', '.join(unknown)}; there are {', '.join(QUESTIONS)}", file=sys.stderr)
        return 2
    began_s = time.monotonic()
    missed: list[str] = []
    for name in names or QUESTIONS:
        missed += import_module(f"benchmarks.{name}").main()
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg()[:2])
    print(
        f"\nThe machine: {os.cpu_count()} cores, load {load} (1 and 5 minutes; above the cores, times are of no use)."
    )
    print(f"{time.monotonic() - began_s:.0f} s in all.", "Every goal was reached." if not missed else "Goals missed:")
    for goal in missed:
        print(f"  - {goal}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
