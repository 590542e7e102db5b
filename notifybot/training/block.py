"""`notify_run`: the start and the end of any code, as a block or as a decorator."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from notifybot.alerts import DEFAULT, AlertRule
from notifybot.config import Config, load
from notifybot.errors import READER, UsageError
from notifybot.notifiers.base import Notifier
from notifybot.training.arguments import check_given
from notifybot.training.hold import Hold
from notifybot.training.run import Run
from notifybot.training.words import no_generator

P = ParamSpec("P")
R = TypeVar("R")


def notify_run(
    name: str | None = None,
    *,
    project: str | None = None,
    run_id: str | None = None,
    params: object = None,
    monitor: str | None = None,
    alerts: Iterable[AlertRule] = DEFAULT,
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> RunBlock:
    """Report the start and the end of any code, as a block or as a decorator.

        with notify_run("preprocess") as run:
            run.log_epoch(0, {"loss": 0.5})

    Raises ConfigError and UsageError before the block is entered.
    """
    settings = as_config(config)
    check_given(project=project, monitor=monitor, notifiers=notifiers)

    def new_run() -> Run:
        return Run(
            name=name,
            project=project,
            run_id=run_id,
            params=params,
            monitor=monitor,
            config=settings,
            alerts=alerts,
            notifiers=notifiers,
        )

    return RunBlock(new_run)


class RunBlock:
    """What `notify_run` returns: a block (`with`) and a decorator, for plain and async functions."""

    def __init__(self, new_run: Callable[[], Run]) -> None:
        self._new_run = new_run
        self._hold: Hold | None = None

    def __reduce__(self) -> Any:
        """Travel as a mute copy, as within a callback."""
        return _copy_of, (self._new_run() if self._hold is None else self._hold.run,)

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
            raise UsageError(no_generator())
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


def _copy_of(run: Run) -> RunBlock:
    copied = run.copied()
    return RunBlock(lambda: copied)


def as_config(config: Config | Mapping[str, object] | None) -> Config:
    """Settings as given, or loaded with what was given over the rest. Raises ConfigError.

    What is wrong with the other arguments is said in their language.
    """
    settings = config if isinstance(config, Config) else load(config)
    READER.language_of_settings = settings.lang
    return settings
