"""What a checkpoint says of itself: the number in its name, the versions that wrote it, and where its folder is."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from notifybot.errors import said, system_words


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
    return said(
        f"the checkpoint does not fit, and nothing was changed:{listed}\n{ways_on()}",
        f"체크포인트가 지금 코드와 맞지 않아 아무것도 불러오지 않았습니다:{listed}\n{ways_on()}",
    )


def ways_on() -> str:
    """What can be done about a checkpoint that the program cannot take."""
    return said(
        "Mend what is named, or begin a new run: Checkpoints(…, fresh=True), or another folder",
        "위의 항목을 고치거나, Checkpoints(…, fresh=True) 또는 다른 폴더로 처음부터 학습하세요",
    )


def is_finite(tensor: Any) -> bool:
    """False for a tensor of floating point numbers with NaN or infinity in it."""
    import torch

    usual = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    return getattr(tensor, "dtype", None) not in usual or bool(torch.isfinite(tensor).all())


def versions() -> dict[str, str]:
    """What wrote a checkpoint."""
    import torch

    return {"python": platform.python_version(), "torch": str(torch.__version__)}


def mark_of(folder: Path) -> str:
    """A short name for a folder, another for each."""
    return f"{folder.name or 'root'}-{hashlib.sha256(str(folder).encode()).hexdigest()[:8]}"


def unusable(folder: Path, error: OSError) -> str:
    """Why checkpoints cannot be kept in a folder, and what to do."""
    return said(
        f"checkpoints cannot be kept in {folder}: {system_words(error)}; give a folder that can be written, "
        "and on Colab mount Drive first (drive.mount('/content/drive'))",
        f"{folder} 폴더에 체크포인트를 저장할 수 없습니다: {system_words(error)}. 쓸 수 있는 폴더를 지정하고, "
        "Colab에서는 먼저 드라이브를 마운트하세요(drive.mount('/content/drive'))",
    )
