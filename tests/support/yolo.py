"""YOLO of a few lines that calls for Ultralytics' events in its order, and has at each what its trainer has.

Compared event by event with ultralytics 8.4.190 (BaseTrainer in ultralytics/engine/trainer.py), whose order 8.3.0 has
too but for `teardown`, which came after a training that ended by itself alone. The real package wants torchvision;
`test_ultralytics_package.py` tries it where it is installed. How it reaches several processes is in its utils/dist.py.
"""

from __future__ import annotations

import csv
import math
import os
import pickle
import zipfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

Callbacks = dict[str, list[Callable[[Any], object]]]
DEFAULTS: Mapping[str, Any] = {
    "epochs": 3, "imgsz": 640, "lr0": 0.01, "data": "/data/secret/coco8.yaml", "time": None, "save": True, "val": True,
    "project": "runs", "name": "train", "resume": False, "patience": 100, "save_period": -1,
}  # fmt: skip


class YOLO:
    """Model: it keeps the callbacks, and hands them to a trainer for each training."""

    def __init__(self, model: str | Path = "yolo11n.yaml", **plan: Any) -> None:
        self.path, self.plan = Path(model), plan
        self.ckpt: dict[str, Any] = read_weights(self.path) if self.path.suffix == ".pt" else {}
        self.callbacks: Callbacks = defaultdict(list)

    def add_callback(self, event: str, function: Callable[[Any], object]) -> None:
        self.callbacks[event].append(function)

    def train(self, **options: Any) -> Trainer:
        """Train; `fitness` and such of `plan` stand for what a real one would find."""
        start_epoch = 0
        if options.get("resume"):
            if self.ckpt["epoch"] < 0:
                raise AssertionError(f"{self.path} training is finished, nothing to resume")
            options = {**self.ckpt["train_args"], "resume": str(self.path), "model": str(self.path)}
            start_epoch = self.ckpt["epoch"] + 1
        args = {**DEFAULTS, "model": str(self.path), **options}
        trainer = Trainer(args, {event: some.copy() for event, some in self.callbacks.items()}, **self.plan)
        if start_epoch:
            trainer.start_epoch, trainer.best_fitness = start_epoch, self.ckpt["best_fitness"]
            vars(trainer.stopper).update(self.ckpt["stopper"])
        trainer.train()
        return trainer


