"""A stand-in for NVIDIA's library."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any


class NvmlError(Exception):
    """Stands in for pynvml.NVMLError."""


def library(**answers: Callable[..., Any]) -> ModuleType:
    """A stand-in for pynvml with two GPUs, of which handle 1 runs this process.

    Names and shapes as in nvidia-ml-py 13: https://pypi.org/project/nvidia-ml-py/
    """
    made: Any = ModuleType("pynvml")
    made.NVMLError = NvmlError
    made.nvmlInit = lambda: None
    made.nvmlDeviceGetCount = lambda: 2
    made.nvmlDeviceGetHandleByIndex = lambda index: index
    made.nvmlDeviceGetName = lambda handle: "Tesla T4"
    made.nvmlDeviceGetMemoryInfo = lambda handle: SimpleNamespace(used=10, total=100)
    made.nvmlDeviceGetUtilizationRates = lambda handle: SimpleNamespace(gpu=40 + handle, memory=3)
    made.nvmlDeviceGetComputeRunningProcesses = lambda handle: [SimpleNamespace(pid=os.getpid())] if handle else []
    for name, answer in answers.items():
        setattr(made, name, answer)
    module: ModuleType = made
    return module


def refuse(*args: object) -> None:
    raise NvmlError("Not Supported")
