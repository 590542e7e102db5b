"""`notify_epoch`: the hook around a training loop."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

from notifybot.alerts import DEFAULT, AlertRule
from notifybot.checkpoints.run_folder import RunFile
from notifybot.config import Config
from notifybot.errors import UsageError, reader_text
from notifybot.i18n import text
from notifybot.notifiers.base import Notifier
from notifybot.rendering.text import redacted_line
from notifybot.trackers.base import HasRaw
from notifybot.training.block import SignalScope, as_config, check_given, check_rising
from notifybot.training.endings import ENDINGS, Ending, ending_of, meant
from notifybot.training.metrics import Closed
from notifybot.training.progress import length_of
from notifybot.training.resume import COMPLETED, ResumeInfo
from notifybot.training.run import Run
from notifybot.training.run_info import TITLE_CHARS
from notifybot.types import Status, Unit

if TYPE_CHECKING:
    from notifybot.checkpoints.checkpoints import Checkpoints
    from notifybot.training.checkpointing import CheckpointDriver


log = logging.getLogger("notifybot")

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
    model: object = None,
    checkpoints: Checkpoints | None = None,
    progress: bool = True,
    alerts: Iterable[AlertRule] = DEFAULT,
    config: Config | Mapping[str, object] | None = None,
    notifiers: Sequence[Notifier] | None = None,
) -> EpochLoop:
    """Wrap the epochs of a training loop; iterate the result as you would them, best inside `with`.

        with notify_epoch(range(30), name="resnet") as epochs:
            for epoch in epochs:
                epochs.log(train_loss=0.5)

    `run_id` given again continues that run. `total` is the whole run's number of epochs where `epochs` cannot tell.
    `monitor` names the metric whose new best is reported, such as "val_acc" or "reward:max". `checkpoints` save the
    state and restore it on the next start, which yields the epochs labelled above the last saved one. `model` is looked
    at only. `alerts` are the rules to watch by, see `notifybot.alerts`; `notifiers` replace the configured ones.
    Raises ConfigError, UsageError and CheckpointError, here or before the first epoch.
    """
    settings = as_config(config)
    if isinstance(epochs, str | bytes) or not isinstance(epochs, Iterable):
        raise UsageError(_no_epochs(epochs))
    check_given(project=project, monitor=monitor, total=total, checkpoints=checkpoints, notifiers=notifiers)
    if checkpoints is not None:
        check_rising(epochs)
    run = run_for(
        checkpoints, name=name, project=project, run_id=run_id, params=params, config=settings, monitor=monitor,
        alerts=alerts, notifiers=notifiers,
    )  # fmt: skip
    return EpochLoop(
        epochs, run, total=total, progress=progress, model=model, checkpoints=checkpoints, keeps_id=run_id is not None
    )


def run_for(checkpoints: Checkpoints | None, *, run_id: str | None, monitor: str | None, **options: Any) -> Run:
    """Make the run of a loop: the one that its checkpoints belong to, unless `run_id` names another.

    What the best checkpoint goes by is monitored, where the program monitors nothing.
    """
    card, folders = RunFile(""), list[Path]()
    if checkpoints is not None:
        card, folders = checkpoints.card() or card, [checkpoints.folder]
        if not monitor and checkpoints.monitor is not None:
            monitor = f"{checkpoints.monitor}:{checkpoints.mode}"
    own = run_id if run_id is not None else card.run_id or None
    return Run(run_id=own, monitor=monitor or None, folders=folders, after_session=card.session, **options)


class EpochLoop:
    """The epochs of a run: iterate it once, hold it with `with`."""

    unit: ClassVar[Unit] = "epoch"

    def __init__(
        self,
        epochs: Iterable[int],
        run: Run,
        *,
        total: int | None,
        progress: bool,
        model: object = None,
        checkpoints: Checkpoints | None = None,
        keeps_id: bool = False,
    ) -> None:
        self.run = run
        self._keeps_id = keeps_id
        self._epochs = epochs
        self._total = total
        self._shows_bar = progress
        self._model = model
        self._checkpoints = checkpoints
        self._saving: CheckpointDriver | None = None
        self._bar: Bar | None = None
        self._scope: SignalScope | None = None
        self._early = ""
        self._begun = self._iterated = self._exhausted = False
        self._iterator: weakref.ref[Iterator[int]] | None = (
            None  # weak: `break` lets go of the loop's own, which ends it
        )
        run.meter.close(Closed.BEFORE)
        self.log = run.meter.log  # type: ignore[method-assign]  # one call less at every step

    def __reduce__(self) -> Any:
        """Travel as a mute copy, as with a dataset to its workers: it yields the epochs, where they can be copied."""
        epochs = self._epochs if isinstance(self._epochs, Sequence) else ()
        return _copy_of, (epochs, self.run, self._total)

    def __enter__(self) -> EpochLoop:
        self._begin()
        self._scope = SignalScope(self.run, self._put_off)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close_bar()
        if self._saving is not None and self._scope is not None and self._scope.on_purpose(error, self._exhausted):
            self._saving.left_on_purpose()
        self._await_saves()
        if self._scope is not None:
            try:
                self._scope.release(error, exhausted=self._exhausted, early=self._early)
            finally:  # a Ctrl-C may end its wait
                self._stop_saving()
        if error is None and (self._exhausted or self._early):
            self._came_to_its_end()

    def __iter__(self) -> Iterator[int]:
        """The one pass over the epochs: the same iterator until its first epoch is asked for, as bars ask twice."""
        iterator = None if self._iterator is None else self._iterator()
        if iterator is not None and not self._iterated:
            return iterator
        if self._iterated:
            raise UsageError(reader_text("training.loop.iterated_already"))
        self._begin()
        iterator = self._drive()
        self._iterator = weakref.ref(iterator)
        return iterator

    def __len__(self) -> int:
        length = length_of(self._epochs)
        if length is None:
            raise TypeError(reader_text("training.loop.length_unknown"))
        return length

    def __bool__(self) -> bool:
        return True

    @property
    def total(self) -> int | None:
        """Number of epochs of the whole run, as far as it is known."""
        return self.run.progress.total if self._begun and self.run.active else self._total or length_of(self._epochs)

    def log(self, mapping: Mapping[str, Any] | None = None, /, *, n: float = 1.0, **more: Any) -> None:
        """Average values over the epoch, each standing for `n` samples: `log(train_loss=loss)`.

        Takes numbers and tensors or arrays of one element. A CPU tensor is read at once; an accelerator's is added
        up on its device and read when the epoch ends. In the first epoch of a run's first session, UsageError is raised
        when a name's first value is no number; later ones are skipped, counted and said once. What is logged before
        the first epoch or after the run's end belongs to no epoch: it is skipped, and said once.
        """
        self.run.meter.log(mapping, n=n, **more)

    def stop(self, reason: str = "early stop") -> None:
        """End the loop after this epoch, for good: the run is finished early, and `reason` says why.

            if epochs_without_a_new_best > 5:
                epochs.stop("patience")

        With checkpoints, the same cell run again trains nothing more; more epochs than now, or `fresh=True`, do.
        """
        self._early = redacted_line(str(reason), TITLE_CHARS) or "early stop"
        if self._saving is not None:
            self._saving.final = self._early

    def log_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Report a checkpoint that your code has saved, by its path or URL."""
        self.run.log_checkpoint(path, self.run.open_epoch)

    @property
    def tensorboard(self) -> Any:
        """The raw SummaryWriter, for histograms, images and graphs; None where TensorBoard is not in use."""
        return _raw(self.run.tracker("tensorboard", _TENSORBOARD_S))

    @property
    def wandb(self) -> Any:
        """The raw W&B run; None where W&B is not in use."""
        return _raw(self.run.tracker("wandb", _WANDB_S))

    def _begin(self) -> None:
        if self._begun:
            return
        self._begun = True
        if self._checkpoints is None:
            size = None
            if self._model is not None:
                from notifybot.freezing import model_size

                size = model_size(self._model)
            self.run.start(self._epochs, total=self._total, unit=self.unit, resume=ResumeInfo(model=size))
        else:
            self._go_on(self._checkpoints)
        if self._shows_bar and self.run.active:
            with self.run.guard("progress_bar"):
                now = self.run.progress
                self._bar = Bar(self.run.name, total=now.total, done=now.done, unit=self.unit)

    def _go_on(self, checkpoints: Checkpoints) -> None:
        """Restore what was saved, and leave out the epochs that are done."""
        from notifybot.training.checkpointing import CheckpointDriver
        from notifybot.training.restoring import give_trackers_the_missed, open_checkpoints

        run = self.run
        opening = open_checkpoints(run, checkpoints, self._epochs, keeps_id=self._keeps_id)
        total = self._total or length_of(self._epochs)
        resume = opening.resume_in(self._epochs)
        self._epochs = opening.ahead(self._epochs)
        if opening.complete(self._epochs, total):
            key = "training.loop.finished_early" if opening.final else "training.loop.complete"
            log.warning("%s", text(run.config.lang, key, name=run.name, note=opening.final))
            self._epochs = ()
            give_trackers_the_missed(run, opening.resume)
            self._came_to_its_end()
            return
        run.start(self._epochs, total=self._total, unit=self.unit, resume=resume)
        if run.active:
            self._saving = CheckpointDriver(run, checkpoints, opening)
            self._watch_steps()

    def _drive(self) -> Iterator[int]:
        self._iterated = True
        run, saving = self.run, self._saving
        try:
            yield from self._pass()
        except GeneratorExit:
            self._close_bar()
            if saving is not None:
                saving.left()
            if self._scope is None:
                self._await_saves()
                if run.active:
                    ENDINGS.left(_Left(self), sys._getframe(1))
            raise
        except BaseException as error:
            self._close_bar()
            if self._scope is None:
                self._await_saves()
                run.end(ending_of(error, exhausted=False))
                self._stop_saving()
            raise
        self._exhausted = True
        self._close_bar()
        if saving is not None:
            saving.save_epoch()
        if self._scope is None:
            self._await_saves()
            run.end(Ending(Status.FINISHED, note=self._early))
            self._stop_saving()
            self._came_to_its_end()
            run.linger()

    def _pass(self) -> Iterator[int]:
        """Yield each epoch; report and save it when the loop comes round."""
        run, saving = self.run, self._saving
        for epoch in self._epochs:
            run.begin_epoch(epoch)
            if saving is not None:
                saving.epoch_began()
            yield epoch
            label, values = run.open_epoch, run.finish_open_epoch()
            if saving is not None and label is not None:
                saving.epoch_ended(label, values)
            if self._bar is not None:
                with run.guard("progress_bar"):
                    self._bar.advance(values)
            if self._early:
                break

    def _end_left(self, ending: Ending, *, instead: bool) -> None:
        """A bare loop was left, and now it is known how."""
        if self._saving is not None and ending.on_purpose and not instead:
            self._saving.left_on_purpose()
            self._await_saves()
        self.run.end(meant(ending, self._early), instead=instead)

    def _log_and_look(self, mapping: Mapping[str, Any] | None = None, /, *, n: float = 1.0, **more: Any) -> None:
        """Stands in for `log` while something may be due within an epoch."""
        self.run.meter.log(mapping, n=n, **more)
        if self._saving is not None:
            self._saving.stepped()

    def _watch_steps(self) -> None:
        if self._saving is not None and self._saving.looks_at_steps:
            self.log = self._log_and_look  # type: ignore[method-assign]

    def _put_off(self, number: int) -> bool:
        waits = self._saving is not None and self._saving.put_off(number)
        self._watch_steps()
        return waits

    def _await_saves(self) -> None:
        if self._saving is not None:
            self._saving.await_last()

    def _stop_saving(self) -> None:
        if self._saving is not None:
            self._saving.ended()

    def _came_to_its_end(self) -> None:
        if self._checkpoints is not None:
            COMPLETED.add(self._checkpoints.folder, self.run.id)

    def _close_bar(self) -> None:
        bar, self._bar = self._bar, None
        if bar is not None:
            with self.run.guard("progress_bar"):
                bar.close()


