"""Progress of a run: counts, durations, ETA, each metric's history and the monitored metric. Pure."""

from __future__ import annotations

import math
import operator
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from statistics import median

from notifybot.clock import Clock
from notifybot.errors import UsageError, reader_text
from notifybot.events import LARGEST_INT
from notifybot.metric_names import Direction, direction_of, has_best, meant_by, monitored, words_of
from notifybot.types import Checkpoint, KeptIn, Metric, Progress, Unit

HISTORY = 32
_STEPS_APART_S = 1.0
_NAMES = 10  # logged metrics that a warning lists
_RECENT = 7  # reports whose median makes the ETA; one slow first epoch does not change it


class MonitoredMetric:
    """Monitored metric: the one whose new best is reported; the user's `monitor`, or chosen once and kept.

    Only the `monitor` and validation and test metrics have a best: a training loss falls in any case, and an
    adversarial one is no better for being low. A `monitor` may carry its direction, as in "reward:max". Raises
    UsageError when the direction is unknown.
    """

    def __init__(self, monitor: str | None = None) -> None:
        self.name: str | None = None
        self.direction: Direction | None = None
        if monitor is not None:
            self.name, self.direction = monitored(monitor)
            if self.direction is None:
                given, less, more = f"{monitor!r}", repr(monitor + ":min"), repr(monitor + ":max")
                key = "training.progress.monitor_without_direction"
                raise UsageError(reader_text(key, monitor=given, less=less, more=more))

    def choose(self, names: Iterable[str]) -> None:
        """Choose among an epoch's validation metrics, a loss before a score; none where there is no such metric."""
        validation = [name for name in names if self.best_direction_for(name) is not None]
        losses = [name for name in validation if "loss" in words_of(name)]
        for name in (losses or validation)[:1]:
            self.name, self.direction = name, direction_of(name)

    def direction_for(self, name: str) -> Direction | None:
        """Direction in which `name` is good, the user's word first. Alert rules use it for any metric."""
        return self.direction if name == self.name else direction_of(name)

    def best_direction_for(self, name: str) -> Direction | None:
        """Direction of the best of `name`, always the same; None for metrics that have no best."""
        return self.direction_for(name) if name == self.name or has_best(name) else None


