"""Alert rules on metrics, epoch times, disks and GPUs. Only `NonFinite` reads values that are not finite."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Literal

from notifybot.alerts.base import (
    NOTHING,
    Aim,
    Disk,
    Gpu,
    Judge,
    Machine,
    Mode,
    ModeOf,
    Reading,
    Verdict,
    Verdicts,
    gain,
)
from notifybot.alerts.evidence import (
    DiskRoom,
    Distance,
    Duration,
    EpochPace,
    Finite,
    Gap,
    GpuRoom,
    GpuUse,
    Limit,
    Reached,
)


@dataclass(frozen=True, slots=True)
class NonFinite:
    """Looks for NaN and infinity in the named metrics; in all of them where none is named."""

    metrics: tuple[str, ...] = ()

    def judge(self, mode_of: ModeOf) -> Judge:
        before: dict[str, float] = {}

        def judged(now: Reading) -> Verdicts:
            verdicts = {}
            for name, value in now.values.items():
                if self.metrics and name not in self.metrics:
                    continue
                known = math.isfinite(value)
                verdicts[name] = Verdict(not known, Finite(name, value, before.get(name)))
                if known:
                    before[name] = value
            return verdicts

        return judged


@dataclass(frozen=True, slots=True)
class Threshold:
    """Looks for a metric above or below a limit."""

    metric: str
    limit: float
    crossed: Literal["above", "below"]

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.metric,)

    def judge(self, mode_of: ModeOf) -> Judge:
        def judged(now: Reading) -> Verdicts:
            value = _known(now.values, self.metric)
            if value is None:
                return NOTHING
            holds = value > self.limit if self.crossed == "above" else value < self.limit
            return {self.metric: Verdict(holds, Limit(self.metric, value, self.limit, self.crossed))}

        return judged


@dataclass(frozen=True, slots=True)
class Plateau:
    """Looks for a metric that has not become better by more than `min_delta` for `patience` epochs."""

    aim: Aim
    patience: int
    min_delta: float = 0.0

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.aim.name,)

    def judge(self, mode_of: ModeOf) -> Judge:
        name, mode = self.aim.name, self.aim.mode_by(mode_of)
        best: float | None = None
        waited = 0

        def judged(now: Reading) -> Verdicts:
            nonlocal best, waited
            value = _known(now.values, name)
            if value is None:
                return NOTHING
            if best is None or gain(value, best, mode) > self.min_delta:
                evidence = EpochPace(name, value, value if best is None else best, waited, self.min_delta)
                best, waited = value, 0
                return {name: Verdict(False, evidence)}
            waited += 1
            if waited < self.patience:
                return NOTHING  # an open plateau stays open until there is a new best
            return {name: Verdict(True, EpochPace(name, value, best, waited, self.min_delta))}

        return judged


@dataclass(frozen=True, slots=True)
class Divergence:
    """Looks for a metric that is `ratio` times worse than its best, or worse by more than `by`.

    With a `ratio`, a best that is not positive gives no verdict.
    """

    aim: Aim
    ratio: float | None = None
    by: float | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.aim.name,)

    def judge(self, mode_of: ModeOf) -> Judge:
        name, mode = self.aim.name, self.aim.mode_by(mode_of)
        best: float | None = None

        def judged(now: Reading) -> Verdicts:
            nonlocal best
            value = _known(now.values, name)
            if value is None:
                return NOTHING
            if best is None or gain(value, best, mode) > 0:
                best = value
            limit = self._limit(best, mode)
            if limit is None:
                return NOTHING
            return {name: Verdict(gain(value, limit, mode) < 0, Distance(name, value, best, limit))}

        return judged

    def _limit(self, best: float, mode: Mode) -> float | None:
        if self.by is not None:
            return best + self.by if mode == "min" else best - self.by
        if self.ratio is None or best <= 0:
            return None
        return best * self.ratio if mode == "min" else best / self.ratio


@dataclass(frozen=True, slots=True)
class Overfitting:
    """Looks for `epochs` epochs in a row in which the one metric became better and the other one worse.

    It is over when the second is better than it was at its turn. Epochs without both of them do not count.
    """

    train: Aim
    val: Aim
    epochs: int

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.train.name, self.val.name)

    def judge(self, mode_of: ModeOf) -> Judge:
        train_mode, val_mode = self.train.mode_by(mode_of), self.val.mode_by(mode_of)
        before: tuple[float, float] | None = None
        turn: tuple[float, float] | None = None  # both values at the last epoch before the gap
        told: tuple[float, float] | None = None  # the turn of the reported gap, while it is open
        parted = 0

        def judged(now: Reading) -> Verdicts:
            nonlocal before, turn, told, parted
            train, val = _known(now.values, self.train.name), _known(now.values, self.val.name)
            if train is None or val is None:
                return NOTHING
            apart = before is not None and gain(train, before[0], train_mode) > 0 > gain(val, before[1], val_mode)
            if not apart:
                turn, parted = (train, val), 0
            parted += apart
            before = (train, val)
            if turn is not None and parted >= self.epochs and told is None:
                told = turn
            if told is None:
                return NOTHING
            evidence = Gap(self.train.name, self.val.name, parted, (told[0], train), (told[1], val))
            over = gain(val, told[1], val_mode) > 0
            told = None if over else told
            return {self.val.name: Verdict(not over, evidence)}

        return judged


@dataclass(frozen=True, slots=True)
class Target:
    """Looks for a metric that is as good as `value`, or better. That stays true."""

    aim: Aim
    value: float

    @property
    def metrics(self) -> tuple[str, ...]:
        return (self.aim.name,)

    def judge(self, mode_of: ModeOf) -> Judge:
        name, mode = self.aim.name, self.aim.mode_by(mode_of)

        def judged(now: Reading) -> Verdicts:
            value = _known(now.values, name)
            if value is None or gain(value, self.value, mode) < 0:
                return NOTHING
            return {name: Verdict(True, Reached(name, value, self.value))}

        return judged


def _known(values: Mapping[str, float], name: str) -> float | None:
    value = values.get(name)
    return value if value is not None and math.isfinite(value) else None


_EPOCHS = 31  # epochs that make the median
_FEWEST_EPOCHS = 3
_WORTH_TELLING_S = 1.0
_ROOM_AGAIN = 1.2  # over only above 1.2 times the limit, so that a disk at its limit is not reported again and again


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
    """Looks for a GPU of whose memory `percent` or more is in use, by any process."""

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
