"""Callback for Lightning, under its new name and its old one: `Trainer(…, callbacks=[NotifyCallback("exp_1")])`.

    from notifybot.integrations.lightning import NotifyCallback

Lightning calls the callbacks before the model's own `on_train_epoch_end`, and ModelCheckpoint after all others, so an
epoch is reported when the next one begins. `lightning` and `pytorch_lightning` have a `Callback` each, of which a
program uses one: the one that it has imported.
"""

from __future__ import annotations

import logging
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from threading import Event
from typing import Any, Unpack

from notifybot.checkpoints.proof import prove
from notifybot.clock import SYSTEM
from notifybot.errors import reader_text
from notifybot.integrations.guest import Guest, GuestCallback, GuestOptions, hook, raise_missing
from notifybot.integrations.lightning_savers import Savers
from notifybot.integrations.whole import newest_first, newest_whole, tell_passed_over
from notifybot.rendering.format import number as figure
from notifybot.training.endings import Ending
from notifybot.types import Status, Unit

try:
    if "lightning.pytorch" not in sys.modules and "pytorch_lightning" in sys.modules:
        from pytorch_lightning import Callback
    else:
        from lightning.pytorch import Callback
except ModuleNotFoundError as missing:
    if missing.name not in ("lightning", "lightning.pytorch"):
        raise
    try:
        from pytorch_lightning import Callback
    except ModuleNotFoundError:
        raise_missing(missing, __name__, str(missing.name), "lightning")

log = logging.getLogger("notifybot")

_FORKED = re.compile(r"(?P<name>.+)_(?:step|epoch)(?P<loader>/dataloader_idx_\d+)?")
_TRACKERS = {"WandbLogger": "wandb", "TensorBoardLogger": "tensorboard"}
_APART_S = 1.0  # steps that are logged within a second are reported once
_STEPS = 50  # between two reports where the Trainer logs no steps: its own default
_WRITTEN_S = 2.0  # at an exception, for a checkpoint that is being written
_LOOK_S = 0.05
_ABOVE = 2  # folders: `whole_checkpoint` may have been asked for one above that of the checkpoints
_FEW_EPOCHS = 2  # a training of that many at most counts steps, where it has a number of steps


