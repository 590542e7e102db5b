"""Hugging Face Accelerate: `Accelerator(log_with=[NotifyTracker("exp_1", total=1000)])`, for scripts that log by it.

A loop of one's own needs none of this: `notify_epoch` around it knows how it ends, its checkpoints and its ranks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from types import FrameType
from typing import Any, Unpack

from notifybot.integrations.guest import Guest, GuestCallback, GuestOptions, hook, raise_missing
from notifybot.training.endings import Ending
from notifybot.training.metrics import Meter
from notifybot.training.run import Run
from notifybot.types import Status, Unit

try:
    from accelerate import PartialState
    from accelerate.tracking import GeneralTracker
except ModuleNotFoundError as missing:
    raise_missing(missing, __name__, "accelerate")

_APART_S = 1.0  # a loop may log at every step
_NO_NUMBERS = (str, bytes, bool, Mapping, type(None))  # a tensor is asked for its value once a report


class NotifyTracker(GuestCallback, GeneralTracker):
    """Reports what a script logs by `accelerator.log(values, step=…)`, from `init_trackers` to `end_training`.

    `total` is how many steps there will be, where that is known; with `unit="epoch"` what is logged as `step` is an
    epoch. Takes the options of `Guest`. Nothing is raised into the script once it is made.
    """

    name = "notifybot"
    requires_logging_directory = False
    main_process_only = True

    def __init__(self, name: str | None = None, *, total: int | None = None, **options: Unpack[GuestOptions]) -> None:
        GeneralTracker.__init__(self)
        self.guest = Guest(name, **options)
        self._total = total
        self._unit: Unit = "step" if self.guest.unit == "auto" else self.guest.unit
        self._meter = Meter()
        self._meter.loud = False
        self._label: int | None = None
        self._counts = True  # no step was ever named
        self._due = False
        self._reported_s = -_APART_S
        self._reported: int | None = None
        self._others: frozenset[str] = frozenset()

    @property
    def tracker(self) -> Run | None:
        """The run, for `accelerator.get_tracker("notifybot", unwrap=True)`."""
        return self.run

    @hook
    def start(self) -> None:
        """Begin, unless the run's parameters are yet to come: a failure before the first step is told, too."""
        call = _init_trackers()
        self._others = frozenset(str(each) for each in getattr(call.get("self"), "log_with", ()))
        if call.get("config") is None:
            self._begin(None)

    @hook
    def store_init_configuration(self, values: Mapping[str, Any]) -> None:
        """Begin with these parameters."""
        self._begin(values)

    @hook
    def log(self, values: Mapping[str, Any], step: int | None = None, **kwargs: Any) -> None:
        """Take numbers; they are reported at most once a second, averaged."""
        run = self.run
        if run is None or not run.active:
            return
        self.guest.moved()
        if step is not None:
            self._label, self._counts = int(step), False
        elif self._counts:
            self._label = 1 + (self._label or 0)
        self._meter.log({name: value for name, value in values.items() if not isinstance(value, _NO_NUMBERS)})
        self._due = True
        waited = run.clock.monotonic() - self._reported_s >= _APART_S
        if waited or self._label in (self._reported, self._total):
            self._report(run)

    @hook
    def finish(self) -> None:
        """End the run as finished: Accelerate calls this at `end_training`, and never where the script fails."""
        self.guest.finish()

    def _judge(self, ending: Ending) -> Ending:
        """Report the last steps, whatever the ending. A script that forgets `end_training` has not left early."""
        if self.run is not None and self._due:
            self._report(self.run)
        cut_short = self._total is not None and 1 + (self._label or 0) < self._total  # the first may be called 0
        return replace(ending, status=Status.FINISHED) if ending.status is Status.STOPPED and not cut_short else ending

    def _begin(self, params: Mapping[str, Any] | None) -> None:
        self._label, self._counts, self._due, self._reported = None, True, False, None
        self._meter.read()
        self.guest.judge = self._judge
        self.guest.begin(
            total=self._total, unit=self._unit, params=params, own_trackers=self._others & {"wandb", "tensorboard"},
            reports=PartialState().is_main_process, within_call=False, counts_from=None,
        )  # fmt: skip

    def _report(self, run: Run) -> None:
        if self._label is None:
            return
        self._due, self._reported, self._reported_s = False, self._label, run.clock.monotonic()
        self.guest.log(self._meter.read())
        self.guest.epoch_over(self._label)
        self.guest.close()


def _init_trackers() -> Mapping[str, Any]:
    """The arguments of the `Accelerator.init_trackers` that is calling us; empty where another one is."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code.co_name == "init_trackers":
            return frame.f_locals
        frame = frame.f_back
    return {}
