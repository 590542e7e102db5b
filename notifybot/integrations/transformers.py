"""Callback for Hugging Face's Trainer and all that is built on it: TRL, sentence-transformers, unsloth, axolotl, …

    from notifybot.integrations.transformers import NotifyCallback

    trainer = Trainer(model, args, callbacks=[NotifyCallback("exp_1")])

The Trainer fires `on_epoch_end` before it logs, evaluates and saves (`_run_epoch` of transformers/trainer.py), so an
epoch is reported when the next one begins.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from notifybot.checkpoints.errors import Flawed
from notifybot.checkpoints.proof import prove
from notifybot.integrations.guest import Guest, GuestCallback, GuestOptions, hook, raise_missing
from notifybot.integrations.whole import newest_whole, tell_passed_over
from notifybot.rendering.format import number as figure
from notifybot.training.endings import Ending
from notifybot.types import Reason, Status, Unit

try:
    from transformers import EarlyStoppingCallback, TrainerCallback
    from transformers.trainer_callback import ExportableState
except ModuleNotFoundError as missing:
    raise_missing(missing, "transformers", "transformers")


_PARAMS = (
    "learning_rate", "per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps",
    "lr_scheduler_type", "warmup_steps", "warmup_ratio", "weight_decay", "seed", "optim", "bf16", "fp16",
)  # fmt: skip
_SUMMARY = "train_runtime"  # what the Trainer logs after the last step, beside the mean loss of all of them
_WHOLE = 1e-3  # of an epoch
_AT_ONCE, _APART_S = 10, 1.0  # logs that are reported as they come, and then one a second

_newest: weakref.ref[Guest] | None = None


class NotifyCallback(GuestCallback, TrainerCallback, ExportableState):
    """Reports the trainings of a Trainer: `Trainer(…, callbacks=[NotifyCallback("exp_1")])`.

    A run counts epochs where the Trainer evaluates by epochs, or logs by them and never evaluates; else steps. The
    Trainer keeps the run's id in its own checkpoints, so `trainer.train(resume_from_checkpoint=…)` goes on with the
    run. Takes the options of `Guest`.
    """

    def __init__(self, name: str | None = None, *, _again: bool = False, **options: Unpack[GuestOptions]) -> None:
        global _newest
        earlier = _newest() if _again and _newest is not None else None  # the Trainer makes callbacks anew on a restore
        self.guest = earlier or Guest(name, **options)
        self._saved: Mapping[str, str] = {}
        self._unit: Unit = "epoch"
        self._step = self._logged_at = -1
        self._linked = self._hurries = False
        self._due_s = -math.inf
        if not _again:
            _newest = weakref.ref(self.guest)

    def state(self) -> dict[str, Any]:
        """State for the Trainer's own checkpoint.

        It is asked for last, after the evaluation: what is over is recorded first. A kill between the checkpoint and
        `on_save` would leave it out, as the next process goes on beyond it.
        """
        with self.guest.guard("framework_hook", loud=()):
            self.guest.close()
        return {"args": {"_again": True}, "attributes": {"_saved": self.guest.state()}}

    @hook
    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin, or go on with the run of the checkpoint that the Trainer resumes from."""
        # The Trainer's save looks each stateful callback up in the state that it has loaded, which may be older than
        # this callback is: `_save_checkpoint` of transformers/trainer.py would raise KeyError.
        if isinstance(state.stateful_callbacks, dict):
            state.stateful_callbacks.setdefault(type(self).__name__, self.state())
        if self.guest.active and getattr(args, "auto_find_batch_size", False):
            self.guest.inform(self.guest.text("batch_size", size=state.train_batch_size))
            return
        looks = [_word(each) for each in (args.eval_strategy, args.logging_strategy)]  # within an epoch each one counts
        by_epoch = args.max_steps <= 0 and next((each for each in looks if each != "no"), "") == "epoch"
        self._unit = ("epoch" if by_epoch else "step") if self.guest.unit == "auto" else self.guest.unit
        resumed = state.global_step > 0
        epochs = math.ceil(args.num_train_epochs - _WHOLE)
        self._linked, self._hurries, self._step = False, False, state.global_step
        self.guest.begin(
            unit=self._unit, total=epochs if self._unit == "epoch" else state.max_steps,
            first=math.floor((state.epoch or 0) + _WHOLE) if self._unit == "epoch" else state.global_step + 1,
            found=(self._saved or _saved_in(state)) if resumed else None, params=_params(args, kwargs.get("model")),
            monitor=_monitor(args), own_trackers=set(args.report_to or ()) & {"wandb", "tensorboard"},
            reports=bool(state.is_world_process_zero), folder=Path(args.output_dir),
            restored=Path(args.output_dir, f"checkpoint-{state.global_step}") if resumed else None,
        )  # fmt: skip
        tell_passed_over(self.guest, Path(args.output_dir))

    @hook
    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the epoch before."""
        if self._unit == "epoch":
            self.guest.epoch_began(math.floor((state.epoch or 0) + _WHOLE))

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the steps up to here, once all was logged that belongs to them; bare, as it comes for every step."""
        if self.guest.is_over and self._unit != "epoch" and (self._hurries or self._now_s() >= self._due_s):
            self._close_steps()

    @hook
    def _close_steps(self) -> None:
        # An event costs more than a short step: ten logs in a row are each reported, and then one a second.
        now_s = self._now_s()
        self._due_s = min(max(self._due_s, now_s - (_AT_ONCE - 1) * _APART_S), now_s) + _APART_S
        self._hurries = False
        self.guest.close()

    def _now_s(self) -> float:
        return 0.0 if self.guest.run is None else self.guest.run.clock.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The training moves; bare, too."""
        self.guest.moved()

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An evaluation moves, too."""
        self.guest.moved()

    @hook
    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Take what the Trainer logs."""
        logs = dict(logs or {})
        if _SUMMARY in logs or not self.guest.active:
            return
        norm = logs.get("grad_norm")
        if getattr(args, "logging_nan_inf_filter", False) and isinstance(norm, float) and not math.isfinite(norm):
            logs["loss"] = math.nan  # it has put the mean of earlier losses in its place
        if self._unit != "epoch":
            if state.global_step != self._logged_at and not self.guest.pending <= logs.keys():
                self.guest.close()  # what is not logged again belongs to that step, and not to this
            self._logged_at = state.global_step
            self._hurries = self._hurries or any(map(_is_bad, logs.values()))
            self._over(state)
        self.guest.log(logs)
        self._link()

    @hook
    def on_evaluate(
        self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """An evaluation is over; one outside the training is a message by itself."""
        if self.guest.active:
            self.guest.log(metrics or {})
            if self._unit != "epoch":
                self._hurries = True
                self._over(state)
        else:
            self._inform("evaluated", metrics)

    @hook
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Mapping[str, Any], **kwargs: Any) -> None:
        """A prediction is no epoch."""
        self._inform("predicted", metrics)

    @hook
    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """An epoch is over, and its numbers are yet to come. One that was cut short is none, but for the last."""
        if self._unit == "epoch" and (label := _epoch_done(state)) is not None:
            self.guest.epoch_over(label)

    @hook
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report the checkpoint of this step."""
        step = state.global_step
        self._report_saved(_checkpoint(Path(args.output_dir), state, step), step, _epoch_done(state))

    def _report_just_in_time(self, args: Any, state: Any) -> None:
        """Report what was saved at a SIGTERM, past `on_save`: before or after the last step, whichever it was."""
        for step in (state.global_step, state.global_step - 1):
            path = _checkpoint(Path(args.output_dir), state, step)
            if step > self._step and path.is_dir():
                self._report_saved(path, step)
                return

    def _report_saved(self, path: Path, step: int, epoch: int | None = None) -> None:
        """Report a checkpoint of the last epoch that is done; by `save_steps` it comes before that epoch's end."""
        self._step = step
        self.guest.close()
        if epoch is None and self.guest.run is not None:
            epoch = self.guest.run.progress.epoch
        self.guest.checkpoint(str(path), epoch if self._unit == "epoch" else step)

    @hook
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """End the run, by how far the Trainer came and why."""
        if getattr(args, "enable_jit_checkpoint", False):
            self._report_just_in_time(args, state)
        if state.global_step >= state.max_steps:
            self.guest.finish()
        elif (stopping := self._early_stopping()) is not None:
            given = {"metric": args.metric_for_best_model, "number": stopping.early_stopping_patience}
            self.guest.finish(self.guest.text("no_better", **given))
        else:
            self.guest.end(Ending(Status.STOPPED))

    def _over(self, state: Any) -> None:
        self.guest.epoch_over(state.global_step, part=state.epoch)

    def _inform(self, key: str, metrics: Mapping[str, Any] | None) -> None:
        shown = [f"{name} {figure(value)}" for name, value in self.guest.shown(metrics or {}).items()]
        if shown:
            self.guest.inform(self.guest.text(key, metrics=", ".join(shown)))

    def _link(self) -> None:
        """Have messages link to the Trainer's own page at W&B, once it is there."""
        own: Any = getattr(sys.modules.get("wandb"), "run", None)
        if not self._linked and own is not None and self.guest.run is not None and getattr(own, "url", None):
            self._linked = True
            self.guest.run.page(str(own.url))

    def _early_stopping(self) -> Any:
        """The EarlyStoppingCallback that has lost its patience. The Trainer shows no callback the others beside it."""
        beside = [each for holder in gc.get_referrers(self) if isinstance(holder, list) for each in holder]
        stopping = (each for each in beside if isinstance(each, EarlyStoppingCallback))
        tried = (each for each in stopping if each.early_stopping_patience_counter >= each.early_stopping_patience)
        return next(tried, None)


