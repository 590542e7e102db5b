"""Reporting of an Ultralytics training: its epochs as `results.csv` has them, its weights, and how it ended.

Ultralytics itself is not imported: its model, and later its trainer, are handed to us.
"""

from __future__ import annotations

import json
import os
import pickletools
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from notifybot.checkpoints.proof import prove
from notifybot.config import Config, load
from notifybot.files import write_atomically
from notifybot.integrations.guest import Guest, GuestCallback, GuestOptions, as_number, hook
from notifybot.integrations.whole import newest_whole, tell_passed_over
from notifybot.redaction import names_secret
from notifybot.rendering.format import number as figure
from notifybot.runtime import rank

CARD = "notifybot-run.json"  # in the training's own folder, which a resumed training has again
_PARAMS = (
    "task", "epochs", "time", "batch", "imgsz", "patience", "optimizer", "lr0", "lrf", "momentum", "weight_decay",
    "warmup_epochs", "cos_lr", "close_mosaic", "seed", "device", "amp", "freeze", "fraction", "dropout",
)  # fmt: skip
_FILES = ("model", "data")  # of these the name alone
_TRACKERS = {"tensorboard": "tensorboard", "wb": "wandb"}  # their modules in ultralytics/utils/callbacks
_PLAIN = (bool, int, float, str, Path)


def add_to(model: Any, name: str | None = None, **options: Unpack[GuestOptions]) -> NotifyCallbacks:
    """Add our callbacks to an Ultralytics model, such as YOLO, or to a trainer.

        model = YOLO("yolo11n.pt")
        add_to(model, "digits")
        model.train(data="coco8.yaml", epochs=30)

    Takes the options of `Guest`. What is returned may be held with `with`; it need not be. Raises ConfigError and
    UsageError.
    """
    callbacks = NotifyCallbacks(name, **options)
    for event in _EVENTS:
        model.add_callback(event, partial(call, callbacks, event))
    return callbacks


def call(callbacks: NotifyCallbacks, event: str, trainer: Any) -> None:
    """Call the callback for an event. Importable by its name: so it reaches the processes of several GPUs."""
    getattr(callbacks, event)(trainer)


