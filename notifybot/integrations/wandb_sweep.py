"""Reporting of a W&B sweep: a line for each trial, and one summary with the best trial's parameters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal

from notifybot.config import Config, Switch
from notifybot.errors import UsageError, reader_text
from notifybot.i18n import text
from notifybot.metric_names import Direction
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.policy import Pace
from notifybot.rendering.format import number as figure
from notifybot.trackers.wandb import page_of
from notifybot.training.block import as_config, notify_run
from notifybot.training.progress import MonitoredMetric
from notifybot.training.run import Run
from notifybot.types import Language, Param, Severity

_TRACKERS_S = 30.0


@dataclass(frozen=True, slots=True)
class Trial:
    """One call of the sweep's function. `value` is the watched metric's best of its epochs, None without one."""

    number: int
    params: dict[str, Param] = field(default_factory=dict)
    value: float | None = None
    error: str = ""
    url: str = ""


def notify_sweep(
    name: str,
    *,
    monitor: str,
    count: int | None = None,
    tell: Literal["all", "best"] = "all",
    project: str | None = None,
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> Sweep:
    """Report a sweep whose trials `wandb.agent` runs in this process.

        def train(run):
            for epoch in range(10):
                run.log_epoch(epoch, {"val_acc": train_one_epoch(wandb.config)})

        with notify_sweep("digits", monitor="val_acc", count=20) as sweep:
            wandb.agent(sweep_id, function=sweep.trial(train), count=20)

    `monitor` names the metric by which trials compare, with its direction where the name does not say it, such as
    "reward:max". `count` is the number of trials, for people to read. With `tell="best"` they hear only of a trial
    that is the best so far or failed, and of the end. Raises ConfigError and UsageError before the first trial.
    """
    return Sweep(name, monitor, count, tell, project, as_config(config), notifiers)


class Sweep:
    """A sweep that is being reported: hold it with `with`, and hand `trial(function)` to `wandb.agent`."""

    def __init__(
        self,
        name: str,
        monitor: str,
        count: int | None,
        tell: Literal["all", "best"],
        project: str | None,
        config: Config,
        notifiers: Sequence[Notifier] | None,
    ) -> None:
        watch = MonitoredMetric(monitor)
        self.metric = watch.name or monitor
        self.trials: list[Trial] = []
        self.run: Run | None = None  # the sweep's own, once the block is entered
        self._most = watch.direction is Direction.MAX
        self._name = name
        self._monitor = monitor
        self._count = count
        self._reports = tell
        self._project = project
        self._config = config
        # Without trackers: the sweep itself has no numbers, and must not begin a run at W&B.
        own = config.model_copy(update={"wandb": Switch.OFF, "tensorboard": Switch.OFF})
        self._block = notify_run(name, project=project, config=own, notifiers=notifiers)

    def __enter__(self) -> Sweep:
        self.run = self._block.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.run is not None:
            title, body = summary_of(self.trials, self.best, self.metric, self._config.lang)
            self.run.report(title, body, Severity.WARNING if self.best is None else Severity.SUCCESS)
        self._block.__exit__(kind, error, traceback)

    @property
    def best(self) -> Trial | None:
        """The best trial so far, the earliest of equals; None while none has a value."""
        known = [each for each in self.trials if each.value is not None and not math.isnan(each.value)]
        return (max if self._most else min)(known, key=lambda each: each.value or 0.0, default=None)

    def trial(self, function: Callable[..., Any]) -> Callable[[], None]:
        """Wrap the function that trains once. It is handed the trial's Run, if it takes an argument.

        W&B's run is active when it is called, `wandb.config` holding the trial's parameters: it need not call
        `wandb.init`. The trial's numbers go to all trackers; people hear of the sweep only. What it raises is raised.
        """
        takes_run = bool(inspect.signature(function).parameters)

        def one_trial() -> None:
            if self.run is None:
                raise UsageError(reader_text("integrations.wandb_sweep.trials_run_inside_the_block"))
            self._one(self.run, function, takes_run)

        return one_trial

    def _one(self, sweep_run: Run, function: Callable[..., Any], takes_run: bool) -> None:
        number = len(self.trials) + 1
        with (
            _active_run() as wandb_run,
            notify_run(
                f"{self._name} #{number}",
                project=self._project,
                params=dict(wandb_run.config),
                monitor=self._monitor,
                config=self._config,
                notifiers=_NOBODY,
            ) as run,
        ):
            error = ""
            try:
                function(*([run] if takes_run else []))
            except BaseException as raised:
                # W&B's agent raises a bare Exception into the thread of a trial that the sweep gives up.
                error = "" if type(raised) is Exception and not raised.args else type(raised).__name__
                raise
            finally:
                with sweep_run.guard("sweep_trial"):
                    if run.session is not None and run.session.trackers is not None:
                        run.session.trackers.flush(_TRACKERS_S)  # W&B's run ends after its last epoch
                    value = self._value(run, wandb_run)
                    self._report(sweep_run, Trial(number, run.params, value, error, page_of(wandb_run) or ""))

    def _value(self, run: Run, wandb_run: Any) -> float | None:
        metric = run.progress.metrics.get(self.metric)
        if metric is not None:
            return metric.value if metric.best is None else metric.best
        logged = wandb_run.summary.get(self.metric)  # logged by wandb.log alone: the last value, as in W&B's own table
        return float(logged) if isinstance(logged, int | float) else None

    def _report(self, sweep_run: Run, trial: Trial) -> None:
        self.trials.append(trial)
        best = self.best
        if self._reports == "all" or trial.error or trial is best:
            title, body = trial_line(trial, self._count, best, self.metric, self._config.lang)
            sweep_run.report(title, body, Severity.WARNING if trial.error else Severity.INFO)


@contextmanager
def _active_run() -> Iterator[Any]:
    """Yield the W&B run of a trial: the caller's active one, or a new one that ends with the trial."""
    import wandb

    if wandb.run is not None:
        yield wandb.run
        return
    run = wandb.init(settings=wandb.Settings(silent=True))
    try:
        yield run
    except BaseException:
        run.finish(exit_code=1)
        raise
    run.finish(exit_code=0)


