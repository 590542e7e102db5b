"""What a checkpoint says of itself: the number in its name, the versions that wrote it, and where its folder is."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from pathlib import Path


def loss_of(metrics: Mapping[str, float], monitor: str | None) -> float | None:
    """The number that stands in a checkpoint's name: the watched metric, else a loss, validation first."""
    if monitor in metrics:
        return metrics[monitor]  # type: ignore[index]
    losses = [name for name in metrics if "loss" in name.lower()]
    validation = [name for name in losses if any(word in name.lower() for word in ("val", "test", "eval", "dev"))]
    for name in (*validation, *losses, *metrics):
        return metrics[name]
    return None


def versions() -> dict[str, str]:
    """What wrote a checkpoint."""
    import torch

    return {"python": platform.python_version(), "torch": str(torch.__version__)}


def mark_of(folder: Path) -> str:
    """A short name for a folder, another for each."""
    return f"{folder.name or 'root'}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def unusable(folder: Path, error: OSError) -> str:
    """Why checkpoints cannot be kept in a folder, and what to do."""
    return (
        f"checkpoints cannot be kept in {folder}: {error.strerror or error}; give a folder that can be written, "
        "and on Colab mount Drive first (drive.mount('/content/drive'))"
    )