class ProgressTracker:
    """The progress of a run over all its sessions. Times are seconds of one monotonic clock."""

    def __init__(self, *, now_s: float, earlier: Progress | None = None, monitor: str | None = None) -> None:
        self._earlier = earlier or Progress()
        self._watch = MonitoredMetric(monitor)
        self._directions: dict[str, Direction | None] = {}  # of the best of each metric, looked up once
        self._began_s = now_s
        self.epoch_began_s = now_s
        earlier_s = self._earlier.epoch_s if self._earlier.unit == "epoch" else None  # of how many steps is not known
        self._durations: deque[float] = deque([] if earlier_s is None else [earlier_s], maxlen=_RECENT)  # s per unit
        self._checkpoint = self._earlier.checkpoint  # apart from `last`: the saving thread sets it
        self._proved: Checkpoint | None = None
        self._metrics = self._past_of(self._earlier)
        self._first: int | None = None
        self._labels = [] if self._earlier.epoch is None else [self._earlier.epoch]  # reported by the user's own loop
        self.first_label: int | None = None  # this session's first label, if it can be known before the loop begins
        self.last = replace(self._earlier, epoch_s=None, eta_s=None)  #: the progress after the last epoch

    def begin(
        self,
        epochs: object,
        *,
        total: int | None,
        now_s: float,
        done: int | None = None,
        unit: Unit = "epoch",
        first: int | None = None,
        counts_from: int | None = None,
    ) -> None:
        """Set the epochs ahead, as the user gave them, and the run's total if given.

        `done`: epochs of the run before them, if known; otherwise it follows from their labels. Where a framework has
        the epochs, `first` is the first label ahead, and `counts_from` the label of a run's very first.
        """
        stride = 1
        if epochs is not None or (first is None and unit == "epoch"):
            first, stride = first_of(epochs), stride_of(epochs, self._earlier)
            done = self._done_until(first, epochs) if done is None else done
        elif done is None:
            done = self._done_before(first, unit, counts_from)
        if counts_from is not None and self._earlier.epoch is None:
            self._first = counts_from
        ahead = length_of(epochs)
        if total is None and ahead is not None:
            total = done + ahead
        if total is not None and total > LARGEST_INT:
            total = None  # range(sys.maxsize) means "until it is good enough": no total
        if first is not None and self._earlier.epoch is not None and (first - self._earlier.epoch) * stride <= 0:
            self._void_from(first, stride)  # epochs of an earlier session are run again
        self.first_label = first
        self.last = replace(self.last, total=total, done=done, unit=unit)
        self.epoch_began_s = now_s

    def began(self, at_s: float) -> None:
        """Take in that what this session reports began before it."""
        self._began_s = self.epoch_began_s = at_s

    @property
    def watched(self) -> str | None:
        """Name of the metric whose new best is reported."""
        return self._watch.name

    def finish_epoch(
        self,
        epoch: int,
        values: Mapping[str, float],
        *,
        now_s: float,
        done: int | None = None,
        part: float | None = None,
        minor: Collection[str] = (),
    ) -> tuple[Progress, str | None]:
        """Take an epoch's means; return the new progress, and the watched metric's name when this is a new best."""
        if self._watch.name is None:
            self._watch.choose(name for name in values if name not in minor)
        watched = self._watch.name or ""
        before = self._metrics.get(watched)
        metrics = {name: self._with_past(name, value, epoch) for name, value in values.items()}
        if minor:
            metrics |= {name: replace(metrics[name], minor=True) for name in minor if name in metrics}
        self._metrics |= metrics
        seconds, self.epoch_began_s = now_s - self.epoch_began_s, now_s
        if done is not None and self._labels[-1:] != [epoch]:
            self._labels.append(epoch)
        if done is None:
            done = self.last.done + 1 if self.last.unit == "epoch" else self.ordinal(epoch)
        total = self.last.total
        if self.last.unit == "epoch":
            self._durations.append(seconds)
        elif done > self.last.done:
            self._durations.append(seconds / (done - self.last.done))
        self.last = replace(
            self.last,
            epoch=epoch,
            done=done,
            metrics=metrics,
            epoch_s=seconds,
            elapsed_s=self._earlier.elapsed_s + now_s - self._began_s,
            eta_s=None if total is None or not self._durations else max(total - done, 0) * median(self._durations),
            checkpoint=self.checkpoint,
            part=part,
        )
        new_best = None  # a first value is none
        if before is not None and before.best is not None and watched in metrics:
            now = metrics[watched]
            new_best = watched if now.best_epoch == epoch and now.best != before.best else None
        return self.last, new_best

    def take_in(self, label: int, values: Mapping[str, float]) -> None:
        """Take in values of what is not reported by itself, for best, least and greatest value and the history."""
        if self._watch.name is None:
            self._watch.choose(values)
        self._metrics |= {name: self._with_past(name, value, label) for name, value in values.items()}

    def saved(self, checkpoint: Checkpoint) -> None:
        """Remember the latest checkpoint."""
        self._checkpoint = checkpoint

    def note_kept(self, kept_in: KeptIn) -> None:
        """Remember where a framework keeps the state by itself."""
        self.last = replace(self.last, kept_in=kept_in)

    def proved(self, checkpoint: Checkpoint) -> None:
        """Remember what is known of a checkpoint since it was read to its end, by a thread beside the saving one."""
        self._proved = checkpoint

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The latest checkpoint, with its proof where that is of the same one."""
        saved, proved = self._checkpoint, self._proved
        if saved is None or proved is None or saved.epoch != proved.epoch:
            return saved
        if str(Path(saved.path).expanduser().absolute()) != proved.path:
            return saved
        return replace(saved, tier=proved.tier, size_bytes=proved.size_bytes)

    def summary(self, now_s: float) -> Progress:
        """The progress as of now with the latest value of every metric, not just the last epoch's."""
        total, done = self.last.total, self.last.done
        return replace(
            self.last,
            metrics=dict(self._metrics),
            elapsed_s=self._earlier.elapsed_s + now_s - self._began_s,
            eta_s=None if total is None or not self._durations else max(total - done, 0) * median(self._durations),
            checkpoint=self.checkpoint,
        )

    def epoch_left_s(self, now_s: float) -> float | None:
        """Seconds until the open epoch should end; None before the first has."""
        if self.last.unit != "epoch":
            return median(self._durations) if self._durations else None  # a step is as good as over
        return median(self._durations) - (now_s - self.epoch_began_s) if self._durations else None

    def ordinal(self, epoch: int) -> int:
        """Number of epochs done once the epoch labelled `epoch` is, for loops that notifybot does not drive."""
        if self.last.unit != "epoch":
            return max(epoch, 0)
        if self._first is None:  # the label of the run's very first epoch: 0 or 1 as a rule
            known = self._earlier.epoch
            self._first = int(epoch == 1) if known is None else known - self._earlier.done + 1
        return max(epoch - self._first + 1, 0)

    def plan(self, *, total: int | None, first: int | None, unit: Unit | None = None) -> None:
        """Take in how many epochs there will be and the label of the first, as far as a foreign loop shows it.

        With another unit than before, as of a program that prints steps before its first epoch ends, it is counted
        anew: labels, best values and durations were of the former one.
        """
        if unit is not None and unit != self.last.unit:
            if self.last.epoch is not None:
                self._metrics, self._labels, self._first = {}, [], None
                self._durations.clear()
                self.epoch_began_s = self._began_s
                self.last = replace(self.last, epoch=None, done=0, total=None, metrics={}, eta_s=None, part=None)
            self.last = replace(self.last, unit=unit)
        if total is not None and operator.index(total) <= LARGEST_INT:
            self.last = replace(self.last, total=operator.index(total))
        if first is not None and self._first is None:
            self._first = first

    def _done_before(self, first: int | None, unit: Unit, counts_from: int | None) -> int:
        """Number of units done before the one labelled `first`, of a loop that somebody else drives."""
        if first is None:
            return self._earlier.done
        if unit != "epoch":
            return max(first - 1, 0)
        if self._earlier.epoch is not None:
            return max(self._earlier.done + first - self._earlier.epoch - 1, 0)
        return max(first - (counts_from or 0), 0)

    def _done_until(self, first: int | None, epochs: object) -> int:
        """Number of epochs before this session's first one.

        It follows from the run's earlier sessions: labels rise or fall by a stride, and those between the last one and
        this were done elsewhere. Without any, a range that begins above 1 is taken as continuing from 0.
        """
        if first is None:
            return self._earlier.done
        if self._earlier.epoch is not None:
            ahead, odd = divmod(first - self._earlier.epoch, stride_of(epochs, self._earlier))
            return self._earlier.done if odd and ahead >= 0 else max(0, self._earlier.done + ahead - 1)
        resumed = isinstance(epochs, range) and epochs.step == 1 and first > 1  # range(1, n) just counts from 1
        return first if resumed else 0

    def go_back(self, label: int, earlier: Progress | None = None) -> bool:
        """Void the values of the epochs labelled `label` and above, for loops that notifybot does not drive.

        `earlier`: the progress before that epoch, for a session that has reported no epoch yet. Without it, labels must
        have risen and this one must be below the last. Returns False if nothing was voided.
        """
        if earlier is not None:
            self._earlier = replace(self._earlier, epoch=earlier.epoch, done=earlier.done)
            self._metrics = self._past_of(earlier)
            self._labels = [] if earlier.epoch is None else [earlier.epoch]
            self.last = replace(self.last, epoch=earlier.epoch, done=earlier.done)
            return earlier.epoch is None or earlier.epoch < label
        if len(self._labels) < 2 or not self._labels[-2] < self._labels[-1] > label:
            return False
        self._labels = [each for each in self._labels if each < label]
        self._void_from(label, 1)
        left = self._labels[-1] if self._labels else None
        self.last = replace(self.last, epoch=left, done=0 if left is None else self.ordinal(left))
        return True

    def _past_of(self, earlier: Progress) -> dict[str, Metric]:
        """Metrics of `earlier`, with an epoch for each value, and a best where this session keeps one."""
        return {
            name: _judged(_complete(metric, earlier), self._watch.best_direction_for(name))
            for name, metric in earlier.metrics.items()
        }

    def _void_from(self, first: int, stride: int) -> None:
        for name, metric in list(self._metrics.items()):
            kept = _until(metric, first, stride, self._watch.best_direction_for(name))
            if kept is None:
                del self._metrics[name]
            else:
                self._metrics[name] = kept

    def _with_past(self, name: str, value: float, epoch: int) -> Metric:
        past = self._metrics.get(name)
        if past is None:
            past = Metric(value=math.nan)
        elif past.epochs[-1:] == (epoch,):  # the same epoch once more: the newer value counts
            past = replace(past, history=past.history[:-1], epochs=past.epochs[:-1])
        best, best_epoch = past.best, past.best_epoch
        lowest, highest = past.lowest, past.highest
        if math.isfinite(value):
            lowest = (epoch, value) if lowest is None or value < lowest[1] else lowest
            highest = (epoch, value) if highest is None or value > highest[1] else highest
            if name not in self._directions:
                self._directions[name] = self._watch.best_direction_for(name)
            direction = self._directions[name]
            falls = direction is Direction.MIN
            if direction is not None and (best is None or (value < best if falls else value > best)):
                best, best_epoch = value, epoch
        return Metric(
            value=value,
            previous=past.history[-1] if past.history else None,
            best=best,
            best_epoch=best_epoch,
            history=(*past.history, value)[-HISTORY:],
            epochs=(*past.epochs, epoch)[-HISTORY:],
            lowest=lowest,
            highest=highest,
        )