class NotifyCallback(GuestCallback, Callback):  # type: ignore[misc, unused-ignore]
    """Reports the trainings of a Trainer: `Trainer(…, callbacks=[NotifyCallback("exp_1")])`.

    A run counts steps where the Trainer has `max_steps` and no epochs, or two at most; else epochs. Its id is kept in
    every checkpoint of Lightning's, so `fit(ckpt_path=…)` goes on with the run. Takes the options of `Guest`.
    """

    def __init__(self, name: str | None = None, **options: Unpack[GuestOptions]) -> None:
        self.guest = Guest(name, **options)
        self._found: dict[str, Any] = {}
        self._unit: Unit = "epoch"
        self._known: dict[str, Any] = {}  # values of Lightning's, by their names, as they were reported last
        self._savers: Savers | None = None
        self._batches = self._next_step = 0
        self._reported_s = 0.0
        self._begun = self._validated = self._is_set_up = False
        self._ended = Ending(Status.STOPPED)

    # ── State ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state_key(self) -> str:
        """Key of our state in a checkpoint, which other arguments of the constructor do not change."""
        return "notifybot.NotifyCallback"

    def state_dict(self) -> dict[str, Any]:
        """Id of the run and of its session: texts alone, which `weights_only=True` loads.

        Before it has begun it is that of the checkpoint: a search for a learning rate saves and restores within `fit`.
        """
        return dict(self.guest.state() if self._begun else self._found)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the run of the checkpoint from which Lightning resumes."""
        self._found = dict(state_dict)

    # ── Begin ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @hook
    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Prepare for a training; no process has begun yet, and no state is restored."""
        if stage == "fit":
            self._found, self._begun, self._is_set_up = {}, False, True
            # of an exception before; a new list, as Lightning is walking through the old
            trainer.callbacks = [each for each in trainer.callbacks if not isinstance(each, _AfterCheckpoints)]
            self._ended = Ending(Status.STOPPED)

    @hook
    def on_sanity_check_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin before the first validation, so that its failure is told."""
        self._begin(trainer, pl_module)

    @hook
    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin, or take in what only now is known of what is ahead."""
        self._begin(trainer, pl_module)
        if self.guest.run is None or not self._begun:
            return
        unit, total = _ahead(trainer, self.guest.unit)
        self._unit = unit
        self.guest.run.plan(total=total, unit=unit)
        self._known = dict(trainer.callback_metrics)
        self._batches, self._next_step = 0, trainer.global_step + (trainer.log_every_n_steps or _STEPS)
        if unit == "epoch":
            self.guest.epoch_began(_first_epoch(trainer))  # one that is gone on with has no other beginning

    def _begin(self, trainer: Any, module: Any) -> None:
        if self._begun or trainer.fast_dev_run or _is_done(trainer):
            return
        self._begun = True
        found, self._found = self._found, {}
        self._savers = savers = Savers(trainer, SYSTEM)
        self._unit, total = _ahead(trainer, self.guest.unit)
        self.guest.begin(
            total=total, unit=self._unit, found=found, params=_params(trainer, module), monitor=_monitor(trainer),
            first=_first_epoch(trainer) if self._unit == "epoch" else trainer.global_step + 1,
            own_trackers={own for each in trainer.loggers for own in _own_trackers(each)},
            reports=bool(trainer.is_global_zero), saves_in=savers.folders, restored=trainer.ckpt_path,
        )  # fmt: skip
        run = self.guest.run
        if run is not None and run.active:
            self._reported_s = run.clock.monotonic()
            if trainer.ckpt_path and not found and trainer.global_step > 0:  # a search restores the very beginning
                log.warning("%s", reader_text("integrations.guest.resumed_without_run", name=run.name))
            page = next((url for each in trainer.loggers if (url := _page(each))), None)
            if page is not None:
                run.page(page)
            places = savers.folders + ([Path(trainer.ckpt_path).absolute().parent] if trainer.ckpt_path else [])
            for each in dict.fromkeys(above for place in places for above in (place, *place.parents[:_ABOVE])):
                tell_passed_over(self.guest, each)

    # ── Progress ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @hook
    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Report the epoch before: by now everybody has logged and saved."""
        self._close(trainer)
        self._batches = 0
        if self._unit == "epoch" and self._begun:
            self.guest.epoch_began(trainer.current_epoch)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The training moves; for every batch, so it does no more than compare numbers."""
        if self.guest.run is None or not self._begun:
            return
        self.guest.run.meter.steps += 1
        self._batches += 1
        steps = self._unit != "epoch" and trainer.global_step >= self._next_step
        if steps or self._validated or self._has_saved:
            self._batch_ended(trainer, steps)

    @hook
    def _batch_ended(self, trainer: Any, steps: bool) -> None:
        run = self.guest.run
        if run is None or not run.active:
            return
        has_saved = self._savers is not None and self._savers.has_saved
        if self._validated or has_saved or run.clock.monotonic() - self._reported_s >= _APART_S:
            self._close(trainer)
        if steps:
            self._next_step = trainer.global_step + (trainer.log_every_n_steps or _STEPS)
            self._take(trainer)
            self.guest.epoch_over(trainer.global_step, part=_part(trainer))

    def on_validation_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        """A validation moves, too."""
        self.guest.moved()

    @hook
    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """A validation is over: of an epoch, of the steps so far, or one that the program asked for by itself."""
        if trainer.state.fn == "validate":
            self._inform(trainer, "validated")
        elif not trainer.sanity_checking and self._unit != "epoch" and self.guest.active:
            self._take(trainer)
            self.guest.epoch_over(trainer.global_step, part=_part(trainer))
            self._validated = True

    @hook
    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch is over; the model logs and Lightning saves after this. One resumed at its end has no batch."""
        if self._unit == "epoch" and self._batches:
            self.guest.epoch_over(trainer.current_epoch)

    def _take(self, trainer: Any) -> None:
        """Log the values that are new, each under one name: a value of before belongs to what was reported before."""
        now = dict(trainer.callback_metrics)
        fresh = {name: value for name, value in now.items() if value is not self._known.get(name)}
        self._known = now
        self.guest.log(_each_once(fresh, now))

    def _close(self, trainer: Any) -> None:
        """Report what is over, and then what Lightning has saved since the report before."""
        if self.guest.run is None or not self._begun:
            return
        if self.guest.is_over and self._unit == "epoch":
            self._take(trainer)
        self.guest.close()
        self._validated = False
        self._reported_s = self.guest.run.clock.monotonic()
        self._report_saved()

    def _report_saved(self, *, final: bool = False) -> None:
        """Report what is on disk since the report before."""
        if self._savers is None or self.guest.run is None:
            return
        for path, epoch, step in self._savers.newly_saved(self.guest.run.progress.epoch, final=final):
            self.guest.checkpoint(path, epoch if self._unit == "epoch" else step)

    @property
    def _has_saved(self) -> bool:
        """True where there may be something to report: cheap, as it is asked at every batch."""
        return self._savers is not None and (self._savers.has_saved or self._savers.waits)

    # ── End ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    @hook
    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Report the last epoch, or the steps since the last report. The values leave the device after this."""
        self._close(trainer)
        told = 0 if self.guest.run is None else self.guest.run.progress.epoch or 0
        if self._unit != "epoch" and self._begun and told < trainer.global_step:
            self._take(trainer)
            self.guest.epoch_over(trainer.global_step, part=_part(trainer))
            self._close(trainer)

    @hook
    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Judge the end, once everything is saved: the model may have a part of its own to play in it."""
        if self._begun:
            self._report_saved(final=True)
            self._ended = self._ending(trainer)

    @hook
    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """End the run; one that had nothing to do was stopped."""
        if stage == "fit":
            self._is_set_up = False
            if self._begun:
                self.guest.end(self._ended)

    @hook
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Report an epoch that was over. Checkpoints of an exception are saved after this, and then the run ends."""
        if trainer.state.fn == "fit":
            self._close(trainer)
            # Lightning is walking through this list, and calls what is at its end last. In it from the start, it would
            # be one callback more to walk through at every hook of every batch.
            trainer.callbacks.append(_AfterCheckpoints(self))

    def failed(self, trainer: Any, exception: BaseException) -> None:
        """End the run by an exception, once its checkpoints are saved; it may come before the run has begun."""
        terminated = type(exception).__name__ == "SIGTERMException"
        early = self._is_set_up and not self._begun  # else the process that waits for others, which train
        self._is_set_up = False
        if trainer.state.fn == "fit" and early and isinstance(exception, Exception) and not terminated:
            self._begin(trainer, trainer.lightning_module)
        if trainer.state.fn != "fit" or not self._begun:
            return
        self._report_last_saved()
        if terminated:
            self.guest.end(Ending(Status.INTERRUPTED, "SIGTERM"))
        else:
            self.guest.fail(exception)

    def _report_last_saved(self) -> None:
        """Report what an exception had saved. Lightning waits for a thread that writes it, but tells nobody."""
        savers, run = self._savers, self.guest.run
        if savers is None or run is None:
            return
        self._report_saved(final=not savers.writes_later)
        until_s = run.clock.monotonic() + _WRITTEN_S
        while savers.waits and run.clock.monotonic() < until_s:
            run.clock.wait(Event(), _LOOK_S)
            self._report_saved()

    @hook
    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """A test's result is a message by itself."""
        self._inform(trainer, "tested")

    def _inform(self, trainer: Any, key: str) -> None:
        metrics = self.guest.shown(_each_once(trainer.callback_metrics, trainer.callback_metrics))
        if metrics and trainer.is_global_zero:
            shown = ", ".join(f"{name} {figure(value)}" for name, value in metrics.items())
            self.guest.inform(self.guest.text(key, metrics=shown))

    def _ending(self, trainer: Any) -> Ending:
        """Ending by what made the Trainer stop, which no hook of its says."""
        if _is_done(trainer) or not trainer.should_stop:
            trained = trainer.fit_loop.epoch_loop.batch_progress.total.ready > 0
            return Ending(Status.FINISHED if trained else Status.STOPPED)
        for each in trainer.callbacks:
            if hasattr(each, "stopping_threshold") and (ending := self._early(trainer, each)) is not None:
                return ending
        left_s = [each.time_remaining() for each in trainer.callbacks if hasattr(each, "time_remaining")]
        if any(each is not None and each <= 0 for each in left_s):
            return Ending(Status.STOPPED, note=self.guest.text("time_limit"))
        return Ending(Status.STOPPED)

    def _early(self, trainer: Any, stopping: Any) -> Ending | None:
        """Ending by an EarlyStopping; None where it was not this one."""
        name, value = stopping.monitor, trainer.callback_metrics.get(stopping.monitor)
        if value is None:
            return None
        value = float(value)
        if stopping.check_finite and not math.isfinite(value):
            return Ending(Status.FAILED, self.guest.text("not_finite", metric=name))
        sign = 1 if stopping.mode == "max" else -1
        for limit, reached in ((stopping.stopping_threshold, sign), (stopping.divergence_threshold, -sign)):
            if limit is not None and value * reached > float(limit) * reached:
                key, status = ("reached", Status.FINISHED) if reached == sign else ("diverged", Status.STOPPED)
                figures = {"value": figure(value), "limit": figure(float(limit))}
                return Ending(status, note=self.guest.text(key, metric=name, **figures))
        if stopping.wait_count >= stopping.patience:
            return Ending(Status.FINISHED, note=self._no_better(name, stopping))
        return None

    def _no_better(self, name: str, stopping: Any) -> str:
        best = None if self.guest.run is None else self.guest.run.progress.metrics.get(name)
        if best is None or best.best is None or best.best_epoch is None or self._unit != "epoch":
            return self.guest.text("no_better", metric=name, number=stopping.wait_count)
        # With `min_delta` it waits for more than a better value.
        if not math.isclose(best.best, float(stopping.best_score), rel_tol=1e-6):
            return self.guest.text("no_better", metric=name, number=stopping.wait_count)
        known = {"metric": name, "epoch": best.best_epoch, "best": figure(best.best)}
        return self.guest.text("not_improved", by=type(stopping).__name__, **known)


