"""Disks and GPUs as they are seen, and what cannot be seen."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from notifybot.alerts.base import Gpu
from notifybot.clock import SYSTEM
from notifybot.training.machine_sampler import PeriodicSampler, Sampler, disk_of, gpus_of_process, nvml
from tests.support.nvml import library, refuse

ONE = Gpu(1, "Tesla T4", 41.0, 10, 100)


def test_the_lookout_looks_at_once_and_until_it_is_stopped() -> None:
    looked = threading.Event()
    lookout = PeriodicSampler(looked.set, clock=SYSTEM)
    lookout.start()

    assert looked.wait(10.0)
    lookout.stop()
    lookout._thread.join(10.0)
    assert not lookout._thread.is_alive()


def test_a_disk_is_found_by_a_folder_that_is_still_to_be_made(tmp_path: Path) -> None:
    there, to_come = disk_of(str(tmp_path)), disk_of(str(tmp_path / "a" / "b"))

    assert there is not None
    assert to_come is not None
    assert (there.device, there.total_bytes) == (to_come.device, to_come.total_bytes)
    assert 0 < there.free_bytes <= there.total_bytes


@pytest.mark.parametrize("path", ["~nobody-of-that-name/x", "x" * 5000])
def test_a_disk_that_cannot_be_asked_is_left_out(path: str) -> None:
    assert Sampler(named=[path]).look(0.0).disks == ()


def test_the_gpus_of_the_process_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", library())

    assert Sampler(gpus=True).look(5.0).gpus == (ONE,)


@pytest.mark.parametrize(
    ("answers", "seen"),
    [
        ({"nvmlDeviceGetComputeRunningProcesses": refuse}, [Gpu(0, "Tesla T4", 40.0, 10, 100), ONE]),
        ({"nvmlDeviceGetUtilizationRates": refuse}, [replace(ONE, busy_percent=None)]),
        ({"nvmlDeviceGetName": lambda handle: b"Tesla K80"}, [replace(ONE, name="Tesla K80")]),
        ({"nvmlDeviceGetCount": refuse}, []),
        ({"nvmlDeviceGetMemoryInfo": refuse}, []),
    ],
    ids=["in a container", "partitioned", "old binding", "driver gone", "no permission"],
)
def test_what_a_driver_does_not_tell_is_left_out(answers: dict[str, Callable[..., Any]], seen: list[Gpu]) -> None:
    assert list(gpus_of_process(library(**answers), os.getpid())) == seen


def test_a_library_is_asked_to_open_once(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    monkeypatch.setitem(sys.modules, "pynvml", library(nvmlInit=lambda: opened.append(1)))
    sampler = Sampler(gpus=True)
    sampler.look(0.0)
    sampler.look(1.0)

    assert opened == [1]
    assert nvml() is not None