def _complete(metric: Metric, progress: Progress) -> Metric:
    """Metric with an epoch for each value, and its extremes in that history: older versions stored neither."""
    points = metric.points(progress)
    lowest, highest = metric.lowest, metric.highest
    if lowest is None or highest is None:
        known = [(metric.best_epoch, metric.best)] if metric.best is not None and metric.best_epoch is not None else []
        lowest, highest = (_extreme((*known, *points), direction) for direction in (Direction.MIN, Direction.MAX))
    return replace(metric, epochs=tuple(epoch for epoch, _ in points), lowest=lowest, highest=highest)


def _judged(metric: Metric, direction: Direction | None) -> Metric:
    """Metric with its best for `direction` (None: no best): an earlier session may have monitored another metric."""
    if direction is None:
        return replace(metric, best=None, best_epoch=None)
    best_epoch, best = (metric.lowest if direction is Direction.MIN else metric.highest) or (None, None)
    return replace(metric, best=best, best_epoch=best_epoch)


def _extreme(points: Iterable[tuple[int, float]], direction: Direction) -> tuple[int, float] | None:
    """The best point of those that are finite; the first of equals."""
    finite = [point for point in points if math.isfinite(point[1])]
    choose = min if direction is Direction.MIN else max
    return choose(finite, key=lambda point: point[1], default=None)


