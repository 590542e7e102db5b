"""PyTorch-Ignite: `NotifyHandler("mnist").attach(trainer, evaluators={"val": evaluator}, checkpoint=checkpoint)`."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, Self, Unpack

from notifybot.checkpoints.proof import prove
from notifybot.integrations.guest import FileWatch, Guest, GuestCallback, GuestOptions, hook, raise_missing
from notifybot.integrations.whole import newest_first, newest_whole, tell_passed_over
from notifybot.rendering.format import number as figure
from notifybot.training.endings import Ending
from notifybot.training.metrics import Meter
from notifybot.types import Status

try:
    import ignite.distributed
    from ignite.engine import Events
    from ignite.handlers import DiskSaver, EarlyStopping, TerminateOnNan, TimeLimit
except ModuleNotFoundError as missing:
    raise_missing(missing, "notifybot.integrations.ignite", "ignite", "pytorch-ignite")

OUTPUT = "train_loss"  # the name of a number that the trainer's step returns


class NotifyHandler(GuestCallback):
    """Reports the trainings of a trainer: its metrics and its evaluators', its checkpoints, and how they ended.

    A run counts epochs, or iterations where `max_iters` is what ends it. Saved with the model
    (`to_save={"model": model, "notifybot": handler}`), it goes on with its run. Takes the options of `Guest`.
    """

    def __init__(self, name: str | None = None, **options: Unpack[GuestOptions]) -> None:
        self.guest = Guest(name, **options)
        self._found: Mapping[str, str] = {}
        self._begins = False
        self._outputs = Meter()
        self._outputs.loud = False
        self._evaluators: dict[str, Any] = {}
        self._checkpoints: tuple[Any, ...] = ()
        self._saved: list[FileWatch] = []
        self._label = 0  # of what was over last
        self._due = False  # to be reported
        self._known: Mapping[str, Any] = {}

    def attach(
        self, trainer: Any, evaluators: Mapping[str, Any] | None = None, checkpoint: Any | Iterable[Any] = ()
    ) -> Self:
        """Listen to the trainer and to its evaluators, whose metrics get their names as prefix: `val_accuracy`.

        `checkpoint` is one or several of Ignite's `Checkpoint` handlers. The order of handlers does not matter.
        """
        self._evaluators = dict(evaluators or {})
        self._checkpoints = tuple(checkpoint) if isinstance(checkpoint, list | tuple) else (checkpoint,)
        on: Callable[..., Any] = trainer.add_event_handler
        on(Events.STARTED, self._on_started)
        on(Events.EPOCH_STARTED, self._on_epoch_started)
        on(Events.ITERATION_COMPLETED, self._on_iteration)
        on(Events.EPOCH_COMPLETED, self._on_epoch_completed)
        on(Events.TERMINATE, self._on_terminated)
        on(Events.COMPLETED, self._on_completed)
        if Events.EXCEPTION_RAISED not in trainer._event_handlers:  # with any handler there, Ignite raises no more
            on(Events.EXCEPTION_RAISED, self._on_exception)
        for tag, evaluator in self._evaluators.items():
            evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._on_evaluation_moved)
            evaluator.add_event_handler(Events.COMPLETED, partial(self._on_evaluated, tag, trainer))
        return self

    def state_dict(self) -> dict[str, str]:
        """Key of the run, for Ignite's `Checkpoint`."""
        return self.guest.state()

    def load_state_dict(self, state_dict: Mapping[str, str]) -> None:
        """Go on with the run of this state, if the trainer goes on too."""
        self._found = dict(state_dict)

    # ── The trainer's events ─────────────────────────────────────────────────────────────────────────────────────────

    @hook
    def _on_started(self, trainer: Any) -> None:
        self._begins = True

    @hook
    def _on_epoch_started(self, trainer: Any) -> None:
        if self._begins:
            self._begins = False
            self._begin(trainer)
        self._close(trainer)
        if not self._by_iterations(trainer):
            self.guest.epoch_began(trainer.state.epoch)

    def _on_iteration(self, trainer: Any) -> None:
        """Take what the step returned; bare, as it comes for every batch. Nothing waits for an accelerator."""
        self.guest.moved()
        if self._due and self._by_iterations(trainer):
            self._close_step(trainer)
        output = trainer.state.output
        if isinstance(output, Mapping):
            self._outputs.log({str(name): value for name, value in output.items() if _is_number(value)})
        elif _is_number(output):
            self._outputs.log({OUTPUT: output})

    @hook
    def _close_step(self, trainer: Any) -> None:
        """Report an evaluation between two epochs, once the trainer is beyond it."""
        if trainer.state.iteration > self._label:
            self._close(trainer)

    @hook
    def _on_epoch_completed(self, trainer: Any) -> None:
        self._over(trainer)

    @hook
    def _on_terminated(self, trainer: Any) -> None:
        if trainer.should_terminate == "skip_completed":
            self._end(trainer)

    @hook
    def _on_completed(self, trainer: Any) -> None:
        self._end(trainer)

    def _on_exception(self, trainer: Any, error: BaseException) -> None:
        """End the run by an exception that leaves the trainer. Where others handle it, it may not be the end."""
        if len(trainer._event_handlers[Events.EXCEPTION_RAISED]) > 1:
            return
        with self.guest.guard("framework_hook", loud=()):
            self._close(trainer)
            self.guest.fail(error)
        raise error

    # ── An evaluator's events ────────────────────────────────────────────────────────────────────────────────────────

    def _on_evaluation_moved(self, evaluator: Any) -> None:
        self.guest.moved()

    @hook
    def _on_evaluated(self, tag: str, trainer: Any, evaluator: Any) -> None:
        """Take its metrics, for the epoch that is open or was last; after the training they are a message."""
        metrics = {f"{tag}_{name}": value for name, value in evaluator.state.metrics.items()}
        if self.guest.active:
            if self._by_iterations(trainer):
                self._over(trainer)
            self.guest.log(metrics)
            return
        shown = [f"{name} {figure(value)}" for name, value in self.guest.shown(metrics).items()]
        if shown:
            self.guest.inform(self.guest.text("evaluated", metrics=", ".join(shown)))

    # ── Begin, report, end ───────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, trainer: Any) -> None:
        state = trainer.state
        steps = self._by_iterations(trainer)
        goes_on = state.iteration > 0
        self._outputs.read()
        self._label, self._due, self._known = 0, False, {}
        self.guest.begin(
            total=_all_iterations(state) if steps else state.max_epochs, unit="step" if steps else "epoch",
            first=state.iteration + 1 if steps else state.epoch, counts_from=1,
            found=(self._found or self.guest.state()) if goes_on else {}, params=_settings(state),
            reports=ignite.distributed.get_rank() == 0, folder=self._folder(),
        )  # fmt: skip
        self._found = {}
        for each in self._checkpoints:
            if isinstance(each.save_handler, DiskSaver):
                tell_passed_over(self.guest, Path(each.save_handler.dirname))
        self._saved = [FileWatch(partial(_files_of, each)) for each in self._checkpoints]

    def _folder(self) -> Path | None:
        """The folder of a `Checkpoint` that saves this handler, too: there is room for a copy of the run beside it."""
        for each in self._checkpoints:
            if any(saved is self for saved in each.to_save.values()) and isinstance(each.save_handler, DiskSaver):
                return Path(each.save_handler.dirname)
        return None

    def _by_iterations(self, trainer: Any) -> bool:
        unit = self.guest.unit
        return unit == "step" or (unit == "auto" and getattr(trainer.state, "max_iters", None) is not None)

    def _over(self, trainer: Any) -> None:
        """An epoch is over, or as many iterations as there were; it is reported once everybody had its turn."""
        state, steps = trainer.state, self._by_iterations(trainer)
        label = state.iteration if steps else state.epoch
        if label != self._label:
            if self._due:
                self._close(trainer)
            self._label, self._due = label, True
            self.guest.epoch_over(label, part=_part(state) if steps else None)

    def _close(self, trainer: Any) -> None:
        """Report what is over with the numbers of now, and what was saved since."""
        if self._due:
            self._due = False
            metrics = dict(trainer.state.metrics)
            fresh = {name: value for name, value in metrics.items() if self._known.get(name) is not value}
            self._known = metrics
            outputs = self._outputs.read()
            if any("loss" in name for name in metrics):
                outputs.pop(OUTPUT, None)
            self.guest.log({name: value for name, value in outputs.items() if name not in metrics})
            self.guest.log(fresh)
            self.guest.close()
        for watch in self._saved if self.guest.reports_checkpoints else ():
            if (path := watch.newest()) is not None:
                self.guest.checkpoint(path, self._label or None)

    def _end(self, trainer: Any) -> None:
        if self._begins:  # there was nothing left to do, and so no run
            return
        if self._by_iterations(trainer):
            self._over(trainer)
        self._close(trainer)
        state = trainer.state
        planned = _all_iterations(state)
        if not trainer.should_terminate or (planned is not None and state.iteration >= planned):
            self.guest.finish()
        else:
            self.guest.end(self._why_terminated(trainer))

    def _why_terminated(self, trainer: Any) -> Ending:
        """Judge by the handlers that terminate a trainer; another one, or the program, has stopped it."""
        handlers = [each for engine in (trainer, *self._evaluators.values()) for each in _handlers_of(engine)]
        for each in handlers:
            if isinstance(each, TerminateOnNan) and _has_bad_number(each._output_transform(trainer.state.output)):
                return Ending(Status.FAILED, self.guest.text("not_finite", metric="output"))
            if isinstance(each, EarlyStopping) and each.counter >= each.patience and each.best_score is not None:
                words = {"by": type(each).__name__, "number": each.counter, "best": figure(float(each.best_score))}
                return Ending(Status.FINISHED, note=self.guest.text("no_better_score", **words))
            if isinstance(each, TimeLimit) and self._now_s() - each.start_time > each.limit_sec:
                return Ending(Status.STOPPED, note=self.guest.text("time_limit"))
        return Ending(Status.STOPPED)

    def _now_s(self) -> float:
        return 0.0 if self.guest.run is None else self.guest.run.clock.now().timestamp()