class _Nobody:
    """Notifier that swallows the trials' own messages, so that none is sent, neither from here nor by the watchdog."""

    name = "nobody"
    key = "nobody:00000000"
    pace = Pace()

    def send(self, envelope: Envelope) -> None:
        return

    def close(self) -> None:
        return


_NOBODY = (_Nobody(),)


# ── What people read ─────────────────────────────────────────────────────────────────────────────────────────────────


def trial_line(trial: Trial, count: int | None, best: Trial | None, metric: str, language: Language) -> tuple[str, str]:
    """Return the title and the text for one trial that is over."""
    which = f"{trial.number}/{count}" if count else str(trial.number)
    outcome = _outcome(trial, metric, language)
    if best is trial:
        outcome = text(language, "integrations.wandb_sweep.best_so_far", outcome=outcome)
    elif best is not None and best.value is not None:
        values = {"best": figure(best.value), "number": best.number}
        outcome = text(language, "integrations.wandb_sweep.best_is_another", outcome=outcome, **values)
    return text(language, "integrations.wandb_sweep.trial", which=which, outcome=outcome), _lines(trial.params)


def summary_of(trials: Sequence[Trial], best: Trial | None, metric: str, language: Language) -> tuple[str, str]:
    """Return the title and the text for the whole sweep."""
    failed = sum(bool(each.error) for each in trials)
    key = "integrations.wandb_sweep.one_trial" if len(trials) == 1 else "integrations.wandb_sweep.trials"
    counted = text(language, key, number=len(trials))
    if failed:
        counted = text(language, "integrations.wandb_sweep.and_failed", trials=counted, failed=failed)
    if best is None or best.value is None:
        why = text(language, "integrations.wandb_sweep.no_value", metric=metric)
        return text(language, "integrations.wandb_sweep.result_without_value", why=why, trials=counted), ""
    values = {"metric": metric, "best": figure(best.value), "number": best.number, "trials": counted}
    title = text(language, "integrations.wandb_sweep.result", **values)
    return title, "\n".join(filter(None, (_lines(best.params), best.url)))


def _outcome(trial: Trial, metric: str, language: Language) -> str:
    value = "" if trial.value is None else f"{metric} = {figure(trial.value)}"
    if trial.error:
        failed = text(language, "integrations.wandb_sweep.failed", error=trial.error)
        return f"{failed}, {value}" if value else failed
    return value or text(language, "integrations.wandb_sweep.no_value", metric=metric)


def _lines(params: Mapping[str, Param]) -> str:
    """A line for each parameter, as Python would read it: people copy them into code. W&B's own begin with "_"."""
    shown = {name: value for name, value in params.items() if not name.startswith("_")}
    numbers = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in shown.items()}
    return "\n".join(f"{name} = {value}" for name, value in numbers.items())
