"""Reporting of a W&B sweep: a line for each trial, and one summary with the best trial's parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from notifybot.config import Config
from notifybot.errors import UsageError, reader_text
from notifybot.integrations.trials import Tell, Trial, Trials
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.policy import Pace
from notifybot.trackers.wandb import page_of
from notifybot.training.block import notify_run
from notifybot.training.run import Run

_TRACKERS_S = 30.0


def notify_sweep(
    name: str,
    *,
    monitor: str,
    count: int | None = None,
    tell: Tell = "all",
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
    return Sweep(
        name, monitor=monitor, count=count, tell=tell, project=project, config=config, notifiers=notifiers, kind="sweep"
    )


class Sweep(Trials):
    """A sweep that is being reported: hold it with `with`, and hand `trial(function)` to `wandb.agent`."""

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
                f"{sweep_run.name} #{number}",
                project=sweep_run.project,
                params=dict(wandb_run.config),
                monitor=self.guest.monitor,
                config=self.guest.config,
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
                with sweep_run.guard("trial"):
                    if run.session is not None and run.session.trackers is not None:
                        run.session.trackers.flush(_TRACKERS_S)  # W&B's run ends after its last epoch
                    value, page = self._value(run, wandb_run), page_of(wandb_run) or ""
                    self.report(Trial(number, run.params, value, error, page, failed=bool(error)))

    def _value(self, run: Run, wandb_run: Any) -> float | None:
        metric = run.progress.metrics.get(self.metric)
        if metric is not None:
            return metric.value if metric.best is None else metric.best
        logged = wandb_run.summary.get(self.metric)  # logged by wandb.log alone: the last value, as in W&B's own table
        return float(logged) if isinstance(logged, int | float) else None


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