class _AfterCheckpoints(Callback):  # type: ignore[misc, unused-ignore]
    """Last of all callbacks: what is saved on an exception is saved before it."""

    def __init__(self, first: NotifyCallback) -> None:
        self.first = first
        self.guest = first.guest

    @hook
    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.first.failed(trainer, exception)


# ── What Lightning shows ─────────────────────────────────────────────────────────────────────────────────────────────


def whole_checkpoint(folder: str | os.PathLike[str]) -> str | None:
    """Return the newest `.ckpt` below a folder that is whole; None where there is none, and the training begins anew.

        trainer.fit(model, ckpt_path=whole_checkpoint("checkpoints"))

    Lightning itself raises where the one that it is given is cut short. Each is read to its end, nothing is unpickled;
    of one above 8 GiB only the length is looked at. What was passed over is told when the training begins.
    """
    path = newest_whole(Path(folder), newest_first(Path(folder), "*.ckpt"), prove)
    return None if path is None else str(path)


def _ahead(trainer: Any, wanted: str) -> tuple[Unit, int | None]:
    """Unit of the run, and how many of it are ahead in all. The batches of an epoch are not known before its start."""
    epochs, steps = trainer.max_epochs or -1, trainer.max_steps
    batches = trainer.num_training_batches
    needed = -1
    if steps > 0 and math.isfinite(batches) and batches > 0:
        needed = math.ceil(steps / max(math.ceil(batches / trainer.accumulate_grad_batches), 1))
    has_loader = getattr(trainer.fit_loop, "_combined_loader", None) is not None
    endless = epochs < 0 and (steps > 0 or (has_loader and math.isinf(batches)))
    if wanted == "step" or (wanted == "auto" and (endless or 0 < needed <= _FEW_EPOCHS)):
        return "step", steps if steps > 0 else None
    known = [each for each in (epochs, needed) if each > 0]
    return "epoch", min(known) if known else None


