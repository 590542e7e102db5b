"""Keras 3, on any backend: `model.fit(..., callbacks=[NotifyCallback("digits")])`."""

from __future__ import annotations

import contextlib
import glob
import json
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Unpack

from notifybot.errors import reader_text
from notifybot.files import write_atomically
from notifybot.integrations.guest import FileWatch, Guest, GuestCallback, GuestOptions, hook, raise_missing
from notifybot.rendering.format import number as figure

try:
    import keras
except ModuleNotFoundError as error:
    raise_missing(error, __name__, "keras")
if keras.__version__.startswith("2."):  # as TensorFlow 2.15 and earlier bring it
    _WORDS = {"integration": __name__, "module": "Keras 3", "package": "keras>=3"}
    raise ImportError(reader_text("integrations.guest.framework_is_missing", **_WORDS))

CARD = "notifybot-run.json"
_DIGITS = 6  # a learning rate is a 32-bit number: 0.0010000000475


class NotifyCallback(GuestCallback, keras.callbacks.Callback):
    """Report a training by `fit` as a run: its epochs, what ModelCheckpoint saves, and how it ended.

    `folder` keeps the run's key and a copy of it, so that a `fit` with `initial_epoch=` goes on with the same run, in
    another process and on another machine; without it BackupAndRestore's folder keeps the key. Nothing is raised into
    the training. Raises ConfigError and UsageError. Takes the options of `Guest`.
    """

    async_safe = True  # else Keras would wait for the device at every batch, for our sake (keras CallbackList)

    def __init__(
        self, name: str | None = None, *, folder: str | os.PathLike[str] | None = None, **options: Unpack[GuestOptions]
    ) -> None:
        super().__init__()
        self.guest = Guest(name, **options)
        self.folder = None if folder is None else Path(folder)
        self._others: list[Any] = []
        self._total: int | None = None
        self._begins = False
        self._last: Mapping[str, Any] = {}
        self._epoch: int | None = None
        self._saved: list[FileWatch] = []

    # ── Training ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @hook
    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Take in what is ahead. The run begins with the first epoch, whose number nobody knows before it."""
        self._others = _callbacks_beside_us()
        self._total = (self.params or {}).get("epochs")
        self._begins = True

    @hook
    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Begin the run, or report the epoch before: by now everybody has had its end, and has saved."""
        if self._begins:
            self._begins = False
            self._begin(epoch)
        self._report_saved()
        self.guest.epoch_began(epoch)

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Move; bare, as it comes for every batch."""
        self.guest.moved()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Move: a long validation is no stall."""
        self.guest.moved()

    @hook
    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Take the epoch's numbers, which History gets too."""
        self._epoch, self._last = epoch, dict(logs or {})
        self.guest.log(self._last)
        self.guest.epoch_over(epoch)

    @hook
    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """End the run by what stopped the training, if anything did."""
        if self._begins:  # there was no epoch left to do, and so no run
            return
        self._report_saved()
        stopped, loss = bool(self.model.stop_training), self._last.get("loss")
        if stopped and isinstance(loss, float) and not math.isfinite(loss):
            self.guest.fail(None, else_text=self.guest.text("not_finite", metric="loss"))
        elif stopped and self._epoch is not None and self._total is not None and self._epoch + 1 < self._total:
            self.guest.finish(self._why_early())
        else:
            self.guest.finish()

    @hook
    def on_test_end(self, logs: Mapping[str, Any] | None = None) -> None:
        """Tell of `model.evaluate(..., callbacks=[notify])` after the training; a validation in it is its epoch's."""
        if not self.guest.active:
            shown = [f"{name} {figure(value)}" for name, value in self.guest.shown(logs or {}).items()]
            self.guest.inform(self.guest.text("evaluated", metrics=", ".join(shown)))

    # ── Begin ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin(self, first: int) -> None:
        params: Mapping[str, Any] = {}
        with self.guest.guard("framework_settings", loud=()):
            params = self._settings()
        card = self._card()
        kept = {} if card is None else _read(card)
        found = (kept or self.guest.state()) if first > 0 else {}
        self._epoch, self._last = None, {}
        self.guest.begin(
            total=self._total, first=first, counts_from=0, found=found, params=params, monitor=_monitor(self._others),
            reports=_is_first_process(), folder=None if self.folder in self._backups() else self.folder,
            restored=self._backup() if first > 0 else None,
        )  # fmt: skip
        if card is not None and self.guest.active:
            with self.guest.guard("run_key", loud=()):
                card.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(card, json.dumps(self.guest.state()).encode())
        if self.guest.run is not None and self._backups():
            self.guest.run.note_kept("backup")
        saving = [each for each in self._others if isinstance(each, keras.callbacks.ModelCheckpoint)]
        self._saved = [FileWatch(partial(_matching, each)) for each in saving]

    def _card(self) -> Path | None:
        """The file that keeps the run's key: in the folder that was given, else where Keras has its own."""
        folder = self.folder or next(iter(self._backups()), None)
        return None if folder is None else folder / CARD

    def _backups(self) -> list[Path]:
        """The folders that BackupAndRestore deletes at the end, and in which no thread of ours may write then."""
        backups = [each.backup_dir for each in self._others if isinstance(each, keras.callbacks.BackupAndRestore)]
        return [Path(each) for each in backups if "://" not in str(each)]

    def _backup(self) -> str | None:
        """The file of BackupAndRestore, from which Keras has restored the weights."""
        backups = (each for each in self._others if isinstance(each, keras.callbacks.BackupAndRestore))
        return next((str(each._weights_path) for each in backups if hasattr(each, "_weights_path")), None)

    def _settings(self) -> Mapping[str, Any]:
        """Settings that the model was compiled with, and its size."""
        model, optimizer = self.model, self.model.optimizer
        config = _plain(optimizer.get_config())
        config = {name: value for name, value in config.items() if value is not None and value is not False}
        if not config.get("use_ema"):
            config = {name: value for name, value in config.items() if not name.startswith("ema_")}
        return {
            "optimizer": re.sub(r"_\d+$", "", config.pop("name", type(optimizer).__name__)),  # its second is "adam_1"
            **config,
            "loss": _names(model.loss),
            "parameters": model.count_params() if model.built else None,
            "steps_per_epoch": (self.params or {}).get("steps"),
        }

    # ── Checkpoints and the end ──────────────────────────────────────────────────────────────────────────────────────

    def _report_saved(self) -> None:
        """Report what ModelCheckpoint saved in the epoch that is over: the newest file of each, if it is a new one."""
        if self._epoch is None or not self.guest.reports_checkpoints:
            return
        for watch in self._saved:
            if (path := watch.newest()) is not None:
                self.guest.checkpoint(path, self._epoch)

    def _why_early(self) -> str:
        """Which EarlyStopping it was, and by which metric; or only that somebody stopped."""
        for each in self._others:
            if isinstance(each, keras.callbacks.EarlyStopping) and each.stopped_epoch and each.best is not None:
                best = figure(float(each.best))
                words = {"by": type(each).__name__, "metric": each.monitor, "best": best, "epoch": each.best_epoch}
                return self.guest.text("not_improved", **words)
        return self.guest.text("stopped_early")


