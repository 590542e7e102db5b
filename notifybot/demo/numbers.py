"""What the trackers wrote, read back the way that others would read it."""

from __future__ import annotations

import json
from pathlib import Path

from notifybot.trackers.jsonl import FILE_NAME

_WANDB_MAGIC = b":W&B"


def finished_epochs(runs: Path) -> list[int]:
    """The epochs in the run's JSON lines, in the order of the file."""
    found: list[int] = []
    for path in runs.rglob(FILE_NAME):
        whole = path.read_text("utf-8").rpartition("\n")[0]
        rows = [json.loads(line) for line in whole.splitlines()]
        found += [row["epoch"] for row in rows if row["kind"] == "epoch_finished"]
    return found


def tensorboard_steps(runs: Path, tag: str) -> list[int]:
    """The steps that TensorBoard shows of a curve, read by its own reader from the files of all sessions."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = sorted({path.parent for path in runs.rglob("events.out.tfevents.*")})
    steps: list[int] = []
    for folder in folders:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        if tag in events.Tags()["scalars"]:
            steps += [each.step for each in events.Scalars(tag)]
    return steps


def wandb_files(runs: Path) -> list[Path]:
    """The offline files that `wandb sync` would upload: those that begin as W&B's files do and hold records."""
    return [path for path in sorted(runs.rglob("*.wandb")) if _is_wandb(path.read_bytes())]


def _is_wandb(content: bytes) -> bool:
    return content.startswith(_WANDB_MAGIC) and len(content) > len(_WANDB_MAGIC) + 3
