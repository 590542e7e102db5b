"""What a checkpoint says of itself: the number in its name, the versions that wrote it, and where its folder is."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from notifybot.errors import reader_text, system_words


def loss_of(metrics: Mapping[str, float], monitor: str | None, mode: str) -> float | None:
    """The loss that stands in a checkpoint and its name: the watched one, else one of validation, else another.

    Where nothing is called a loss, it is the watched metric if less of it is better.
    """
    losses = [name for name in metrics if "loss" in name.lower()]
    validation = [name for name in losses if any(word in name.lower() for word in ("val", "test", "eval", "dev"))]
    watched = [monitor] if monitor is not None and monitor in metrics else []
    losses = [*(name for name in watched if name in losses), *validation, *losses]
    if not losses and mode == "min":
        losses = watched
    return metrics[losses[0]] if losses else None


def unfit(problems: Sequence[str]) -> str:
    """Why a checkpoint is not restored, and what to do."""
    listed = "".join(f"\n- {each}" for each in problems)
    return reader_text("checkpoints.describe.does_not_fit", problems=listed, ways_on=ways_on())


def ways_on() -> str:
    """What can be done about a checkpoint that the program cannot take."""
    return reader_text("checkpoints.describe.ways_on")


def is_finite(tensor: Any) -> bool:
    """False for a tensor of floating point numbers with NaN or infinity in it."""
    import torch

    usual = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return getattr(tensor, "dtype", None) not in usual or bool(torch.isfinite(tensor).all())


def versions() -> dict[str, str]:
    """What wrote a checkpoint."""
    import torch

    return {"python": platform.python_version(), "torch": str(torch.__version__)}


def short_hash(folder: Path) -> str:
    """A short name for a folder, another for each."""
    return f"{folder.name or 'root'}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def unusable(folder: Path, error: OSError) -> str:
    """Why checkpoints cannot be kept in a folder, and what to do."""
    return reader_text("checkpoints.describe.folder_cannot_be_used", folder=folder, error=system_words(error))