def _callbacks_beside_us() -> list[Any]:
    """All callbacks of this training: the CallbackList that is calling us holds them, and shows them to nobody."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, keras.callbacks.CallbackList):
            return list(caller.callbacks)
        frame = frame.f_back
    return []


def _monitor(callbacks: Iterable[Any]) -> str | None:
    """The metric by which Keras itself chooses: that of the best checkpoint, else that which stops early."""
    chosen = [each for each in callbacks if getattr(each, "save_best_only", False)]
    chosen += [each for each in callbacks if isinstance(each, keras.callbacks.EarlyStopping)]
    for each in chosen:
        return f"{each.monitor}:{each.mode}" if each.mode in ("min", "max") else str(each.monitor)
    return None


def _is_first_process() -> bool:
    """False on the other hosts of a JAX program, which no variable of the environment shows; ranks are seen anyhow."""
    jax: Any = sys.modules.get("jax")
    return keras.backend.backend() != "jax" or jax is None or jax.process_index() == 0


def _matching(checkpoint: Any) -> list[str]:
    """The files that a ModelCheckpoint's path may stand for; it keeps to itself which one it wrote."""
    parts = re.split(r"\{[^}]*\}", str(checkpoint.filepath))
    return glob.glob("*".join(map(glob.escape, parts)))


def _read(card: Path) -> dict[str, str]:
    """The run's key; empty where none is, or no whole one."""
    with contextlib.suppress(OSError, ValueError):
        state = json.loads(card.read_text("utf-8"))
        if isinstance(state, dict) and all(isinstance(state.get(key), str) for key in ("run_id", "session")):
            return {key: state[key] for key in ("run_id", "session")}
    return {}


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """An object's configuration by its arguments alone, those within it too (a schedule of learning rates)."""
    if "class_name" in config and isinstance(config.get("config"), Mapping):
        config = {**config["config"], "name": config["class_name"]}
    plain = {name: _plain(value) if isinstance(value, Mapping) else value for name, value in config.items()}
    return {name: _rounded(value) if isinstance(value, float) else value for name, value in plain.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _names(loss: Any) -> Any:
    """A loss by its name: a text, a function, an object, or several of them for as many outputs."""
    if isinstance(loss, Mapping):
        return {name: _names(each) for name, each in loss.items()}
    if isinstance(loss, list | tuple):
        return ", ".join(str(_names(each)) for each in loss)
    return (
        loss if loss is None or isinstance(loss, str) else getattr(loss, "name", getattr(loss, "__name__", str(loss)))
    )
