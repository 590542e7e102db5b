"""What is lost when SIGKILL comes right behind N finished epochs?

Each contender logs 3 metrics an epoch and kills itself with SIGKILL right after the last; then its files are read
as they lie. W&B's own process is left alive for a moment, as it would be when only the training is killed.
"""

from __future__ import annotations

import functools
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.bench import Goals, Outcome, last_line, middle, run, table, together, workplace

RUNS = 3
EPOCHS = 100
PACES = {"burst": 0.0, "one per 20 ms": 0.02}
_GRACE_S = 1.5

_WORDS = {
    "ours": "notifybot, its database",
    "tensorboard": "TensorBoard, add_scalar × 3",
    "wandb": "W&B offline",
    "trackio": "trackio",
}


def main() -> list[str]:
    """Print the table; return the goals missed."""
    goals = Goals()
    trials = [(name, pace, turn) for name in _WORDS for pace in PACES for turn in range(RUNS)]
    with workplace() as folder:
        jobs = [functools.partial(_kill, Path(folder), *trial) for trial in trials]
        outcomes = dict(zip(trials, together(jobs, 4), strict=True))
    rows = []
    for name, words in _WORDS.items():
        row: list[object] = [words]
        for pace in PACES:
            lost = _lost([outcomes[name, pace, turn] for turn in range(RUNS)])
            row += [f"{middle(lost):.0f}" if lost else "failed", f"{min(lost)}–{max(lost)}" if lost else ""]
            if name == "ours":
                goals.check(f"notifybot, {pace}: finished epochs lost", max(lost, default=EPOCHS), 0)
        rows.append([*row, RUNS])
        if not lost:
            print(f"  {words}: {last_line(outcomes[name, pace, 0].stderr)}")
    header = ["", *(cell for pace in PACES for cell in (pace, "least–most")), "runs"]
    table(f"Epochs lost after SIGKILL right behind {EPOCHS} (median)", header, rows)
    return goals.missed


def _kill(folder: Path, name: str, pace: str, turn: int) -> Outcome:
    place = folder / f"{name}-{pace.replace(' ', '-')}-{turn}"

    def read(where: Path) -> int | None:
        time.sleep(_GRACE_S if name == "wandb" else 0.0)
        try:
            return _READERS[name](where)
        except (OSError, ValueError, AssertionError, sqlite3.Error):
            return 0  # a file that cannot be read holds nothing

    return run(["-m", "benchmarks.sigkill", name, str(PACES[pace])], place, read=read)


def _lost(outcomes: list[Outcome]) -> list[int]:
    """Epochs lost in each run that was indeed killed behind its last epoch."""
    return [EPOCHS - each.result for each in outcomes if each.code == -signal.SIGKILL and "last" in each.stdout]


def _read_ours(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "state" / "notifybot.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM events WHERE kind = 'epoch_finished'").fetchone()[0])


def _read_tensorboard(folder: Path) -> int:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    files.Reload()
    tags = files.Tags()["scalars"]
    return min(len(files.Scalars(tag)) for tag in tags) if len(tags) == 3 else 0


def _read_wandb(folder: Path) -> int:
    from tests.support import wandb_records

    return len(wandb_records.history(wandb_records.read(wandb_records.only_file(folder / "wandb"))))


def _read_trackio(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "trackio" / "sigkill.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM metrics").fetchone()[0])


_READERS: dict[str, Callable[[Path], int]] = {
    "ours": _read_ours,
    "tensorboard": _read_tensorboard,
    "wandb": _read_wandb,
    "trackio": _read_trackio,
}


def _train(name: str, epoch_s: float) -> None:
    if name == "ours":
        _train_ours(epoch_s)
    tell = _teller(name)
    for epoch in range(EPOCHS):
        time.sleep(epoch_s)
        tell(epoch)
    _die()


def _train_ours(epoch_s: float) -> None:
    from notifybot import notify_epoch

    with notify_epoch(range(EPOCHS + 1), name="sigkill") as epochs:
        for epoch in epochs:
            if epoch == EPOCHS:  # all before it are finished
                _die()
            time.sleep(epoch_s)
            epochs.log(loss=1 / (epoch + 1), acc=epoch / EPOCHS, lr=0.001)


def _teller(name: str) -> Callable[[int], object]:
    if name == "trackio":
        import trackio

        trackio.init(project="sigkill", embed=False)
        return lambda epoch: trackio.log({"loss": 1 / (epoch + 1), "acc": epoch / EPOCHS, "lr": 0.001})
    if name == "wandb":
        import wandb

        active = wandb.init(project="sigkill")
        return lambda epoch: active.log({"loss": 1 / (epoch + 1), "acc": epoch / EPOCHS, "lr": 0.001})
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter("tensorboard")

    def tell(epoch: int) -> None:
        writer.add_scalar("loss", 1 / (epoch + 1), epoch)
        writer.add_scalar("acc", epoch / EPOCHS, epoch)
        writer.add_scalar("lr", 0.001, epoch)

    return tell


def _die() -> None:
    os.write(1, b"last\n")
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name, epoch_s]:
            _train(name, float(epoch_s))
        case _:
            sys.exit(1 if main() else 0)
