"""Plays `google.colab.drive`: what is mounted is the same Drive on every machine."""

from __future__ import annotations

import os
from pathlib import Path


def mount(mountpoint: str, force_remount: bool = False, timeout_ms: int = 120_000, readonly: bool = False) -> None:
    """Make the Drive appear at `mountpoint`; ValueError, as from the real one, where the person refuses."""
    world = Path(os.environ["COLAB_STAND_IN"])
    if (world / "refused").exists():
        raise ValueError("mount failed")
    point = Path(mountpoint)
    if point.is_symlink():
        print(f"Drive already mounted at {mountpoint}")
        return
    point.parent.mkdir(parents=True, exist_ok=True)
    point.symlink_to(world / "drive")
    print(f"Mounted at {mountpoint}")
