"""Descriptions of a checkpoint: its loss, the versions that wrote it, its folder's short name, and error texts."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from notifybot.errors import reader_text, system_words


def loss_of(metrics: Mapping[str, float], monitor: str | None, mode: str) -> float | None:
    """Return the loss for a checkpoint and its name: the monitored one, else one of validation, else another.

    If no metric is called a loss, it is the monitored metric, if less of it is better.
    """
    losses = [name for name in metrics if "loss" in name.lower()]
    validation = [name for name in losses if any(word in name.lower() for word in ("val", "test", "eval", "dev"))]
    watched = [monitor] if monitor is not None and monitor in metrics else []
    losses = [*(name for name in watched if name in losses), *validation, *losses]
    if not losses and mode == "min":
        losses = watched
    return metrics[losses[0]] if losses else None


def unfit(problems: Sequence[str]) -> str:
    """Return the error text for a checkpoint that does not fit, with its problems and the ways on."""
    listed = "".join(f"\n- {each}" for each in problems)
    return reader_text("checkpoints.describe.does_not_fit", problems=listed, ways_on=ways_on())


def ways_on() -> str:
    """Return the text on what to do about a checkpoint that does not fit."""
    return reader_text("checkpoints.describe.ways_on")


def is_finite(tensor: Any) -> bool:
    """False for a tensor of floating point numbers with NaN or infinity in it."""
    import torch

    usual = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return getattr(tensor, "dtype", None) not in usual or bool(torch.isfinite(tensor).all())


def versions() -> dict[str, str]:
    """Return the versions of Python and PyTorch, for the manifest."""
    import torch

    return {"python": platform.python_version(), "torch": str(torch.__version__)}


def short_hash(folder: Path) -> str:
    """Return a short unique name for a folder: its name and a hash of its path."""
    return f"{folder.name or 'root'}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def unusable(folder: Path, error: OSError) -> str:
    """Return the error text for a folder that cannot hold checkpoints, with the remedy."""
    return reader_text("checkpoints.describe.folder_cannot_be_used", folder=folder, error=system_words(error))
