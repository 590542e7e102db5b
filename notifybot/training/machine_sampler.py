"""Sampler of disks and GPUs, on a thread of its own: a hanging network mount must not block the training loop."""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType

from notifybot.alerts.base import Disk, Gpu, Machine
from notifybot.clock import Clock
from notifybot.errors import reader_text
from notifybot.files import started

log = logging.getLogger("notifybot")

LOOK_EVERY_S = 15.0


class PeriodicSampler:
    """Calls `look` at once and every 15 seconds, until stopped. `look` raises nothing."""

    def __init__(self, look: Callable[[], None], *, clock: Clock) -> None:
        self._look = look
        self._clock = clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._live, name="notifybot-machine", daemon=True)

    def start(self) -> None:
        started(self._thread)  # without a thread nothing is sampled

    def stop(self) -> None:
        """Look no more. Does not wait. Stopping twice is fine."""
        self._stopped.set()

    def _live(self) -> None:
        while not self._stopped.is_set():
            self._look()
            self._clock.wait(self._stopped, LOOK_EVERY_S)


class Sampler:
    """Reads disks and GPUs. What cannot be read is left out."""

    def __init__(self, *, ours: Iterable[str] = (), named: Iterable[str] = (), gpus: bool = False) -> None:
        self._ours = tuple(dict.fromkeys(ours))
        self._named = tuple(dict.fromkeys(named))
        self._gpus = gpus
        self._nvml: ModuleType | None = None
        self._asked = False

    def look(self, at_s: float) -> Machine:
        """Read disks and GPUs now."""
        places = [(path, True) for path in self._ours] + [(path, False) for path in self._named]
        disks = [disk for path, ours in places if (disk := disk_of(path, ours=ours)) is not None]
        if self._gpus and not self._asked:
            self._asked = True
            self._nvml = nvml()
        return Machine(at_s, tuple(disks), () if self._nvml is None else gpus_of_process(self._nvml, os.getpid()))


def disk_of(path: str, *, ours: bool = True) -> Disk | None:
    """Return the disk that holds `path`, or will once the folder is made; None if it cannot be read."""
    with suppress(OSError, RuntimeError):  # OSError: unmounted, or a name too long; RuntimeError: no such home folder
        place = Path(path).expanduser().absolute()
        there = next(folder for folder in (place, *place.parents) if folder.exists())
        usage = shutil.disk_usage(there)
        return Disk(path, there.stat().st_dev, usage.free, usage.total, ours)
    return None


def nvml() -> ModuleType | None:
    """Return NVIDIA's library, initialised; None and a line in the log if it is missing."""
    try:
        library = import_module("pynvml")
    except ImportError:
        log.warning("%s", reader_text("training.machine_sampler.needs_nvidia_ml_py"))
        return None
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        log.warning("%s", reader_text("training.machine_sampler.driver_cannot_be_asked", error=error))
        return None
    return library


def gpus_of_process(library: ModuleType, pid: int) -> tuple[Gpu, ...]:
    """GPUs that the process computes on; all GPUs if that is unknown, as in most containers."""
    try:
        handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
        mine = [(index, each) for index, each in enumerate(handles) if pid in _pids_on(library, each)]
        return tuple(_gpu(library, index, each) for index, each in mine or enumerate(handles))
    except library.NVMLError as error:
        log.debug("the GPUs could not be asked: %s", error)
        return ()


def _pids_on(library: ModuleType, handle: object) -> Sequence[int]:
    try:
        return [process.pid for process in library.nvmlDeviceGetComputeRunningProcesses(handle)]
    except library.NVMLError:  # older drivers, or no permission
        return []


def _gpu(library: ModuleType, index: int, handle: object) -> Gpu:
    name = library.nvmlDeviceGetName(handle)
    memory = library.nvmlDeviceGetMemoryInfo(handle)
    busy = None
    with suppress(library.NVMLError):  # a partitioned GPU (MIG) has no utilisation
        busy = float(library.nvmlDeviceGetUtilizationRates(handle).gpu)
    shown = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return Gpu(index, shown, busy, used_bytes=int(memory.used), total_bytes=int(memory.total))
