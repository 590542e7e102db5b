"""What does `log()` of three metrics cost at each step, and does memory grow?"""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks.bench import Goals, Outcome, keep, last_line, middle, run, table, workplace

RUNS = 5
LOOP_STEPS = 300_000
GROWTH_STEPS = 100_000
GROWTH_KIB = 64
_PAGE_KIB = 4

_STEPS = {  # steps of one run, so many that it takes tenths of a second
    "sum": 200_000,
    "ours-floats": 100_000,
    "item": 100_000,
    "ours-tensors": 50_000,
    "trackio": 5_000,
    "tensorboard": 2_000,
    "wandb": 1_000,
}
_WORDS = {
    "sum": "a running sum of 3 floats, by hand",
    "ours-floats": "notifybot, floats",
    "item": "bare .item() of 3 CPU tensors",
    "ours-tensors": "notifybot, CPU tensors",
    "trackio": "trackio",
    "tensorboard": "TensorBoard, add_scalar × 3",
    "wandb": "W&B offline",
}

_LOOPS = {
    "bare": "a bare loop",
    "tqdm": "tqdm around it, writing to nowhere",
    "steps": "notify_steps around it",
    "log": "epochs.log of 3 floats in it",
    "steps-log": "notify_steps around it, steps.log of 3 floats in it",
}


def main() -> list[str]:
    """Print the tables; return the goals missed."""
    goals = Goals()
    with workplace() as folder:
        _costs(Path(folder), goals)
        _loops(Path(folder), goals)
        _growth(Path(folder), goals)
    return goals.missed


def _costs(folder: Path, goals: Goals) -> None:
    outcomes = {name: run(["-m", "benchmarks.step", name], folder / name) for name in _STEPS}
    cost = {name: middle(outcome.result or []) for name, outcome in outcomes.items()}
    ours = cost["ours-floats"]
    rows = [_row(name, outcome, cost[name], ours) for name, outcome in outcomes.items()]
    table(
        "One step with 3 metrics, back to back, on the caller's thread (µs, median)",
        ["", "µs", "beside our floats", "steps a run", "runs"],
        rows,
    )
    goals.check("floats, times a running sum by hand", ours / cost["sum"], 5)
    goals.check("CPU tensors, times bare .item()", cost["ours-tensors"] / cost["item"], 3)
    goals.check("times cheaper than trackio", cost["trackio"] / ours, 7, at_least=True)
    goals.check("times cheaper than TensorBoard", cost["tensorboard"] / ours, 50, at_least=True)
    goals.check("times cheaper than W&B offline", cost["wandb"] / ours, 50, at_least=True)


def _row(name: str, outcome: Outcome, cost: float, ours: float) -> list[object]:
    if not outcome.result:
        return [_WORDS[name], f"failed: {last_line(outcome.stderr)}", "", "", 0]
    return [_WORDS[name], f"{cost:.2f}", f"{cost / ours:.1f}×", f"{_STEPS[name]:,}", len(outcome.result)]


def _loops(folder: Path, goals: Goals) -> None:
    outcome = run(["-m", "benchmarks.step", "loops"], folder / "loops")
    if not outcome.result:
        sys.exit(last_line(outcome.stderr))
    cost = {name: middle(runs) for name, runs in outcome.result.items()}
    rows = [
        [_LOOPS[name], f"{cost[name]:.3f}", f"{cost[name] / cost['log']:.2f}×", len(runs)]
        for name, runs in outcome.result.items()
    ]
    table(
        f"One turn of a loop of {LOOP_STEPS:,} steps, its beginning and its end left out (µs of CPU, median)",
        ["", "µs", "beside epochs.log", "runs"],
        rows,
    )
    goals.check("a turn of notify_steps with its log, times epochs.log in a loop", cost["steps-log"] / cost["log"], 1.5)
    goals.check("a turn of notify_steps, times one of tqdm", cost["steps"] / cost["tqdm"], 1.5)


def _growth(folder: Path, goals: Goals) -> None:
    names = {
        "ours-floats": "notifybot, floats",
        "ours-tensors": "notifybot, CPU tensors",
        "list": "a list of detached tensors",
    }
    rows = []
    for name, words in names.items():
        result = run(["-m", "benchmarks.step", "growth", name], folder / f"growth-{name}").result
        rows.append([words, f"{result['heap_kib']:,.1f}", f"{result['rss_kib']:,}"])
        if name != "list":
            goals.check(f"{words}: KiB kept after {GROWTH_STEPS:,} steps", result["heap_kib"], GROWTH_KIB)
    table(
        f"Memory kept after {GROWTH_STEPS:,} steps within one epoch (KiB, 1 run)",
        ["", "Python's heap", "resident"],
        rows,
        "Python's heap by tracemalloc; resident as /proc tells, measured over as many steps before tracemalloc starts.",
    )


def _measure(name: str) -> None:
    step, close = _stepper(name)
    for _ in range(100):
        step()
    runs = []
    for _ in range(RUNS):
        count = _STEPS[name]
        runs.append(_timed(step, count) * 1e6 / count)
        time.sleep(0.2)  # a peer's thread may clear its queue
    keep(runs)
    close()