class NotifyCallbacks(GuestCallback):
    """Callbacks that `add_to` adds, one for each event of Ultralytics' trainer.

    For training on several GPUs Ultralytics writes them to a file, and starts processes that read it: neither secrets
    nor notifiers travel. The processes read their settings anew, from the environment and `notifybot.toml`.
    """

    def __init__(self, name: str | None = None, **options: Unpack[GuestOptions]) -> None:
        self.guest = Guest(name, **options)
        self._name, self._options = name, options
        self._forget()

    def _forget(self) -> None:
        self._open: int | None = None  # label of the epoch that the trainer is in
        self._metrics: Any = None  # those of the last validation, so that none is told twice

    def __getstate__(self) -> dict[str, Any]:
        config = self._options.get("config")
        given = config.model_dump(exclude_unset=True) if isinstance(config, Config) else dict(config or {})
        settings = {key: each for key, each in given.items() if isinstance(each, _PLAIN) and not _is_secret(key)}
        kept = {key: each for key, each in self._options.items() if key not in ("config", "notifiers")}
        return {"name": self._name, "options": kept, "settings": settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        options: Any = state["options"] | {"config": load(state["settings"])}
        self.guest = Guest(state["name"], **options)
        self._name, self._options = state["name"], options
        self._forget()

    # ── Training ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @hook
    def on_train_start(self, trainer: Any) -> None:
        """Begin the run, once the trainer has restored its state, or go on with the one of its folder."""
        folder = Path(trainer.save_dir)
        found = _card(folder) if trainer.start_epoch > 0 else {}
        self._forget()
        self._metrics = trainer.metrics  # zeros, until there has been a validation
        self.guest.begin(
            total=None if trainer.args.time else trainer.epochs,  # by time it reckons its epochs after each one
            first=trainer.start_epoch + 1, counts_from=1, found=found, folder=folder,
            params=_params(trainer.args), monitor="fitness:max", own_trackers=_own_trackers(trainer),
            reports=rank() == 0, restored=_restored(trainer),
        )  # fmt: skip
        if self.guest.active:
            with self.guest.guard("run_file", loud=()):
                write_atomically(folder / CARD, json.dumps(self.guest.state()).encode())
            tell_passed_over(self.guest, folder)
            run = getattr(sys.modules.get("wandb"), "run", None)
            if run is not None and self.guest.run is not None and getattr(run, "url", None):
                self.guest.run.page(run.url)

    @hook
    def on_train_epoch_start(self, trainer: Any) -> None:
        """Report the epoch before, and open this one: for the second time where Ultralytics recovers from a NaN."""
        self._open = trainer.epoch + 1
        self.guest.epoch_began(self._open)

    def on_train_batch_end(self, trainer: Any) -> None:
        """Move; bare, as it comes for every batch."""
        self.guest.moved()

    @hook
    def on_model_save(self, trainer: Any) -> None:
        """Report the weights, and their epoch before them: Ultralytics saves before it says that it is over."""
        self._epoch_over(trainer)
        label = trainer.epoch + 1
        self.guest.checkpoint(str(trainer.last), label)
        if trainer.best_fitness is not None and trainer.best_fitness == trainer.fitness:
            self.guest.checkpoint(str(trainer.best), label)
        kept = trainer.last.parent / f"epoch{trainer.epoch}.pt"
        if trainer.save_period > 0 and trainer.epoch % trainer.save_period == 0 and kept.exists():
            self.guest.checkpoint(str(kept), label)

    @hook
    def on_fit_epoch_end(self, trainer: Any) -> None:
        """Take an epoch's numbers. After the last one it comes once more, with those of the best weights."""
        if self._open == trainer.epoch + 1:
            self._epoch_over(trainer)
            self._open = None
        elif trainer.metrics is not self._metrics:
            self._metrics = trainer.metrics
            shown = [f"{name} {figure(value)}" for name, value in self.guest.shown(trainer.metrics or {}).items()]
            self.guest.close()
            self.guest.inform(self.guest.text("evaluated", metrics=", ".join(shown)))

    def _epoch_over(self, trainer: Any) -> None:
        run = self.guest.run
        if run is None or run.open_epoch != trainer.epoch + 1:  # told when its weights were saved
            return
        if trainer.metrics is not self._metrics:  # there was a validation
            self._metrics = trainer.metrics
            self.guest.log({"fitness": trainer.fitness})  # a message has room for the first ones
            self.guest.log(trainer.metrics or {})
        if trainer.tloss is not None:
            self.guest.log(trainer.label_loss_items(trainer.tloss, prefix="train"))
        self.guest.log(getattr(trainer, "lr", None) or {})
        self.guest.epoch_over(trainer.epoch + 1)
        if trainer.args.time and trainer.epoch > trainer.start_epoch:
            run.plan(total=trainer.epochs)

    @hook
    def on_train_end(self, trainer: Any) -> None:
        """End the run by what stopped the training, if anything did."""
        done = trainer.epoch + 1
        for path in (trainer.last, trainer.best):  # written anew without the optimizer, and these are kept
            if path.exists():
                self.guest.prove(str(path), done)
        self.guest.finish("" if done >= trainer.epochs else self._why_early(trainer, done))

    def _why_early(self, trainer: Any, done: int) -> str:
        stopper = getattr(trainer, "stopper", None)
        if stopper is not None and done - stopper.best_epoch >= stopper.patience:
            best = as_number(stopper.best_fitness)
            words = {"metric": "fitness", "epoch": stopper.best_epoch, "best": "" if best is None else figure(best)}
            return self.guest.text("not_improved", by="EarlyStopping", **words)
        return self.guest.text("time_limit" if trainer.args.time else "stopped_early")

    @hook
    def teardown(self, trainer: Any) -> None:
        """Training is over, by an exception unless `on_train_end` came before: this is called as it passes by."""
        run = self.guest.run
        if run is None or not (run.active or run.mute):
            return
        error = sys.exc_info()[1]
        if error is None and run.mute:  # of other ranks `on_train_end` is not called
            self.guest.finish()
        else:
            self.guest.fail(error, else_text=self.guest.text("caught"))


def whole_checkpoint(save_dir: str | os.PathLike[str]) -> str | None:
    """Return the newest weights of a training that are whole; None where there are none, and it begins anew.

        model = YOLO(whole_checkpoint("runs/detect/train") or "yolo11n.pt")

    `last.pt` is written anew with each epoch, so a machine that vanishes may leave it cut short: then the newest of
    `best.pt` and `epoch*.pt` takes its place. Each file is read to its end, nothing is unpickled; of one above 8 GiB
    only the length is looked at. What was passed over is told when the training goes on.
    """
    folder = Path(save_dir)
    path = newest_whole(folder, _newest_first(folder / "weights"), prove)
    return None if path is None else str(path)


def _newest_first(folder: Path) -> Iterator[Path]:
    last = folder / "last.pt"
    if last.exists():
        yield last
    others = [path for path in (folder / "best.pt", *folder.glob("epoch*.pt")) if path.exists()]
    yield from sorted(others, key=_epoch_in, reverse=True)


def _epoch_in(path: Path) -> int:
    """Epoch that weights are of, read without unpickling them; -1 where it is not found, or the training is over."""
    if path.stem.removeprefix("epoch").isdecimal():
        return int(path.stem.removeprefix("epoch"))
    with suppress(OSError, ValueError, zipfile.BadZipFile, LookupError), zipfile.ZipFile(path) as archive:
        name = next((each for each in archive.namelist() if each.endswith("data.pkl")), "")
        after = False
        for code, value, _ in pickletools.genops(archive.read(name)):
            if after and isinstance(value, int) and "INT" in code.name:
                return value
            after = value == "epoch" or (after and "PUT" in code.name) or (after and code.name == "MEMOIZE")
    return -1


_EVENTS = (
    "on_train_start", "on_train_epoch_start", "on_train_batch_end", "on_model_save", "on_fit_epoch_end", "on_train_end",
    "teardown",
)  # fmt: skip


def _is_secret(key: str) -> bool:
    """True for a setting that may be a secret; its type says so, or its name."""
    field = Config.model_fields.get(key)
    return names_secret(key) or field is None or "Secret" in str(field.annotation)


def _restored(trainer: Any) -> str | None:
    """The file that the trainer resumed from: `check_resume` of ultralytics/engine/trainer.py leaves its path there."""
    resume = getattr(trainer.args, "resume", None)
    return resume if trainer.start_epoch > 0 and isinstance(resume, str) else None


def _card(folder: Path) -> dict[str, str]:
    with suppress(OSError, ValueError, AttributeError):
        known = json.loads((folder / CARD).read_text("utf-8"))
        return {key: each for key, each in known.items() if isinstance(each, str)}
    return {}


def _params(args: Any) -> Mapping[str, Any]:
    """The settings that people choose, of some hundred; no paths, which may lead anywhere."""
    given = vars(args)
    files = {name: Path(str(given[name])).name for name in _FILES if given.get(name)}
    return files | {name: given[name] for name in _PARAMS if given.get(name) is not None}


def _own_trackers(trainer: Any) -> Iterable[str]:
    """The trackers that Ultralytics writes to itself, by the callbacks that it has added."""
    functions = (each for some in trainer.callbacks.values() for each in some)
    modules = {str(getattr(each, "__module__", "")).rpartition(".") for each in functions}
    return {_TRACKERS[name] for home, _, name in modules if name in _TRACKERS and home.startswith("ultralytics")}