class _Left:
    """A bare loop that was left, until it is known how. What is saved then is waited for when the process ends."""

    def __init__(self, loop: EpochLoop) -> None:
        self._loop = loop
        self._pid = os.getpid()
        self._ending = threading.Lock()
        if loop._saving is not None:
            atexit.register(self._wait)  # runs before what is heard of the process's end

    def end(self, ending: Ending, *, instead: bool = False) -> None:
        with self._ending:
            self._loop._end_left(ending, instead=instead)
        atexit.unregister(self._wait)

    def forget_after_fork(self) -> None:
        self._loop.run.forget_after_fork()

    def _wait(self) -> None:
        if os.getpid() == self._pid:
            with self._ending:
                return


def _raw(tracker: object) -> Any:
    return tracker.raw if isinstance(tracker, HasRaw) else None


def _copy_of(epochs: Sequence[int], run: Run, total: int | None) -> EpochLoop:
    """Epochs whose run does nothing: `run` is a copy already, but for a shallow one."""
    loop = EpochLoop(epochs, run.copied(), total=total, progress=False)
    loop._begun = True
    return loop


_SHOWN = 4  # metrics beside the bar
_FORMAT = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"  # as ever, with room for the metrics


class Bar:
    """tqdm's bar, quiet where there is neither a terminal nor a notebook's page."""

    def __init__(self, name: str, *, total: int | None, done: int, unit: Unit = "epoch") -> None:
        self._pid = os.getpid()
        shown = None if sys.stderr is not None else True  # None: where it is a terminal; pythonw has no stream at all
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tqdm does by itself without ipywidgets, and without a thread of its own
            from tqdm.auto import tqdm

            try:
                self._bar: Any = tqdm(
                    total=total, initial=done, desc=name, unit=unit, disable=shown, dynamic_ncols=True,
                    bar_format=_FORMAT if total else None,
                )  # fmt: skip
            except BaseException:
                _give_back_lock(tqdm)
                raise

    def advance(self, metrics: Mapping[str, float], by: int = 1) -> None:
        """One more epoch, or so many steps, with the first few metrics."""
        shown = {name: f"{value:.4g}" for name, value in list(metrics.items())[:_SHOWN]}
        if os.getpid() != self._pid:
            self._bar.disable = True  # in a forked child: the line in the terminal is the parent's
        try:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(by)
        except BaseException:
            _give_back_lock(self._bar)
            raise

    def close(self) -> None:
        """Leave the bar as it stands. Closing twice is fine."""
        if os.getpid() != self._pid:
            self._bar.disable = True
        try:
            self._bar.close()
        except BaseException:
            _give_back_lock(self._bar)
            raise


def _give_back_lock(bar: Any) -> None:
    """Give back tqdm's lock, which its `refresh` keeps when the stream raises: all bars of all threads wait for it."""
    with suppress(AssertionError, RuntimeError, ValueError):  # it was not kept
        bar.get_lock().release()


def _no_epochs(given: object) -> str:
    example = f"range({given})" if type(given) is int else "range(30)"
    return reader_text("training.loop.no_epochs", example=example, given=f"{given!r:.80}")
