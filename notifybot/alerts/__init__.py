"""Alert rules for a run, without code of your own. Each reports an incident once, and once more when it is over.

    from notifybot import alerts, notify_epoch

    with notify_epoch(range(30), alerts=[alerts.non_finite(), alerts.target("val_acc", 0.95)]) as epochs:
        ...

A metric's name may give its direction, as in "reward:max"; names such as "val_loss" show it without a suffix.
A rule of your own is any function that takes the run's `Progress` and returns an `Alert` or None.
Pure: no clock, no disk, no network.
"""

from __future__ import annotations

from collections.abc import Iterable

from notifybot.alerts.base import Rule, aim_of, named
from notifybot.alerts.evidence import Alert
from notifybot.alerts.incidents import Custom
from notifybot.alerts.rules import (
    Divergence,
    GpuIdle,
    GpuMemory,
    LowDisk,
    NonFinite,
    Overfitting,
    Plateau,
    SlowEpoch,
    Target,
    Threshold,
)
from notifybot.alerts.validation import count, finite, folder, more_than, not_negative, one_of, share
from notifybot.errors import UsageError, reader_text

__all__ = [
    "DEFAULT",
    "Alert",
    "AlertRule",
    "divergence",
    "gpu_idle",
    "gpu_memory",
    "low_disk",
    "non_finite",
    "overfitting",
    "plateau",
    "slow_epoch",
    "target",
    "threshold",
]

AlertRule = Rule | Custom
"""A built-in rule, or a function of your own."""


def non_finite(*metrics: str) -> AlertRule:
    """Alert when a metric is NaN or infinite: any of those named, or any at all. On by default."""
    return NonFinite(tuple(named(metric) for metric in metrics))


def threshold(metric: str, *, above: float | None = None, below: float | None = None) -> AlertRule:
    """Alert when a metric is above, or below, a limit."""
    one_of(above=above, below=below)
    if above is not None:
        return Threshold(named(metric), finite("above", above), "above")
    return Threshold(named(metric), finite("below", below or 0.0), "below")


def plateau(metric: str, *, patience: int = 10, min_delta: float = 0.0) -> AlertRule:
    """Alert when a metric has not become better, by more than `min_delta`, for `patience` epochs that logged it."""
    return Plateau(aim_of(metric), count("patience", patience), not_negative("min_delta", min_delta))


def divergence(metric: str, *, ratio: float | None = None, by: float | None = None) -> AlertRule:
    """Alert when a metric is more than `ratio` times worse than its best so far (2 by default), or worse by `by`."""
    if by is not None:
        one_of(ratio=ratio, by=by)
        return Divergence(aim_of(metric), by=more_than(0, "by", by))
    return Divergence(aim_of(metric), ratio=more_than(1, "ratio", 2.0 if ratio is None else ratio))


def overfitting(train: str = "train_loss", val: str = "val_loss", *, epochs: int = 3) -> AlertRule:
    """Alert when training becomes better while validation becomes worse, so many epochs in a row."""
    return Overfitting(aim_of(train), aim_of(val), count("epochs", epochs))


def slow_epoch(factor: float = 2.0) -> AlertRule:
    """Alert when an epoch takes `factor` times the median of those before it."""
    return SlowEpoch(more_than(1, "factor", factor))


def low_disk(*paths: str, percent: float | None = None, free_bytes: int | None = None) -> AlertRule:
    """Alert when a disk has less than `percent` of its room left, or less than `free_bytes`. 5 percent by default.

    Looks at the disks of the state folder, the runs folder and the checkpoints where no path is given.
    """
    places = tuple(folder(path) for path in paths)
    if free_bytes is not None:
        one_of(percent=percent, free_bytes=free_bytes)
        return LowDisk(places, free_bytes=count("free_bytes", free_bytes))
    return LowDisk(places, percent=share("percent", 5.0 if percent is None else percent))


def gpu_idle(*, percent: float = 10.0, minutes: float = 10.0) -> AlertRule:
    """Alert when the run's busiest GPU was busy less than `percent` of so many minutes. Needs `nvidia-ml-py`."""
    return GpuIdle(share("percent", percent), more_than(0, "minutes", minutes))


def gpu_memory(*, percent: float = 95.0) -> AlertRule:
    """Alert when a GPU's memory is in use to `percent` or more, by any process. Needs `nvidia-ml-py`."""
    return GpuMemory(share("percent", percent))


def target(metric: str, value: float) -> AlertRule:
    """Alert when a metric is as good as `value`, or better: once in a run's life."""
    return Target(aim_of(metric), finite("value", value))


DEFAULT: tuple[AlertRule, ...] = (non_finite(),)
"""What is looked for where nothing is said: `alerts=[*alerts.DEFAULT, …]` adds to it, `alerts=[]` looks for nothing."""

_MAKERS = (
    non_finite, threshold, plateau, divergence, overfitting, slow_epoch, low_disk, gpu_idle, gpu_memory, target,
)  # fmt: skip


def rules_of(alerts: object) -> tuple[AlertRule, ...]:
    """Return the rules given to `alerts=`. Raises UsageError for anything else."""
    if isinstance(alerts, str | bytes) or not isinstance(alerts, Iterable):
        raise UsageError(reader_text("alerts.no_list_of_rules", alerts=f"{alerts!r:.80}"))
    rules = tuple(alerts)
    for rule in rules:
        if isinstance(rule, type) or not (isinstance(rule, Rule) or callable(rule)):
            raise UsageError(reader_text("alerts.no_rule", rule=f"{rule!r:.80}"))
        if any(rule is maker for maker in _MAKERS):
            raise UsageError(reader_text("alerts.rule_is_not_called", name=rule.__name__))
    return rules
