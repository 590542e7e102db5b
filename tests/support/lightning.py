"""Lightning as it is tried, under one of its two names in whichever version is installed, and a training of its."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from notifybot.events import EpochFinished, Event, RunEnded
from tests.support.training_runs import end_runs, recorded_events

NAME = os.environ.get("LIGHTNING_TRIED", "lightning.pytorch")  # or pytorch_lightning, which has a Callback of its own


def lightning(part: str = "") -> Any:
    """The package, or a part of it such as ".callbacks"."""
    return importlib.import_module(NAME + part)


def understood(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that this version of a function takes: `weights_only` came with Lightning 2.6."""
    taken = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in taken}


def callbacks() -> Iterator[Callable[..., Any]]:
    """Make callbacks, for a fixture, and close what a test has left open."""
    from notifybot.integrations.lightning import NotifyCallback

    settings = {"wandb": "off", "tensorboard": "off"}
    yield lambda name="line", **options: NotifyCallback(name, config=settings, **options)
    end_runs()


def model(**hooks: Callable[..., Any]) -> Any:
    """A line through points; `hooks` replace or add methods."""
    import torch

    class Line(lightning().LightningModule):  # type: ignore[misc]
        def __init__(self, rate: float = 0.05) -> None:
            super().__init__()
            self.save_hyperparameters()
            torch.manual_seed(0)
            self.line = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            x, y = batch
            loss = torch.nn.functional.mse_loss(self.line(x), y)
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            x, y = batch
            self.log("val_loss", torch.nn.functional.mse_loss(self.line(x), y))

        def test_step(self, batch: Any, index: int) -> None:
            x, y = batch
            self.log("test_loss", torch.nn.functional.mse_loss(self.line(x), y))

        def on_train_epoch_end(self) -> None:
            self.log("late", float(self.current_epoch))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), self.hparams["rate"])

    return type("Model", (Line,), hooks)()


def rows(*, count: int = 16) -> Any:
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    x = torch.linspace(-1, 1, 2 * count).reshape(count, 2)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4)


def trainer(folder: Path, *callbacks: Any, **options: Any) -> Any:
    given = {
        "default_root_dir": folder, "accelerator": "cpu", "devices": 1, "enable_progress_bar": False,
        "enable_model_summary": False, "max_epochs": 4, "callbacks": list(callbacks), "log_every_n_steps": 4,
        "logger": lightning(".loggers").CSVLogger(folder, name="log"),
    }  # fmt: skip
    return lightning().Trainer(**given | options)


def fit(trainer: Any, module: Any = None, **options: Any) -> Any:
    trainer.fit(module or model(), rows(), rows(), **understood(trainer.fit, options))
    return trainer


def saver(folder: Path, **options: Any) -> Any:
    return lightning(".callbacks").ModelCheckpoint(str(folder / "saved"), **options)


def recorded(callback: Any) -> list[Event]:
    assert callback.run.faults == {}
    return recorded_events(callback.run)


def ended(callback: Any) -> RunEnded:
    last = recorded(callback)[-1]
    assert isinstance(last, RunEnded)
    return last


def values(callback: Any, name: str) -> list[tuple[int | None, float]]:
    epochs = [each.progress for each in recorded(callback) if isinstance(each, EpochFinished)]
    return [(each.epoch, each.metrics[name].value) for each in epochs if name in each.metrics]
