"""`notify_steps`: the hook around a training loop that goes by steps and knows no epochs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from notifybot.alerts import DEFAULT, AlertRule
from notifybot.config import Config
from notifybot.errors import UsageError, reader_text
from notifybot.metric_names import has_best
from notifybot.notifiers.base import Notifier
from notifybot.training.block import as_config, check_given
from notifybot.training.loop import EpochLoop, run_for
from notifybot.types import Unit

if TYPE_CHECKING:
    from notifybot.checkpoints.checkpoints import Checkpoints

_APART_S = 1.0  # between two reports
_SILENT_S = 30.0  # after so long a report comes without any value


def notify_steps(
    total: int | None,
    *,
    name: str | None = None,
    project: str | None = None,
    run_id: str | None = None,
    params: object = None,
    monitor: str | None = None,
    model: object = None,
    checkpoints: Checkpoints | None = None,
    progress: bool = True,
    alerts: Iterable[AlertRule] = DEFAULT,
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> StepLoop:
    """Wrap a training loop that goes by steps, counted from 1: each is the number of those done when it is over.

        with notify_steps(100_000, name="gpt") as steps:
            for step in steps:
                steps.log(train_loss=0.5)

    `total` is the whole run's number of steps; None: until the loop is left, or `steps.stop()`. What is logged is
    averaged and reported at most once a second, and at once where it is a validation metric. `checkpoints` save after
    every `every` steps, or every ten minutes where that is 1, as it is by default. All else is as in `notify_epoch`.
    """
    settings = as_config(config)
    _check_total(total)
    check_given(project=project, monitor=monitor, total=total, checkpoints=checkpoints, notifiers=notifiers)
    run = run_for(
        checkpoints, name=name, project=project, run_id=run_id, params=params, config=settings, monitor=monitor,
        alerts=alerts, notifiers=notifiers,
    )  # fmt: skip
    steps = itertools.count(1) if total is None else range(1, total + 1)
    return StepLoop(
        steps, run, total=total, progress=progress, model=model, checkpoints=checkpoints, keeps_id=run_id is not None
    )


def _check_total(total: object) -> None:
    if total is not None and (isinstance(total, bool) or not isinstance(total, int) or total < 1):
        raise UsageError(reader_text("training.loop.no_steps", total=f"{total!r:.80}"))


class StepLoop(EpochLoop):
    """The steps of a run: iterate it once, hold it with `with`."""

    unit: ClassVar[Unit] = "step"
    _reported_s = -math.inf
    _due_s = -math.inf  # the first step is reported at once

    def stop(self, reason: str = "early stop") -> None:
        """End the loop after this step, for good: the run is finished early, and `reason` says why."""
        super().stop(reason)
        self._due_s = -math.inf  # last: the loop sets it before it looks whether it was stopped

    def _pass(self) -> Iterator[int]:
        """Yield each step, and report now and then.

        Between reports a step costs one look at the clock, and one at how many names were logged.
        """
        run, saving, monotonic = self.run, self._saving, self.run.clock.monotonic
        reported, opens = run.progress.done, True
        step, known, logged = reported, 0, run.meter.names()
        if saving is not None:
            saving.go_by_steps()
        for step in self._epochs:
            if opens:
                opens, known = False, 0
                run.begin_epoch(step)
                logged = run.meter.names()
                if saving is not None:
                    saving.epoch_began()
            else:
                run.open_epoch = step
            yield step
            if len(logged) != known:
                known = len(logged)
                self._due_s = -math.inf if any(map(self._is_validation, logged)) else self._reported_s + _APART_S
            now_s = monotonic()
            if (saving is not None and saving.is_due(step, now_s)) or now_s >= self._due_s:
                self._report(step - reported)
                reported, opens = step, True
                self._reported_s, self._due_s = now_s, now_s + _SILENT_S
                if self._early:
                    break
        if not opens:
            self._report(step - reported)

    def _report(self, steps: int) -> None:
        """Report what was logged since the last report, which was so many steps ago, and save where that is due."""
        label, values = self.run.open_epoch, self.run.finish_open_epoch()
        if self._saving is not None and label is not None:
            self._saving.epoch_ended(label, values)
        if self._bar is not None:
            with self.run.guard("progress_bar"):
                self._bar.advance(values, steps)

    def _is_validation(self, name: str) -> bool:
        return name == self.run.watched or has_best(name)

    def _watch_steps(self) -> None:
        """Do nothing: between any two steps the state is whole, so there is nothing to save within one."""