def _measure_loops() -> None:
    runs: dict[str, list[float]] = {name: [] for name in _LOOPS}
    for _ in range(RUNS):
        for name in _LOOPS:
            runs[name].append(_turn_us(name))
    keep(runs)


def _turn_us(name: str) -> float:
    """µs of CPU from the first turn of a loop to its last, a turn."""
    from tqdm import tqdm

    from notifybot import notify_epoch, notify_steps

    def through(turns: Iterable[int], log: Callable[..., object] | None) -> float:
        began_s = ended_s = 0.0
        for turn in turns:
            if turn == 1:
                began_s = time.thread_time()
            elif turn == LOOP_STEPS:
                ended_s = time.thread_time()
            if log is not None:
                log(loss=0.5, acc=0.25, lr=0.001)
        return (ended_s - began_s) / (LOOP_STEPS - 1) * 1e6

    turns = range(1, LOOP_STEPS + 1)
    if name == "tqdm":
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            return through(tqdm(turns, file=nowhere), None)
    if name == "log":
        with notify_epoch(range(1), name="loops", progress=False) as epochs:
            next(iter(epochs))
            return through(turns, epochs.log)
    if name.startswith("steps"):
        with notify_steps(LOOP_STEPS, name="loops", progress=False) as steps:
            return through(steps, steps.log if name == "steps-log" else None)
    return through(turns, None)


def _timed(step: Callable[[], object], count: int) -> float:
    """Seconds of so many steps, less what calling an empty function costs."""
    turns = range(count)
    began_s = time.perf_counter()
    for _ in turns:
        step()
    ended_s = time.perf_counter()
    for _ in turns:
        _nothing()
    return (ended_s - began_s) - (time.perf_counter() - ended_s)


def _nothing() -> None:
    return


def _stepper(name: str) -> tuple[Callable[[], object], Callable[[], object]]:
    """One step of that contender, and its end."""
    if name in ("sum", "item", "list"):
        return _floor(name), _nothing
    if name.startswith("ours"):
        return _ours(tensors=name == "ours-tensors")
    if name == "trackio":
        import trackio

        trackio.init(project="step", embed=False)
        return lambda: trackio.log({"loss": 0.5, "acc": 0.25, "lr": 0.001}), trackio.finish
    if name == "wandb":
        import wandb

        active = wandb.init(project="step")
        return lambda: active.log({"loss": 0.5, "acc": 0.25, "lr": 0.001}), active.finish
    return _tensorboard()


def _floor(name: str) -> Callable[[], object]:
    if name == "sum":
        sums = {"loss": 0.0, "acc": 0.0, "lr": 0.0}

        def add() -> None:
            sums["loss"] += 0.5
            sums["acc"] += 0.25
            sums["lr"] += 0.001

        return add
    import torch

    loss, acc, lr = torch.tensor(0.5), torch.tensor(0.25), torch.tensor(0.001)
    if name == "item":

        def read() -> None:
            loss.item()
            acc.item()
            lr.item()

        return read
    kept = []

    def keep_all() -> None:
        kept.append((loss.clone(), acc.clone(), lr.clone()))

    return keep_all


def _ours(*, tensors: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    from notifybot import notify_epoch

    epochs = notify_epoch(range(1), name="step", progress=False)
    epochs.__enter__()
    next(iter(epochs))
    log = epochs.log
    if not tensors:
        return lambda: log(loss=0.5, acc=0.25, lr=0.001), lambda: epochs.__exit__(None, None, None)
    import torch

    loss, acc, lr = torch.tensor(0.5), torch.tensor(0.25), torch.tensor(0.001)
    return lambda: log(loss=loss, acc=acc, lr=lr), lambda: epochs.__exit__(None, None, None)


def _tensorboard() -> tuple[Callable[[], object], Callable[[], object]]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter("tensorboard")
    place = iter(range(10**9))

    def step() -> None:
        now = next(place)
        writer.add_scalar("loss", 0.5, now)
        writer.add_scalar("acc", 0.25, now)
        writer.add_scalar("lr", 0.001, now)

    return step, writer.close


def _grow(name: str) -> None:
    step, close = _stepper(name)
    _repeat(step, 1000)
    before_kib = _rss_kib()
    _repeat(step, GROWTH_STEPS)
    rss_kib = _rss_kib() - before_kib
    tracemalloc.start()
    _repeat(step, 1000)
    before = tracemalloc.get_traced_memory()[0]
    _repeat(step, GROWTH_STEPS)
    heap = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    keep({"heap_kib": heap / 1024, "rss_kib": rss_kib})
    close()


def _repeat(step: Callable[[], object], count: int) -> None:
    for _ in range(count):
        step()


def _rss_kib() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * _PAGE_KIB


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["growth", name]:
            _grow(name)
        case ["loops"]:
            _measure_loops()
        case [name]:
            _measure(name)
        case _:
            sys.exit(1 if main() else 0)
