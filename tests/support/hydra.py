"""Stand-in for Hydra, in the form that its module has once a program's job has begun."""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_Mode = Enum("_Mode", ["RUN", "MULTIRUN"])  # as hydra.types.RunMode


def stand_in_for_hydra(
    monkeypatch: pytest.MonkeyPatch, *, started: Path, sweep: bool = False, moves: bool = True, initialized: bool = True
) -> Path:
    """Be in a job of a program that was `started` in a folder; return the job's folder, where Hydra `moves` to."""
    job = started / ("multirun" if sweep else "outputs") / "2026-11-29" / "0"
    job.mkdir(parents=True, exist_ok=True)
    settings = {
        "mode": _Mode.MULTIRUN if sweep else _Mode.RUN,
        "runtime": {"cwd": str(started), "output_dir": str(job)},
    }

    class HydraConfig:
        @staticmethod
        def initialized() -> bool:
            return initialized

        @staticmethod
        def get() -> dict[str, Any]:
            return settings

    module = ModuleType("hydra.core.hydra_config")
    module.HydraConfig = HydraConfig  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hydra.core.hydra_config", module)
    monkeypatch.chdir(job if moves else started)
    return job
