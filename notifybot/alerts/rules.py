"""Alert rules on metrics, epoch times, disks and GPUs. Only `NonFinite` reads values that are not finite."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import ClassVar, Literal

from notifybot.alerts.base import (
    NOTHING,
    Aim,
    DirectionOf,
    Gpu,
    Judge,
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
from notifybot.metric_names import Direction


@dataclass(frozen=True, slots=True)
class NonFinite:
    """Looks for NaN and infinity in the named metrics; in all of them where none is named."""

    metrics: tuple[str, ...] = ()

    def judge(self, direction_of: DirectionOf) -> Judge:
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

    def judge(self, direction_of: DirectionOf) -> Judge:
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

    def judge(self, direction_of: DirectionOf) -> Judge:
        name, direction = self.aim.name, self.aim.direction_by(direction_of)
        best: float | None = None
        waited = 0

        def judged(now: Reading) -> Verdicts:
            nonlocal best, waited
            value = _known(now.values, name)
            if value is None:
                return NOTHING
            if best is None or gain(value, best, direction) > self.min_delta:
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

    def judge(self, direction_of: DirectionOf) -> Judge:
        name, direction = self.aim.name, self.aim.direction_by(direction_of)
        best: float | None = None

        def judged(now: Reading) -> Verdicts:
            nonlocal best
            value = _known(now.values, name)
            if value is None:
                return NOTHING
            if best is None or gain(value, best, direction) > 0:
                best = value
            falls = direction is Direction.MIN
            if self.by is not None:
                limit = best + self.by if falls else best - self.by
            elif self.ratio is None or best <= 0:
                return NOTHING
            else:
                limit = best * self.ratio if falls else best / self.ratio
            return {name: Verdict(gain(value, limit, direction) < 0, Distance(name, value, best, limit))}

        return judged


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

    def judge(self, direction_of: DirectionOf) -> Judge:
        train_direction, val_direction = self.train.direction_by(direction_of), self.val.direction_by(direction_of)
        before = (math.nan, math.nan)  # nothing is better or worse than that
        turn: tuple[float, float] | None = None  # both values at the last epoch before the gap
        reported: tuple[float, float] | None = None  # the turn of the reported gap, while it is open
        parted = 0

        def judged(now: Reading) -> Verdicts:
            nonlocal before, turn, reported, parted
            train, val = _known(now.values, self.train.name), _known(now.values, self.val.name)
            if train is None or val is None:
                return NOTHING
            apart = gain(train, before[0], train_direction) > 0 > gain(val, before[1], val_direction)
            if not apart:
                turn, parted = (train, val), 0
            parted += apart
            before = (train, val)
            if turn is not None and parted >= self.epochs and reported is None:
                reported = turn
            if reported is None:
                return NOTHING
            evidence = Gap(self.train.name, self.val.name, parted, (reported[0], train), (reported[1], val))
            over = gain(val, reported[1], val_direction) > 0
            reported = None if over else reported
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

    def judge(self, direction_of: DirectionOf) -> Judge:
        name, direction = self.aim.name, self.aim.direction_by(direction_of)

        def judged(now: Reading) -> Verdicts:
            value = _known(now.values, name)
            if value is None or gain(value, self.value, direction) < 0:
                return NOTHING
            return {name: Verdict(True, Reached(name, value, self.value))}

        return judged


def _known(values: Mapping[str, float], name: str) -> float | None:
    value = values.get(name)
    return value if value is not None and math.isfinite(value) else None


_EPOCHS = 31  # epochs that make the median
_FEWEST_EPOCHS = 3
_WORTH_REPORTING_S = 1.0
_ROOM_AGAIN = 1.2  # over only above 1.2 times the limit, so that a disk at its limit is not reported again and again


@dataclass(frozen=True, slots=True)
class SlowEpoch:
    """Looks for an epoch that took `factor` times the median of those before it, and at least a second more.

    The first three epochs of a session are only measured. A slow one does not move the median.
    """

    factor: float

    metrics: ClassVar[tuple[str, ...]] = ()

    def judge(self, direction_of: DirectionOf) -> Judge:
        usual: deque[float] = deque(maxlen=_EPOCHS)

        def judged(now: Reading) -> Verdicts:
            if now.epoch_s is None:
                return NOTHING
            if len(usual) < _FEWEST_EPOCHS:
                usual.append(now.epoch_s)
                return NOTHING
            middle = median(usual)
            slow = now.epoch_s > max(middle * self.factor, middle + _WORTH_REPORTING_S)
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

    metrics: ClassVar[tuple[str, ...]] = ()

    def judge(self, direction_of: DirectionOf) -> Judge:
        def judged(now: Reading) -> Verdicts:
            verdicts: dict[str, Verdict] = {}
            seen: set[int] = set()  # each disk once, however many folders lie on it
            for disk in now.machine.disks if now.machine else ():
                is_wanted = disk.path in self.paths if self.paths else disk.ours
                if not is_wanted or disk.device in seen:
                    continue
                seen.add(disk.device)
                free, total = disk.free_bytes, disk.total_bytes
                least = self.free_bytes if self.percent is None else int(total * self.percent / 100)
                if least is not None and not least <= free < least * _ROOM_AGAIN:
                    verdicts[disk.path] = Verdict(free < least, DiskRoom(disk.path, free, total, least))
            return verdicts

        return judged


@dataclass(frozen=True, slots=True)
class GpuIdle:
    """Looks for `minutes` minutes in which the busiest GPU of the run was busy less than `percent` of the time."""

    percent: float
    minutes: float

    metrics: ClassVar[tuple[str, ...]] = ()

    def judge(self, direction_of: DirectionOf) -> Judge:
        looks: deque[tuple[float, float]] = deque()
        over_s = self.minutes * 60

        def judged(now: Reading) -> Verdicts:
            gpus = now.machine.gpus if now.machine else ()
            uses = [(gpu.busy_percent, gpu) for gpu in gpus if gpu.busy_percent is not None]
            if now.machine is None or not uses:
                return NOTHING
            percent, busiest = max(uses, key=lambda use: use[0])
            looks.append((now.machine.at_s, percent))
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

    metrics: ClassVar[tuple[str, ...]] = ()

    def judge(self, direction_of: DirectionOf) -> Judge:
        def judged(now: Reading) -> Verdicts:
            verdicts = {}
            for gpu in now.machine.gpus if now.machine else ():
                if gpu.total_bytes:
                    is_full = 100 * gpu.used_bytes / gpu.total_bytes >= self.percent
                    room = GpuRoom(_called(gpu), gpu.used_bytes, gpu.total_bytes, self.percent)
                    verdicts[str(gpu.index)] = Verdict(is_full, room)
            return verdicts

        return judged


OF_THE_MACHINE = (LowDisk, GpuIdle, GpuMemory)


def _called(gpu: Gpu) -> str:
    return f"GPU {gpu.index} ({gpu.name})" if gpu.name else f"GPU {gpu.index}"