def whole_checkpoint(output_dir: str | os.PathLike[str]) -> str | None:
    """Return the newest `checkpoint-N` that is whole; None where there is none, and the training begins anew.

        trainer.train(resume_from_checkpoint=whole_checkpoint("out"))

    The Trainer itself takes the newest, and raises when it is cut short. Each file is read to its end, nothing is
    unpickled; of a checkpoint above 8 GiB only lengths are looked at. What was passed over is told when the training
    begins. On several ranks each one looks for itself.
    """
    folder = Path(output_dir)
    steps = {path: step for step, path in _numbered(folder)}
    path = newest_whole(folder, steps, lambda path: _check(path, steps[path]))
    return None if path is None else str(path)


_STATE = "trainer_state.json"
_INCOMPLETE = "checkpoint-is-incomplete.txt"  # is there while `enable_jit_checkpoint` saves
_BESIDE = ("optimizer", "scheduler", "rng_state")  # written one after the other, or none with `save_only_model`
_NO_WEIGHTS = (*_BESIDE, "scaler", "training_args")
_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".distcp", ".msgpack", ".h5"})


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Checkpoints of a Trainer, the newest first."""
    try:
        found = [(each.name.removeprefix("checkpoint-"), each) for each in folder.glob("checkpoint-*")]
    except OSError:
        return []
    return sorted([(int(step), path) for step, path in found if step.isdecimal() and path.is_dir()], reverse=True)


def _check(path: Path, step: int) -> None:
    """Raise Flawed, or OSError, unless the Trainer can resume from this checkpoint of its own."""
    if (path / _INCOMPLETE).exists():
        raise Flawed(Reason("incomplete"))
    prove(path)
    names = [each.name for each in path.iterdir()]
    if _STATE not in names:
        raise Flawed(Reason("missing", values={"part": _STATE}))
    there = json.loads((path / _STATE).read_bytes())
    if not isinstance(there, dict) or there.get("global_step") != step:
        raise Flawed(Reason("of_other_step", _STATE))
    weights = [each for each in path.rglob("*") if each.suffix in _WEIGHTS and not each.name.startswith(_NO_WEIGHTS)]
    if not weights:
        raise Flawed(Reason("missing", values={"part": "model.safetensors"}))
    lacking = [part for part in _BESIDE if not any(name.startswith(part) for name in names)]
    if 0 < len(lacking) < len(_BESIDE) and "latest" not in names:  # DeepSpeed keeps its own, and names it in `latest`
        raise Flawed(Reason("missing", values={"part": lacking[0]}))


def _epoch_done(state: Any) -> int | None:
    """Label of the epoch that ends with this step; None within an epoch. The last one may be cut short."""
    epoch = state.epoch or 0
    whole = abs(epoch - round(epoch)) < _WHOLE
    return math.ceil(epoch - _WHOLE) - 1 if whole or state.global_step >= state.max_steps else None


def _is_bad(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _word(strategy: object) -> str:
    return str(getattr(strategy, "value", strategy))


def _saved_in(state: Any) -> Mapping[str, str]:
    """State of ours in a `trainer_state.json`, whether or not the Trainer restores callbacks."""
    kept = (state.stateful_callbacks or {}).get("NotifyCallback")
    kept = kept[0] if isinstance(kept, list) and kept else kept
    saved = kept.get("attributes", {}).get("_saved") if isinstance(kept, dict) else None
    return saved if isinstance(saved, dict) else {}


def _monitor(args: Any) -> str | None:
    name = args.metric_for_best_model
    if not name:
        return None
    name = name if str(name).startswith("eval_") else f"eval_{name}"
    return f"{name}:{'max' if args.greater_is_better else 'min'}"


def _params(args: Any, model: Any) -> dict[str, Any]:
    found = {name: getattr(args, name) for name in _PARAMS if hasattr(args, name)}
    shown = {name: _word(value) for name, value in found.items() if name in ("lr_scheduler_type", "optim")}
    count = getattr(model, "num_parameters", None)
    return found | shown | ({"model_parameters": count()} if callable(count) else {})


def _checkpoint(folder: Path, state: Any, step: int) -> Path:
    """Folder of a step's checkpoint: below that of the trial in a search for hyper-parameters."""
    name = f"checkpoint-{step}"
    if getattr(state, "is_hyper_param_search", False):
        found = sorted(folder.glob(f"run-*/{name}"), key=lambda path: path.stat().st_mtime)
        return found[-1] if found else folder / name
    return folder / name
