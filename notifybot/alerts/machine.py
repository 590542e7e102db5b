"""One look at the machine, as values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system that holds `path`. `device` tells two of them apart; `ours` is False where a rule names it."""

    path: str
    device: int
    free_bytes: int
    total_bytes: int
    ours: bool = True


@dataclass(frozen=True, slots=True)
class Gpu:
    """An accelerator. `busy_percent` is None where its driver does not tell."""

    index: int
    name: str
    busy_percent: float | None
    used_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What was seen at `at_s`, in seconds of a clock that never jumps."""

    at_s: float
    disks: tuple[Disk, ...] = ()
    gpus: tuple[Gpu, ...] = ()