def whole_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """Return the newest `.pt` below a folder that is whole; None where there is none, and the training begins anew.

        if newest := whole_checkpoint("exp_1"):
            Checkpoint.load_objects(to_save, torch.load(newest, weights_only=True))

    Each is read to its end, nothing is unpickled; of one above 8 GiB only the length is looked at. What was passed over
    is told when the training begins.
    """
    path = newest_whole(Path(folder), newest_first(Path(folder), "*.pt"), prove)
    return None if path is None else str(path)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (getattr(value, "ndim", None) == 0 and hasattr(value, "is_cpu"))


def _files_of(checkpoint: Any) -> list[str]:
    """The files that a `Checkpoint` keeps, which its state names. What it sends elsewhere has no place on this disk."""
    if not isinstance(checkpoint.save_handler, DiskSaver):
        return []
    return [str(Path(checkpoint.save_handler.dirname) / name) for _, name in checkpoint.state_dict()["_saved"]]


def _handlers_of(engine: Any) -> list[Any]:
    """Handlers of an engine, which shows them to nobody; those of `Events.X(every=2)` are wrapped."""
    entries = (entry for entries in engine._event_handlers.values() for entry in entries)
    return [getattr(entry[0], "__wrapped__", entry[0]) for entry in entries]


def _settings(state: Any) -> dict[str, Any]:
    return {"epoch_length": state.epoch_length, "batch_size": getattr(state.dataloader, "batch_size", None)}


def _all_iterations(state: Any) -> int | None:
    """Number of iterations of the whole training, where it is known."""
    most: int | None = getattr(state, "max_iters", None)  # Ignite 0.4 has none
    if most is None and state.epoch_length and state.max_epochs:
        most = state.epoch_length * state.max_epochs
    return most


def _has_bad_number(value: Any) -> bool:
    """True where a NaN or an infinite number is in what a step returned."""
    if isinstance(value, Mapping):
        return any(map(_has_bad_number, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_bad_number, value))
    if isinstance(value, Real):
        return not math.isfinite(value)
    return hasattr(value, "isfinite") and not bool(value.isfinite().all())


def _part(state: Any) -> float | None:
    return state.iteration / state.epoch_length if state.epoch_length else None