def _until(metric: Metric, first: int, stride: int, direction: Direction | None) -> Metric | None:
    """Metric as it was before the epoch labelled `first`; None if it was not logged before."""
    points = zip(metric.epochs, metric.history, strict=True)
    kept, extremes = (
        [point for point in some if point is not None and (point[0] - first) * stride < 0]
        for some in (points, (metric.lowest, metric.highest))
    )
    known = kept or sorted(set(extremes), key=lambda point: point[0] * stride)  # may be older than the history
    if not known:
        return None
    epochs, history = zip(*known, strict=True)
    lowest, highest = (_extreme((*extremes, *kept), each) for each in (Direction.MIN, Direction.MAX))
    then = Metric(
        value=history[-1],
        previous=history[-2] if len(history) > 1 else None,
        history=history,
        epochs=epochs,
        lowest=lowest,
        highest=highest,
    )
    return _judged(then, direction)


def first_of(epochs: object) -> int | None:
    """First label ahead; None if it is unknown before the loop begins."""
    first = epochs[0] if isinstance(epochs, range | list | tuple) and epochs else None
    return first if isinstance(first, int) else None


def stride_of(epochs: object, earlier: Progress) -> int:
    """Step between two labels, negative if they fall: from the epochs ahead, else from earlier ones, else 1."""
    if isinstance(epochs, range):
        return epochs.step
    labels = list(epochs[:2]) if isinstance(epochs, list | tuple) else []
    if len(labels) < 2:
        labels = max((list(metric.epochs) for metric in earlier.metrics.values()), key=len, default=[])[-2:]
    if len(labels) == 2 and all(isinstance(each, int) for each in labels):
        return labels[1] - labels[0] or 1
    if isinstance(epochs, list | tuple) and len(epochs) == 1 and earlier.epoch is not None:
        return int(epochs[0]) - earlier.epoch or 1  # one epoch left; nothing says that others lie before it
    return 1


