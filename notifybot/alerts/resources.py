"""Rules about time and the machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from notifybot.alerts.base import NOTHING, Judge, ModeOf, Reading, Verdict, Verdicts
from notifybot.alerts.evidence import DiskRoom, Duration, GpuRoom, GpuUse
from notifybot.alerts.machine import Disk, Gpu, Machine

_EPOCHS = 31  # that the median looks back on
_FEWEST_EPOCHS = 3
_WORTH_TELLING_S = 1.0
_ROOM_AGAIN = 1.2  # times the limit: a disk at its limit is not told over and over


@dataclass(frozen=True, slots=True)
class SlowEpoch:
    """Looks for an epoch that took `factor` times the median of those before it, and at least a second more.

    The first three epochs of a session are only measured. A slow one does not move the median.
    """

    factor: float

    @property
    def metrics(self) -> tuple[str, ...]:
        return ()

    def judge(self, mode_of: ModeOf) -> Judge:
        usual: deque[float] = deque(maxlen=_EPOCHS)

        def judged(now: Reading) -> Verdicts:
            if now.epoch_s is None:
                return NOTHING
            if len(usual) < _FEWEST_EPOCHS:
                usual.append(now.epoch_s)
                return NOTHING
            middle = median(usual)
            slow = now.epoch_s > max(middle * self.factor, middle + _WORTH_TELLING_S)
            if not slow:
                usual.append(now.epoch_s)
            return {"": Verdict(slow, Duration(now.epoch_s, middle, self.factor))}

        return judged


@dataclass(frozen=True, slots=True)
class LowDisk:
    """Looks for a disk with less room than `percent` of it, or than `free_bytes`.

    `paths` name the disks; the run's own folders where there are none.
    """

    paths: tuple[str, ...] = ()
    percent: float | None = None
    free_bytes: int | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return ()

    def judge(self, mode_of: ModeOf) -> Judge:
        def judged(now: Reading) -> Verdicts:
            disks = self._mine(now.machine) if now.machine else ()
            return {disk.path: verdict for disk in disks if (verdict := self._verdict(disk)) is not None}

        return judged

    def _mine(self, machine: Machine) -> Iterator[Disk]:
        """Each disk once, however many folders lie on it."""
        seen = set()
        for disk in machine.disks:
            wanted = disk.path in self.paths if self.paths else disk.ours
            if wanted and disk.device not in seen:
                seen.add(disk.device)
                yield disk

    def _verdict(self, disk: Disk) -> Verdict | None:
        least = self.free_bytes if self.percent is None else int(disk.total_bytes * self.percent / 100)
        if least is None or least <= disk.free_bytes < least * _ROOM_AGAIN:
            return None
        return Verdict(disk.free_bytes < least, DiskRoom(disk.path, disk.free_bytes, disk.total_bytes, least))


@dataclass(frozen=True, slots=True)
class GpuIdle:
    """Looks for `minutes` minutes in which the busiest GPU of the run was busy less than `percent` of the time."""

    percent: float
    minutes: float

    @property
    def metrics(self) -> tuple[str, ...]:
        return ()

    def judge(self, mode_of: ModeOf) -> Judge:
        looks: deque[tuple[float, float]] = deque()
        over_s = self.minutes * 60

        def judged(now: Reading) -> Verdicts:
            busiest = _busiest(now.machine)
            if now.machine is None or busiest is None or busiest.busy_percent is None:
                return NOTHING
            looks.append((now.machine.at_s, busiest.busy_percent))
            while len(looks) > 1 and now.machine.at_s - looks[1][0] >= over_s:
                looks.popleft()
            span_s = now.machine.at_s - looks[0][0]
            if span_s < over_s:
                return NOTHING
            busy = sum(percent for _, percent in looks) / len(looks)
            return {"": Verdict(busy < self.percent, GpuUse(_called(busiest), busy, self.percent, span_s))}

        return judged


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """Looks for a GPU whose memory is in use to `percent` or more, by whomever."""

    percent: float

    @property
    def metrics(self) -> tuple[str, ...]:
        return ()

    def judge(self, mode_of: ModeOf) -> Judge:
        def judged(now: Reading) -> Verdicts:
            gpus = now.machine.gpus if now.machine else ()
            return {str(gpu.index): self._verdict(gpu) for gpu in gpus if gpu.total_bytes}

        return judged

    def _verdict(self, gpu: Gpu) -> Verdict:
        used = 100 * gpu.used_bytes / gpu.total_bytes
        return Verdict(used >= self.percent, GpuRoom(_called(gpu), gpu.used_bytes, gpu.total_bytes, self.percent))


OF_THE_MACHINE = (LowDisk, GpuIdle, GpuMemory)


def _busiest(machine: Machine | None) -> Gpu | None:
    gpus = machine.gpus if machine else ()
    return max(
        (gpu for gpu in gpus if gpu.busy_percent is not None), key=lambda gpu: gpu.busy_percent or 0.0, default=None
    )


def _called(gpu: Gpu) -> str:
    return f"GPU {gpu.index} ({gpu.name})" if gpu.name else f"GPU {gpu.index}"
