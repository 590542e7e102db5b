"""The public hooks: `notify_epoch` around a loop, `notify_run` around a block or a function."""

from __future__ import annotations

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from notifybot.config import Config, load
from notifybot.errors import UsageError
from notifybot.model import Status
from notifybot.notifiers.base import Notifier
from notifybot.training.bar import Bar
from notifybot.training.endings import ENDINGS, EXIT_S, Ending, ending_of
from notifybot.training.progress import length_of
from notifybot.training.run import Run
from notifybot.training.signals import SIGNALS

P = ParamSpec("P")
R = TypeVar("R")
_TENSORBOARD_S = 15.0
_WANDB_S = 35.0  # an online start is given up after 30


def notify_epoch(
    epochs: Iterable[int],
    *,
    name: str | None = None,
    project: str | None = None,
    run_id: str | None = None,
    params: object = None,
    total: int | None = None,
    monitor: str | None = None,
    progress: bool = True,
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> EpochLoop:
    """Wrap the epochs of a training loop; iterate the result as you would them, best inside `with`.

        with notify_epoch(range(30), name="resnet") as epochs:
            for epoch in epochs:
                epochs.log(train_loss=0.5)

    `run_id` given again continues that run. `total` is the whole run's number of epochs where `epochs` cannot tell.
    `monitor` names the metric whose new best is told, such as "val_acc" or "reward:max"; chosen by its name otherwise.
    `notifiers` replace the configured ones. Raises ConfigError and UsageError here or before the first epoch.
    """
    if isinstance(epochs, str | bytes) or not isinstance(epochs, Iterable):
        raise UsageError(f"notify_epoch takes the epochs, such as range(30), not {epochs!r:.80}")
    run = Run(
        name=name,
        project=project,
        run_id=run_id,
        params=params,
        monitor=monitor,
        config=_config(config),
        notifiers=notifiers,
    )
    return EpochLoop(epochs, run, total=total, progress=progress)


def notify_run(
    name: str | None = None,
    *,
    project: str | None = None,
    run_id: str | None = None,
    params: object = None,
    monitor: str | None = None,
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> RunBlock:
    """Report the start and the end of any code, as a block or as a decorator.

        with notify_run("preprocess") as run:
            run.log_epoch(0, {"loss": 0.5})

    Raises ConfigError and UsageError before the block is entered.
    """
    settings = _config(config)

    def new_run() -> Run:
        return Run(
            name=name,
            project=project,
            run_id=run_id,
            params=params,
            monitor=monitor,
            config=settings,
            notifiers=notifiers,
        )

    return RunBlock(new_run)


class EpochLoop:
    """The epochs of a run: iterate it once, hold it with `with`."""

    def __init__(self, epochs: Iterable[int], run: Run, *, total: int | None, progress: bool) -> None:
        self.run = run
        self._epochs = epochs
        self._total = total
        self._shows_bar = progress
        self._bar: Bar | None = None
        self._hold: Hold | None = None
        self._begun = self._iterated = self._exhausted = False
        self.log = run.meter.log  # type: ignore[method-assign]  # one call less at every step

    def __enter__(self) -> EpochLoop:
        self._begin()
        self._hold = Hold(self.run)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close_bar()
        if self._hold is not None:
            self._hold.release(error, exhausted=self._exhausted)

    def __iter__(self) -> Iterator[int]:
        if self._iterated:
            raise UsageError("these epochs were iterated already: call notify_epoch again for another run")
        self._iterated = True
        self._begin()
        return self._drive()

    def __len__(self) -> int:
        length = length_of(self._epochs)
        if length is None:
            raise TypeError("the number of epochs is not known beforehand")
        return length

    def __bool__(self) -> bool:
        return True

    @property
    def total(self) -> int | None:
        """How many epochs the whole run has, as far as known."""
        return self.run.progress.total if self._begun and self.run.active else self._total or length_of(self._epochs)

    def log(self, mapping: Mapping[str, Any] | None = None, /, *, n: float = 1.0, **more: Any) -> None:
        """Average values over the epoch, each standing for `n` samples: `log(train_loss=loss)`.

        Takes numbers and tensors or arrays of one element. A CPU tensor is read at once; an accelerator's is added
        up on its device and read when the epoch ends. Raises UsageError when a name's first value is no number.
        """
        self.run.meter.log(mapping, n=n, **more)

    def log_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Report a checkpoint that your code has saved."""
        self.run.log_checkpoint(path, self.run.open_epoch)

    @property
    def tensorboard(self) -> Any:
        """The raw SummaryWriter, for histograms, images and graphs; None where TensorBoard is not in use."""
        return getattr(self.run.tracker("tensorboard", _TENSORBOARD_S), "writer", None)

    @property
    def wandb(self) -> Any:
        """The raw W&B run; None where W&B is not in use."""
        return getattr(self.run.tracker("wandb", _WANDB_S), "run", None)

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        self.run.start(self._epochs, total=self._total)
        if self._shows_bar and self.run.active:
            with self.run.guard("the progress bar"):
                now = self.run.progress
                self._bar = Bar(self.run.name, total=now.total, done=now.done)

    def _drive(self) -> Iterator[int]:
        run = self.run
        try:
            for epoch in self._epochs:
                run.begin_epoch(epoch)
                yield epoch
                values = run.finish_open_epoch()
                if self._bar is not None:
                    with run.guard("the progress bar"):
                        self._bar.advance(values)
        except GeneratorExit:
            self._close_bar()
            if self._hold is None and run.active:
                ENDINGS.left(run, sys._getframe(1))
            raise
        except BaseException as error:
            self._close_bar()
            if self._hold is None:
                run.end(ending_of(error, exhausted=False))
            raise
        self._exhausted = True
        self._close_bar()
        if self._hold is None:
            run.end(Ending(Status.FINISHED))

    def _close_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            with self.run.guard("the progress bar"):
                bar.close()


class Hold:
    """A `with` block around a started run: it sees signals, and why the block is left."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._tell = self._on_signal  # one object, so that it can be found again
        if run.active:
            SIGNALS.watch(self._tell)

    def release(self, error: BaseException | None, *, exhausted: bool) -> None:
        """Record how the block was left. Whatever left it goes on by itself."""
        with self._run.guard("the run's end"):
            self._run.end(ending_of(error, exhausted=exhausted, signal_seen=SIGNALS.seen_by(self._tell)))
        SIGNALS.unwatch(self._tell)

    def _on_signal(self, number: int) -> None:
        self._run.end(Ending(Status.INTERRUPTED, signal.Signals(number).name))
        self._run.flush(EXIT_S / 2)


class RunBlock:
    """What `notify_run` returns: a block (`with`) and a decorator, for plain and async functions."""

    def __init__(self, new_run: Callable[[], Run]) -> None:
        self._new_run = new_run
        self._hold: Hold | None = None

    def __enter__(self) -> Run:
        run = self._new_run()
        run.start()
        self._hold = Hold(run)
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._hold is not None:
            self._hold.release(error, exhausted=error is None)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError("notify_run cannot decorate a generator: use `with notify_run(…)` inside it")
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaiting(*args: P.args, **kwargs: P.kwargs) -> Any:
                with RunBlock(self._new_run):
                    return await function(*args, **kwargs)

            return cast(Callable[P, R], awaiting)

        @functools.wraps(function)
        def calling(*args: P.args, **kwargs: P.kwargs) -> R:
            with RunBlock(self._new_run):
                return function(*args, **kwargs)

        return calling


def _config(config: Config | Mapping[str, object] | None) -> Config:
    return config if isinstance(config, Config) else load(config)