def length_of(epochs: object) -> int | None:
    """Number of epochs ahead; None if it is unknown."""
    try:
        return len(epochs)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  a foreign __len__ may raise anything; then the length is unknown
        return None


def never_logged(monitor: str, epochs: int, there: Sequence[str], meant: str | None, *, saves: bool) -> str:
    """Return a warning that no epoch has the monitored metric; `saves`: it also selects the best checkpoint."""
    names = ", ".join(there[:_NAMES]) + (" …" if len(there) > _NAMES else "")
    close = meant or (get_close_matches(monitor, there, n=1) or [""])[0]
    when = "training.progress.in_none_of_first_epochs" if epochs > 1 else "training.progress.not_in_first_epoch"
    return reader_text(
        "training.progress.monitor_never_logged",
        monitor=f"{monitor!r}",
        when=reader_text(when, count=epochs),
        names=names or reader_text("training.progress.no_metrics"),
        loss=reader_text("training.progress.no_best_checkpoint" if saves else "training.progress.no_new_best"),
        suggestion=reader_text("training.progress.did_you_mean", name=f"{close!r}") if close else "",
    )


class ExpectedMetrics:
    """Metrics that the best goes by and that no epoch has had yet: each that stays away is warned of once."""

    def __init__(self, monitor: str | None) -> None:
        self.saves: dict[str, bool] = {} if monitor is None else {monitor: False}  #: True: a checkpoint goes by it

    def overdue(self, known: Sequence[str], epochs: int, *, after: int, of_checkpoints: bool = False) -> list[str]:
        """Return a warning for each that is in none of at least `after` epochs; at once for one that is misspelt.

        Validation may come every few epochs only. `of_checkpoints`: look for those alone that a checkpoint goes by.
        """
        lines = []
        for name, saves in list(self.saves.items()):
            if of_checkpoints and not saves:
                continue
            meant = meant_by(name, known)
            if name in known:
                del self.saves[name]
            elif meant is not None or epochs >= after:
                del self.saves[name]
                lines.append(never_logged(name, epochs, known, meant, saves=saves))
        return lines


class StepReports:
    """Which of the steps that a program logs are reported: one a second, those with a validation metric, the last."""

    def __init__(self, clock: Clock) -> None:
        self.pending: int | None = None  # the last step that was logged and not reported
        self._clock = clock
        self._reported_s = -math.inf
        self._counts_steps: bool | None = None
        self._validation: dict[str, bool] = {}  # by name, looked up once

    def are_of(self, progress: Progress, *, looping: bool) -> bool:
        """True in a run that counts steps, as it does where nothing was reported before the first step."""
        if self._counts_steps is None:
            nothing_yet = progress.epoch is None and not looping
            self._counts_steps = progress.unit == "step" or nothing_yet
        return self._counts_steps

    def is_due(self, step: int, total: int | None, names: Iterable[str] = ()) -> bool:
        """True where this step is to be reported now; otherwise it is pending. `names` are those logged at it."""
        now_s = self._clock.monotonic()
        soon = now_s - self._reported_s < _STEPS_APART_S
        if soon and step != total and not any(map(self._is_validation, names)):
            self.pending = step
            return False
        self._reported_s, self.pending = now_s, None
        return True

    def _is_validation(self, name: str) -> bool:
        known = self._validation.get(name)
        if known is None:
            known = self._validation[name] = has_best(str(name))
        return known