def _is_done(trainer: Any) -> bool:
    """True where the Trainer has reached its number of epochs or steps."""
    epochs, steps = trainer.max_epochs or -1, trainer.max_steps
    processed = trainer.fit_loop.epoch_progress.current.processed
    return bool(0 < epochs <= processed or 0 < steps <= trainer.global_step)


def _first_epoch(trainer: Any) -> int:
    """Label of the first epoch that is trained. A checkpoint of a validation may stand at the end of its epoch."""
    processed = int(trainer.fit_loop.epoch_progress.current.processed)
    whole = trainer.fit_loop.restarting and trainer.is_last_batch and trainer.global_step > 0
    return processed + bool(whole and processed == trainer.current_epoch)


def _part(trainer: Any) -> float | None:
    """Epochs that the steps so far are."""
    batches = trainer.num_training_batches
    if not math.isfinite(batches) or batches <= 0:
        return None
    begun = trainer.fit_loop.epoch_progress.current.ready  # after the last batch an epoch counts as processed
    return float(begun - 1 + trainer.fit_loop.epoch_loop.batch_progress.current.ready / batches)


def _each_once(fresh: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """Values under one name each: Lightning has three of what is logged by step and by epoch, x, x_step and x_epoch.

    x is the step's within an epoch, and the epoch's at its end.
    """
    names = set(known)
    return {name: value for name, value in fresh.items() if _plain(name) not in names}


def _plain(name: str) -> str | None:
    parts = _FORKED.fullmatch(name)
    return None if parts is None else parts["name"] + (parts["loader"] or "")


def _params(trainer: Any, module: Any) -> dict[str, Any]:
    """Hyper-parameters of the model and the data module, as far as they are kept for loggers.

    LightningCLI adds some for itself, with names that begin with "_".
    """
    holders = [each for each in (trainer.datamodule, module) if getattr(each, "_log_hyperparams", False)]
    found = ((str(name), value) for each in holders for name, value in dict(each.hparams).items())
    return {name: value for name, value in found if not name.startswith("_")}


def _monitor(trainer: Any) -> str | None:
    """Metric by which Lightning saves or stops, in its direction."""
    for each in (*trainer.checkpoint_callbacks, *trainer.callbacks):
        if isinstance(name := getattr(each, "monitor", None), str) and getattr(each, "mode", "") in ("min", "max"):
            return f"{name}:{each.mode}"
    return None


def _own_trackers(logger: Any) -> Iterator[str]:
    """Trackers of ours that a logger of the Trainer's makes needless."""
    for kind in type(logger).__mro__:
        if kind.__name__ in _TRACKERS:
            yield _TRACKERS[kind.__name__]


def _page(logger: Any) -> str | None:
    """Page of a logger's experiment, where it has one: at W&B, at Comet."""
    url = getattr(getattr(logger, "experiment", None), "url", None)
    return url if isinstance(url, str) and url.startswith("http") else None
