"""How long does the end of an epoch hold the caller's thread?

The time from the last statement of one epoch's body to the first of the next, with a Slack webhook on loopback and
the console writing to a file. `python -m benchmarks.epoch_end profile` prints where that time goes.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Goals, keep, last_line, middle, quantile, run, table, workplace
from notifybot.sandbox.server import Sandbox

RUNS = 3
EPOCHS = 150
PEER_EPOCHS = 60
EPOCH_S = 0.02
_EVENT_BYTES = 625

_WORDS = {
    "floor": "floor: one row of 625 bytes, SQLite WAL with fsync",
    "ours": "notifybot, webhook",
    "ours-tensorboard": "notifybot, webhook and TensorBoard",
    "tensorboard": "TensorBoard alone: add_scalar × 3, flush",
    "post": "requests.post to the same webhook",
}


def main() -> list[str]:
    """Print the table; return the goals missed."""
    goals = Goals()
    rows, p50, p99 = [], {}, {}
    with workplace() as folder:
        for name, words in _WORDS.items():
            runs = []
            for turn in range(RUNS):
                with Sandbox() as sandbox:
                    place = Path(folder) / f"{name}-{turn}"
                    webhook = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
                    switch = "on" if name == "ours-tensorboard" else "off"
                    extra = {"NOTIFYBOT_SLACK_WEBHOOK_URL": webhook, "NOTIFYBOT_TENSORBOARD": switch}
                    outcome = run(["-m", "benchmarks.epoch_end", name], place, extra=extra)
                if outcome.result:
                    runs.append(outcome.result)
            if not runs:
                rows.append([words, f"failed: {last_line(outcome.stderr)}", "", "", "", 0])
                continue
            p50[name] = middle(quantile(each, 0.5) for each in runs)
            p99[name] = middle(quantile(each, 0.99) for each in runs)
            worst = max(max(each) for each in runs)
            first = middle(each[0] for each in runs)
            times = f"{p50[name] / p50['floor']:.1f}×"
            rows.append(
                [words, f"{p50[name]:.2f}", f"{p99[name]:.2f}", f"{worst:.1f}", f"{first:.1f}", times, len(runs)]
            )
    table(
        f"End of an epoch on the caller's thread (ms, {EPOCHS} epochs of {EPOCH_S * 1000:.0f} ms, "
        f"{PEER_EPOCHS} for those that are not ours, median of the runs)",
        ["", "p50", "p99", "worst", "first epoch", "p50 beside floor", "runs"],
        rows,
    )
    for name in ("ours", "ours-tensorboard"):
        if name in p50:
            goals.check(f"{_WORDS[name]}: p50, ms", p50[name], 1)
            goals.check(f"{_WORDS[name]}: p99, ms", p99[name], 5)
    return goals.missed


def _measure(name: str) -> None:
    if name.startswith("ours"):
        spent = _ours(None)
    elif name == "floor":
        spent = _floor()
    elif name == "post":
        spent = _post()
    else:
        spent = _tensorboard()
    keep([seconds * 1000 for seconds in spent])


def _ours(profile: cProfile.Profile | None) -> list[float]:
    import torch.utils.tensorboard  # noqa: F401  its import must not be what the first epochs measure

    from notifybot import notify_epoch

    spent, left_s = [], None
    with notify_epoch(range(EPOCHS + 1), name="epoch end", progress=True) as epochs:
        for epoch in epochs:
            now_s = time.perf_counter()
            if profile is not None:
                profile.disable()
            if left_s is not None:
                spent.append(now_s - left_s)
            epochs.log(train_loss=1 / (epoch + 1), val_loss=1.5 / (epoch + 1), val_acc=epoch / EPOCHS)
            time.sleep(EPOCH_S)
            if profile is not None:
                profile.enable()
            left_s = time.perf_counter()
    return spent


def _floor() -> list[float]:
    connection = sqlite3.connect("floor.db", isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "wal_autocheckpoint=0"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, body TEXT)")
    return [_timed(lambda: connection.execute("INSERT INTO events (body) VALUES (?)", ("x" * _EVENT_BYTES,)))
            for _ in range(PEER_EPOCHS)]  # fmt: skip


def _post() -> list[float]:
    import requests

    url = os.environ["NOTIFYBOT_SLACK_WEBHOOK_URL"]
    return [_timed(lambda: requests.post(url, json={"text": "epoch"}, timeout=10)) for _ in range(PEER_EPOCHS)]


def _tensorboard() -> list[float]:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter("tensorboard")

    def tell(epoch: int) -> None:
        writer.add_scalar("train_loss", 0.5, epoch)
        writer.add_scalar("val_loss", 0.5, epoch)
        writer.add_scalar("val_acc", 0.5, epoch)
        writer.flush()

    spent = [_timed(lambda epoch=epoch: tell(epoch)) for epoch in range(PEER_EPOCHS)]
    writer.close()
    return spent


def _timed(work: Callable[[], object]) -> float:
    time.sleep(EPOCH_S)
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def profile() -> None:
    """Print where the caller's thread spends the end of an epoch."""
    with workplace() as folder, Sandbox() as sandbox:
        extra = {"NOTIFYBOT_SLACK_WEBHOOK_URL": sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]}
        outcome = run(["-m", "benchmarks.epoch_end", "profiled"], Path(folder), extra=extra)
        print(outcome.stdout or outcome.stderr)


def _profiled() -> None:
    profiler = cProfile.Profile()
    _ours(profiler)
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(70)
    pstats.Stats(profiler).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["profile"]:
            profile()
        case ["profiled"]:
            _profiled()
        case [name]:
            _measure(name)
        case _:
            sys.exit(1 if main() else 0)
