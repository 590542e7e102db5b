"""What do our callbacks add to a step of the frameworks, beside their own loggers and W&B's callbacks?

A child for each framework trains with each callback in turn, in as many rounds as there are runs: bare, bare again,
with the framework's own CSV logger, or what comes nearest to it, with its progress bar, with W&B's callback (offline)
and with ours, which writes its database, its file of numbers and the console's lines; with one that does nothing, too,
where the framework's calls cost most. The step itself computes next to nothing. The verdict is by the CPU time of the
caller's thread, which neighbours on the machine change least; what bare trainings differ by among themselves is as much
as it can tell apart.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import trainings
from benchmarks.bench import Goals, keep, last_line, middle, run, table, workplace

RUNS = 5
_BOUND_S = 600.0

Costs = Mapping[str, Mapping[str, list[float]]]  # by contender: µs of CPU, µs on the wall, ms of an epoch's end


@dataclass(frozen=True)
class _Framework:
    """Numbers of steps and epochs, and what stands for each contender; `csv` is what ours is compared with."""

    words: str
    steps: int
    epochs: int
    csv: str
    wandb: str = ""
    bar: str = ""
    idle: str = ""
    step: str = "step"
    ends: bool = True  # an epoch's end is a moment of its own


_FRAMEWORKS = {
    "transformers": _Framework(
        "transformers, a log every 50 steps", 250, 10, "TensorBoardCallback (it has no CSV logger)",
        "report_to=wandb", "ProgressCallback",
    ),
    "lightning": _Framework(
        "Lightning, a log every 50 steps", 200, 8, "CSVLogger", "WandbLogger", "TQDMProgressBar",
        "Callback(), which does nothing",
    ),
    "keras": _Framework("Keras", 500, 10, "CSVLogger", "WandbMetricsLogger", "verbose=1"),
    "ignite": _Framework(
        "Ignite, a log every 50 iterations", 2000, 10, "TensorboardLogger (it has no CSV logger)", "WandBLogger",
        "ProgressBar",
    ),
    "xgboost": _Framework(
        "XGBoost", 500, 10, "EvaluationMonitor, a line a round", "WandbCallback", step="round", ends=False
    ),
    "lightgbm": _Framework(
        "LightGBM", 1000, 10, "log_evaluation, a line a round", "wandb_callback", step="round", ends=False
    ),
    "optuna": _Framework("Optuna, in memory", 100, 12, "its own line a trial", step="trial", ends=False),
}  # fmt: skip


def main() -> list[str]:
    """Print a table for each framework; return the goals missed."""
    goals = Goals()
    with workplace() as folder:
        for name, framework in _FRAMEWORKS.items():
            outcome = run(["-m", "benchmarks.callbacks", name], Path(folder) / name, bound_s=_BOUND_S)
            if outcome.result is None:
                why = last_line(outcome.stderr)
                print(f"\n{framework.words}: not measured: {why}")
                if not why.startswith(("ModuleNotFoundError", "ImportError")):
                    goals.missed.append(f"{framework.words}: not measured")
                continue
            _tell(framework, outcome.result, goals)
    print(
        "\nReports that come once a second at most (steps, rounds, trials) are too few to be in these figures: each is"
        "\nan end of an epoch, which `epoch_end` measures. Messages to services go out on a thread: see `delivery`."
    )
    return goals.missed


def _tell(framework: _Framework, result: dict[str, Any], goals: Goals) -> None:
    costs: Costs = result["costs"]
    words = {
        "bare": "bare", "again": "bare, again", "idle": framework.idle, "csv": framework.csv, "bar": framework.bar,
        "wandb": f"W&B: {framework.wandb}", "ours": "notifybot",
    }  # fmt: skip
    floors = [*costs["bare"]["cpu_us"], *costs["again"]["cpu_us"]]
    bare_us = middle(floors)
    noise_us = middle(abs(each - bare_us) for each in floors)
    added = {name: middle(each["cpu_us"]) - bare_us for name, each in costs.items()}
    rows = [
        [
            words[name], f"{middle(each['cpu_us']):.2f}", f"{middle(each['cpu_us']) / bare_us:.2f}×",
            f"{added[name]:+.2f}", _times(added[name], added["csv"], noise_us, name),
            f"{middle(each['wall_us']):.1f}", f"{middle(each['end_ms']):.1f}" if framework.ends else "",
            len(each["cpu_us"]),
        ]
        for name, each in costs.items()
    ]  # fmt: skip
    failed = [f"{words[name]} failed: {why}" for name, why in result["failed"].items()]
    table(
        f"{framework.words}: a {framework.step}, of {framework.steps:,} × {framework.epochs} (µs, median of the runs)",
        ["", "CPU", "beside bare", "added", "beside CSV's", "wall", "epoch's end, ms", "runs"],
        rows,
        "\n  ".join([f"Bare trainings are off their median by {noise_us:.2f} µs (median).", *failed]),
    )
    beyond = added["ours"] - added["csv"]
    goals.check(f"{framework.words.partition(',')[0]}: µs beyond its own logger's; bare ones vary by", beyond, noise_us)


def _times(added: float, of_csv: float, noise: float, name: str) -> str:
    if name in ("bare", "again"):
        return ""
    return f"{added / of_csv:.1f}×" if of_csv > noise else "–"


def measure(name: str, runs: int = RUNS, *, steps: int | None = None, epochs: int | None = None) -> dict[str, Any]:
    """In a child: train with each contender in turn. A peer that fails is named with its error."""
    framework = _FRAMEWORKS[name]
    clock = trainings.Steps(steps or framework.steps, epochs or framework.epochs)
    train = getattr(trainings, name)(clock)
    contenders = [each for each in trainings.NAMES if each not in ("idle", "wandb", "bar") or getattr(framework, each)]
    costs: dict[str, dict[str, list[float]]] = {}
    failed: dict[str, str] = {}
    for turn in range(runs):
        for place in range(len(contenders)):
            contender = contenders[(turn + place) % len(contenders)]
            if contender in failed:
                continue
            clock.begin()
            try:
                train(contender)
            except Exception as error:
                if contender not in ("wandb", "bar"):
                    raise
                failed[contender] = f"{type(error).__name__}: {error}"[:80]
                costs.pop(contender, None)
                continue
            for what, value in clock.costs().items():
                costs.setdefault(contender, {}).setdefault(what, []).append(value)
    return {"costs": {each: costs[each] for each in contenders if each in costs}, "failed": failed}


if __name__ == "__main__":
    if sys.argv[1:]:
        keep(measure(sys.argv[1]))
    else:
        sys.exit(1 if main() else 0)
