"""What does it cost to import the hook, and to start a run?"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.bench import Goals, Outcome, keep, last_line, mark, middle, run, table, workplace

IMPORT_RUNS = 11
PEER_RUNS = 3
START_RUNS = 3
_IMPORT = "import time; a = time.perf_counter(); {}; print(time.perf_counter() - a)"


def main() -> list[str]:
    """Print both tables; return the goals missed."""
    goals = Goals()
    with workplace() as folder:
        _imports(Path(folder), goals)
        _starts(Path(folder), goals)
    return goals.missed


def _imports(folder: Path, goals: Goals) -> None:
    names = {"notifybot": IMPORT_RUNS, "requests": PEER_RUNS, "knockknock": PEER_RUNS, "wandb": PEER_RUNS}
    names["trackio"] = PEER_RUNS
    inside: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(max(names.values())):
        for name, runs in names.items():
            if turn < runs:
                outcome = run(["-c", _IMPORT.format(f"import {name}")], folder / f"import-{name}-{turn}")
                if outcome.code == 0:
                    inside[name].append(float(outcome.stdout.split()[-1]) * 1000)
    ours = middle(inside["notifybot"])
    rows = [[f"import {name}", f"{middle(values):.1f}", f"{middle(values) / ours:.0f}×", len(values)]
            for name, values in inside.items()]  # fmt: skip
    table("Import, above bare Python (ms, median, each in a new process)", ["", "ms", "beside ours", "runs"], rows)
    goals.check("import notifybot, ms", ours, 30)


def _starts(folder: Path, goals: Goals) -> None:
    """The first start makes the database. The second finds it, as on every day but the first."""
    rows = []
    spent: dict[str, list[float]] = {}
    for name, words in _STARTS.items():
        outcomes: list[Outcome] = []
        for turn in range(PEER_RUNS if name in ("wandb", "trackio") else START_RUNS):
            place = folder / f"start-{name}-{turn}"
            if name == "again":
                run(["-m", "benchmarks.startup", "ours"], place)
            outcomes.append(run(["-m", "benchmarks.startup", "ours" if name == "again" else name], place))
        good = [outcome for outcome in outcomes if outcome.result]
        if not good:
            rows.append([words, f"failed: {last_line(outcomes[-1].stderr)}", "", "", 0])
            continue
        imported = [each.marks["imported"] - each.marks["ready"] for each in good]
        started = [each.marks["first"] - each.marks["imported"] for each in good]
        spent[name] = [a + b for a, b in zip(imported, started, strict=True)]
        total = middle(spent[name])
        rows.append([words, f"{middle(imported):.2f}", f"{middle(started):.2f}", f"{total:.2f}", len(good)])
    table(
        "Start of a run: from the import to the body of the first epoch (s, median)",
        ["", "import", "start", "both", "runs"],
        rows,
    )
    for name in ("ours", "again", "ours-tensorboard"):
        if name in spent:
            goals.check(f"start of a run, {_STARTS[name]}, s", middle(spent[name]), 0.5)


_STARTS = {
    "ours": "notifybot, new database",
    "again": "notifybot, database there",
    "ours-tensorboard": "notifybot with TensorBoard, torch imported before",
    "wandb": "W&B offline",
    "trackio": "trackio",
}


def _start(name: str) -> None:
    if name == "ours-tensorboard":
        import os

        import torch  # noqa: F401  a training has it anyway

        os.environ["NOTIFYBOT_TENSORBOARD"] = "on"
    mark("ready")
    if name.startswith("ours"):
        from notifybot import notify_epoch

        mark("imported")
        with notify_epoch(range(1), name="startup", progress=False) as epochs:
            for _ in epochs:
                mark("first")
    elif name == "wandb":
        import wandb

        mark("imported")
        wandb.init(project="startup")
        mark("first")
        wandb.finish()
    else:
        import trackio

        mark("imported")
        trackio.init(project="startup", embed=False)
        mark("first")
        trackio.finish()
    keep({"started": name})


if __name__ == "__main__":
    if sys.argv[1:]:
        _start(sys.argv[1])
    else:
        sys.exit(1 if main() else 0)