def read_weights(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        content: dict[str, Any] = pickle.loads(archive.read("archive/data.pkl"))
    return content


def write_weights(path: Path, content: Mapping[str, Any]) -> None:
    """PyTorch's format, as far as anybody looks at it who unpickles nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(dict(content), protocol=2))
        archive.writestr("archive/data/0", b"w" * 1000)


class Trainer:
    """BaseTrainer's loop. `fitness` is that of each epoch's validation."""

    def __init__(
        self,
        args: Mapping[str, Any],
        callbacks: Callbacks,
        *,
        fitness: tuple[float, ...] = (0.1, 0.5, 0.25),
        fails_in: int | None = None,
        error: type[BaseException] = ValueError,
        nan_in: int | None = None,
        epochs_by_time: tuple[int, ...] = (),
    ) -> None:
        self.args, self.callbacks = SimpleNamespace(**args), callbacks
        self.save_dir = Path(self.args.project) / self.args.name
        self.last, self.best = self.save_dir / "weights" / "last.pt", self.save_dir / "weights" / "best.pt"
        self.csv = self.save_dir / "results.csv"
        self.save_dir.mkdir(parents=True, exist_ok=True)
        if self.csv.exists() and not self.args.resume:
            self.csv.unlink()
        self.save_period = self.args.save_period
        self.epochs, self.start_epoch = self.args.epochs, 0
        names = ("precision", "recall", "mAP50", "mAP50-95")
        self._first = int(os.environ.get("RANK", "-1")) in (-1, 0)
        zeros: dict[str, float] | None = {f"metrics/{name}(B)": 0 for name in names} if self._first else None
        self.metrics = zeros
        self.fitness: float | None = None
        self.best_fitness: float | None = None
        self.tloss: dict[str, float] | None = None
        self.stop = False
        self.stopper = SimpleNamespace(
            patience=self.args.patience or math.inf, best_epoch=0, best_fitness=0.0, possible_stop=False
        )
        self.rows: list[dict[str, float]] = []  # of results.csv
        self.seen: list[str] = []
        self._fitness, self._fails_in, self._error, self._nan_in = fitness, fails_in, error, nan_in
        self._epochs_by_time = list(epochs_by_time)

    def run_callbacks(self, event: str) -> None:
        self.seen.append(event)
        for callback in self.callbacks.get(event, []):
            callback(self)

    def label_loss_items(self, items: Mapping[str, float] | None = None, prefix: str = "train") -> Any:
        if items is None:
            return [f"{prefix}/box_loss"]
        return {f"{prefix}/{name}": round(float(value), 5) for name, value in items.items()}

    def train(self) -> None:
        try:
            self._do_train()
        finally:
            self.run_callbacks("teardown")

    def _do_train(self) -> None:
        self.run_callbacks("on_pretrain_routine_end")
        self.run_callbacks("on_train_start")
        epoch = self.start_epoch
        while True:
            self.epoch = epoch  # there is none before
            self.run_callbacks("on_train_epoch_start")
            self._batches(epoch)
            self.lr = {"lr/pg0": 0.01}  # there is none before
            self.run_callbacks("on_train_epoch_end")
            final = epoch + 1 >= self.epochs
            if self.args.val or final or self.stopper.possible_stop or self.stop:
                self._validate(epoch)
            if epoch == self._nan_in:
                self._nan_in = None
                continue  # recovered from last.pt: the epoch is done once more
            self.stop |= final
            if self._first:
                self._save_metrics()
                self.stop |= self._stops(epoch + 1)
                if self.args.save or final:
                    self._save_model()
                    self.run_callbacks("on_model_save")
            if self.args.time:
                self.epochs = self._epochs_by_time.pop(0)
                self.stop |= epoch >= self.epochs or not self._epochs_by_time
            self.run_callbacks("on_fit_epoch_end")
            if self.stop:
                break
            epoch += 1
        self._final_eval()
        if self._first:
            self.run_callbacks("on_train_end")

    def _batches(self, epoch: int) -> None:
        self.tloss = None
        for batch in range(2):
            self.run_callbacks("on_train_batch_start")
            if batch == 0 and self.metrics is not None:
                self.metrics.setdefault("val/box_loss", 0.0)  # the criterion's names are known from now on
            self.tloss = {"box_loss": (2 - batch) / (epoch + 1)}
            if epoch == self._fails_in:
                raise self._error("bad batch")
            self.run_callbacks("on_train_batch_end")

    def _validate(self, epoch: int) -> None:
        self.run_callbacks("on_val_start")
        self.run_callbacks("on_val_end")
        if not self._first:
            return
        self.fitness = self._fitness[epoch % len(self._fitness)]
        zeros = {"metrics/precision(B)": 0.0, "metrics/recall(B)": 0.0}
        found = {"metrics/mAP50(B)": self.fitness, "metrics/mAP50-95(B)": self.fitness / 2}
        self.metrics = {**zeros, **found, "val/box_loss": 2 / (epoch + 1)}
        if self.best_fitness is None or self.best_fitness < self.fitness:
            self.best_fitness = self.fitness

    def _save_metrics(self) -> None:
        assert self.tloss is not None
        assert self.metrics is not None
        row = {**self.label_loss_items(self.tloss), **self.metrics, **self.lr}
        new = not self.csv.exists()
        with self.csv.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["epoch", "time", *row])
            writer.writerow([self.epoch + 1, 1.0, *row.values()])
        self.rows.append(row)

    def _stops(self, epoch: int) -> bool:
        if self.fitness is None:
            return False
        stopper = self.stopper
        if self.fitness > stopper.best_fitness or stopper.best_fitness == 0:
            stopper.best_fitness, stopper.best_epoch = self.fitness, epoch
        behind = epoch - stopper.best_epoch
        stopper.possible_stop = behind >= stopper.patience - 1
        return bool(behind >= stopper.patience)

    def _save_model(self) -> None:
        content = {
            "epoch": self.epoch, "best_fitness": self.best_fitness, "train_args": vars(self.args), "optimizer": {},
            "stopper": {"best_fitness": self.stopper.best_fitness, "best_epoch": self.stopper.best_epoch},
        }  # fmt: skip
        write_weights(self.last, content)
        if self.best_fitness == self.fitness:
            write_weights(self.best, content)
        if self.save_period > 0 and self.epoch % self.save_period == 0:
            write_weights(self.last.with_name(f"epoch{self.epoch}.pt"), content)

    def _final_eval(self) -> None:
        for path in (self.last, self.best):
            if path.exists():  # the optimizer is taken out
                write_weights(path, read_weights(path) | {"epoch": -1, "optimizer": None})
        if not self.best.exists():
            return
        self.run_callbacks("on_val_start")
        self.run_callbacks("on_val_end")
        self.metrics = {"metrics/mAP50(B)": 0.75, "metrics/mAP50-95(B)": 0.5}  # without losses
        self.epoch += 1
        self.run_callbacks("on_fit_epoch_end")
        self.epoch -= 1
