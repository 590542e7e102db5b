"""`notify_run`: the start and the end of any code, as a block or as a decorator; and the run that is open now."""

from __future__ import annotations

import functools
import inspect
import logging
import signal
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import MappingProxyType, TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, cast

from notifybot.alerts import DEFAULT, AlertRule
from notifybot.config import Config, load
from notifybot.errors import READER, UsageError, reader_list, reader_text
from notifybot.i18n import OVERRIDES
from notifybot.notifiers.base import Notifier
from notifybot.runtime import speaks
from notifybot.training.endings import ENDINGS, EXIT_S, Ending, ending_of, is_cancelled, meant
from notifybot.training.run import Run
from notifybot.training.run_info import label_of, shown_value
from notifybot.training.signals import SIGNALS, number_of
from notifybot.types import UNITS, Status, Unit

P = ParamSpec("P")
R = TypeVar("R")


def notify_run(
    name: str | None = None,
    *,
    project: str | None = None,
    run_id: str | None = None,
    params: object = None,
    total: int | None = None,
    unit: Unit = "epoch",
    first: int | None = None,
    monitor: str | None = None,
    alerts: Iterable[AlertRule] = DEFAULT,
    trackers: Literal["auto", "off"] = "auto",
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> RunBlock:
    """Report the start and the end of any code, as a block or as a decorator.

        with notify_run("preprocess", total=3) as run:
            run.log_epoch(0, {"loss": 0.5})

    `total` is how many epochs, steps, rounds or trials (`unit`) the whole run has, where that is known: people see how
    far it is and how long it will take. `first` is the label of the first that this process does; what an earlier
    session of the same run reported from there on is void. With `trackers="off"` neither TensorBoard nor W&B is written
    to, as where the program does so itself. Raises ConfigError and UsageError before the block is entered.
    """
    settings = as_config(config)
    check_given(project=project, monitor=monitor, total=total, notifiers=notifiers)
    if unit not in UNITS:
        raise UsageError(reader_text("training.block.bad_unit", unit=f"{unit!r:.40}", units=", ".join(UNITS)))
    if trackers not in ("auto", "off"):
        raise UsageError(reader_text("training.block.bad_trackers", trackers=f"{trackers!r:.40}"))
    ahead: dict[str, Any] = {"total": total, "unit": unit}
    ahead["first"] = None if first is None else label_of(first, "notify_run")

    new_run = partial(
        Run, name=name, project=project, run_id=run_id, params=params, monitor=monitor, config=settings, alerts=alerts,
        notifiers=notifiers, trackers=trackers,
    )  # fmt: skip
    return RunBlock(new_run, ahead)


NOTHING_KNOWN: Mapping[str, Any] = MappingProxyType({})  # of what is ahead


class RunBlock:
    """Result of `notify_run`: a block (`with`) and a decorator, for plain and async functions."""

    def __init__(self, new_run: Callable[[], Run], ahead: Mapping[str, Any] = NOTHING_KNOWN) -> None:
        self._new_run = new_run
        self._ahead = ahead
        self._scope: SignalScope | None = None

    def __reduce__(self) -> Any:
        """Travel as a mute copy, as within a callback."""
        return _copy_of, (self._new_run() if self._scope is None else self._scope.run,)

    def __enter__(self) -> Run:
        run = self._new_run()
        run.start(**self._ahead)
        self._scope = SignalScope(run)
        return run

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._scope is not None:
            self._scope.release(error, exhausted=error is None)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise UsageError(reader_text("training.block.no_generator"))
        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def awaiting(*args: P.args, **kwargs: P.kwargs) -> Any:
                block = RunBlock(self._new_run, self._ahead)
                with block:
                    return block._returning(await function(*args, **kwargs))

            return cast(Callable[P, R], awaiting)

        @functools.wraps(function)
        def calling(*args: P.args, **kwargs: P.kwargs) -> R:
            block = RunBlock(self._new_run, self._ahead)
            with block:
                return block._returning(function(*args, **kwargs))

        return calling

    def _returning(self, value: R) -> R:
        """Show a function's value in the message of the end, where it is plain; return it as it is."""
        if self._scope is not None and self._scope.run.session is not None:
            with self._scope.run.guard("returned_value"):
                self._scope.returned = shown_value(value)
        return value


def _copy_of(run: Run) -> RunBlock:
    copied = run.copied()
    return RunBlock(lambda: copied)


def current() -> Run:
    """Return the innermost open run of this thread or task, else of this process: a function needs no argument for it.

    Without one there is a warning, once, and a run that does nothing: its `active` is False. So it is on other ranks.
    """
    run = ENDINGS.innermost()
    if isinstance(run, Run):
        return run
    if not _missed and speaks():
        _missed.append(reader_text("training.block.no_run_is_open"))
        _logger.warning("%s", _missed[0])
    if not _nobody:
        _nobody.append(Run(name="none", run_id="none", project="default", config=Config.model_construct()).copied())
    return _nobody[0]


def log(mapping: Mapping[str, Any] | None = None, /, *, n: float = 1.0, **more: Any) -> None:
    """Average values over the open epoch of the innermost open run, as `epochs.log` does: `notifybot.log(loss=loss)`.

    Where no loop of ours runs, they belong to the next `log_epoch`. Without an open run there is a warning, once.
    """
    current().log(mapping, n=n, **more)


_logger = logging.getLogger("notifybot")
_missed: list[str] = []  # said already
_nobody: list[Run] = []  # made once it is needed


def as_config(config: Config | Mapping[str, object] | None) -> Config:
    """Settings as given, or loaded with what was given over the rest. Raises ConfigError.

    What is wrong with the other arguments is said in their language.
    """
    settings = config.settled() if isinstance(config, Config) else load(config)
    READER.language_of_settings = settings.lang
    OVERRIDES.use(settings.templates_dir)
    return settings


_NOTIFIER = ("name", "key", "pace", "send", "close")  # see notifybot.notifiers.base
_CHECKPOINTS = ("card", "open", "save", "restore")


def check_given(
    *,
    project: object = None,
    monitor: object = None,
    total: object = None,
    checkpoints: object = None,
    notifiers: object = None,
) -> None:
    """Raise UsageError for an argument of a kind that cannot be meant; None stands for one that was left out."""
    if not isinstance(project, str | None):
        raise UsageError(reader_text("training.block.bad_project", project=_kind(project)))
    if not isinstance(monitor, str | None):
        raise UsageError(reader_text("training.block.bad_monitor", monitor=_kind(monitor)))
    if total is not None and (isinstance(total, bool) or not hasattr(total, "__index__")):
        raise UsageError(reader_text("training.block.bad_total", total=_kind(total)))
    is_class = isinstance(checkpoints, type)
    if checkpoints is not None and (is_class or not all(hasattr(checkpoints, each) for each in _CHECKPOINTS)):
        given = reader_text("training.block.a_class") if is_class else _kind(checkpoints)
        is_folder = isinstance(checkpoints, str)
        key = "training.block.checkpoints_is_a_folder" if is_folder else "training.block.bad_checkpoints"
        raise UsageError(reader_text(key, given=given))
    if notifiers is not None:
        _check_notifiers(notifiers)


def check_rising(epochs: object) -> None:
    """Raise UsageError for labels that do not rise, as far as they can be seen: none could be seen to be done."""
    if isinstance(epochs, range):
        falls = len(epochs) > 1 and epochs.step < 0
    else:
        labels = [label_of(each) for each in epochs] if isinstance(epochs, list | tuple) else []
        falls = any(one >= other for one, other in pairwise(labels))
    if falls:
        raise UsageError(reader_text("training.block.epochs_do_not_rise", epochs=f"{epochs!r:.80}"))


def _check_notifiers(notifiers: object) -> None:
    if isinstance(notifiers, str | bytes) or not isinstance(notifiers, Collection):
        raise UsageError(
            reader_text("training.block.notifiers_are_no_list", notifiers=_kind(notifiers)) + _settings_for(notifiers)
        )
    for each in notifiers:
        if isinstance(each, type):
            raise UsageError(reader_text("training.block.notifier_is_a_class", name=each.__name__))
        missing = [name for name in _NOTIFIER if not hasattr(each, name)]
        if missing:
            raise UsageError(
                reader_text(
                    "training.block.bad_notifier",
                    names=reader_list(_NOTIFIER),
                    kind=_kind(each),
                    missing=", ".join(missing),
                )
                + _settings_for(each)
            )


def _settings_for(value: object) -> str:
    """Return the hint for a text given as a notifier (a name, a URL or a token): services are set up by the config."""
    if not isinstance(value, str):
        return ""
    return reader_text("training.block.services_are_set_up_by_config")


def _kind(value: object) -> str:
    return type(value).__name__


class SignalScope:
    """Watches signals from its making to `release`. `put_off` says whether a deadly one may wait for a save."""

    def __init__(self, run: Run, put_off: Callable[[int], bool] = lambda _: False) -> None:
        self.run = run
        self.returned = ""
        self._put_off = put_off
        self._report = self._on_signal  # one object, so that it can be found again
        self._warning = number_of(run.config.save_signal)
        self._waits = self._reports = False
        if run.active or (run.mute and self._warning is not None):
            SIGNALS.watch(self._report, self._warning)

    @property
    def seen(self) -> int | None:
        """Signal that the program's own handler took since this began; None without one."""
        return SIGNALS.seen_by(self._report)

    def unwatch(self) -> None:
        """Watch no more, where the ending was recorded otherwise."""
        SIGNALS.unwatch(self._report)

    def ending(self, error: BaseException | None, *, exhausted: bool) -> Ending:
        """Return the ending of the block, by how it was left."""
        return ending_of(error, exhausted=exhausted, signal_seen=self.seen)

    def on_purpose(self, error: BaseException | None, exhausted: bool) -> bool:
        """True when the block was left by its own code before the epochs ran out."""
        if error is not None and not isinstance(error, SystemExit | GeneratorExit):
            return False
        return not exhausted and self.ending(error, exhausted=exhausted).on_purpose

    def release(self, error: BaseException | None, *, exhausted: bool, early: str = "") -> None:
        """Record how the block was left, `early` where its own code said why. What left it goes on by itself."""
        seen = self.seen
        with self.run.guard("run_end"):
            self.run.end(replace(meant(self.ending(error, exhausted=exhausted), early), returned=self.returned))
            if is_cancelled(error) and self.run.session is not None:
                ENDINGS.cancelled(self.run)
        SIGNALS.unwatch(self._report)
        if error is None and seen is None:
            self.run.linger()  # in no section of ours, in which signals would wait

    def _on_signal(self, number: int) -> bool:
        if self.run.mute and number == self._warning:  # every rank is warned: none may die before the first has saved
            return True
        if self._reports:  # a second one, while the first is being reported
            return False
        hurried = self._waits
        if not hurried:
            self._waits = True
            try:
                with self.run.guard("signal"):
                    if self._put_off(number):
                        return True
            finally:  # a Ctrl-C may end the wait
                self._waits = False
        self._reports = True
        ends_at_s = self.run.clock.monotonic() + EXIT_S
        self.run.end(Ending(Status.INTERRUPTED, signal.Signals(number).name))  # takes half of it at most
        if not hurried:  # whoever sends a second one, while a save is waited for, will not wait for messages
            self.run.flush(max(ends_at_s - self.run.clock.monotonic(), 0.0))
        return False
