"""One training of nothing for each framework, with a callback of somebody's: the children of `benchmarks.callbacks`.

A step computes next to nothing, so what is left is the framework's own overhead and the callback's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from statistics import median
from typing import Any

EVERY = 50  # steps between two logged ones, where the framework has such a setting: Lightning's default
NAMES = ("bare", "again", "idle", "csv", "bar", "wandb", "ours")

Train = Callable[[str], None]


@dataclass
class Steps:
    """Clock of a training: each step ticks as it begins, and the first and the last one of an epoch are timed."""

    of_epoch: int
    epochs: int
    count: int = 0
    firsts: list[tuple[float, float]] = field(default_factory=list)  # wall and this thread's CPU, in seconds
    lasts: list[tuple[float, float]] = field(default_factory=list)

    @property
    def all(self) -> int:
        """Number of steps of the whole training."""
        return self.of_epoch * self.epochs

    def tick(self) -> None:
        """A step begins."""
        place = self.count % self.of_epoch
        self.count += 1
        if place == 0:
            self.firsts.append((time.perf_counter(), time.thread_time()))
        elif place == self.of_epoch - 1:
            self.lasts.append((time.perf_counter(), time.thread_time()))

    def begin(self) -> None:
        """Another training begins."""
        self.count, self.firsts, self.lasts = 0, [], []

    def costs(self) -> dict[str, float]:
        """Cost of a step, µs of CPU in the quietest epoch and on the wall, and of an epoch's end, ms; medians.

        The first epoch is left out. All have as many logs, so the quietest is the one that neighbours disturbed least.
        """
        pairs = list(zip(self.firsts, self.lasts, strict=True))[1:]
        steps = self.of_epoch - 1
        ends = zip(self.lasts[1:], self.firsts[2:], strict=False)
        return {
            "cpu_us": min((last[1] - first[1]) / steps * 1e6 for first, last in pairs),
            "wall_us": median((last[0] - first[0]) / steps * 1e6 for first, last in pairs),
            "end_ms": median([(first[0] - last[0]) * 1e3 for last, first in ends]),
        }


def lightning(steps: Steps) -> Train:
    """Lightning's Trainer: CSVLogger, WandbLogger, both at every 50th step, and the model logs at each."""
    import logging
    import warnings

    import lightning.pytorch as pl
    import torch
    from lightning.pytorch.loggers import CSVLogger, WandbLogger

    from notifybot.integrations.lightning import NotifyCallback

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Model(pl.LightningModule):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, index: int) -> Any:
            steps.tick()
            loss = self.layer(batch).sum()
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    batches = torch.utils.data.DataLoader(torch.zeros(steps.of_epoch, 1), batch_size=None)

    def train(name: str) -> None:
        logger: Any = False
        if name == "csv":
            logger = CSVLogger("csv")
        elif name == "wandb":
            logger = WandbLogger(project="callbacks")
        callbacks = {"ours": lambda: [NotifyCallback("lightning")], "idle": lambda: [pl.Callback()]}.get(name, list)()
        trainer = pl.Trainer(
            max_epochs=steps.epochs, accelerator="cpu", logger=logger, log_every_n_steps=EVERY, callbacks=callbacks,
            enable_progress_bar=name == "bar", enable_checkpointing=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(Model(), batches)
        if name == "wandb":
            _finish_wandb()

    return train


def transformers(steps: Steps) -> Train:
    """Hugging Face's Trainer. It has no CSV logger; TensorBoardCallback is the one that writes numbers to a file."""
    import torch
    from transformers import Trainer, TrainingArguments
    from transformers.integrations import TensorBoardCallback

    from notifybot.integrations.transformers import NotifyCallback

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def forward(self, x: Any) -> Any:
            raise NotImplementedError  # no step comes so far

    class Nothing(Trainer):
        loss = torch.tensor(0.5)

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            steps.tick()
            return self.loss

    samples = [{"x": torch.zeros(1)}] * steps.of_epoch

    def train(name: str) -> None:
        callbacks: list[Any] = [TensorBoardCallback()] if name == "csv" else []
        if name == "ours":
            callbacks = [NotifyCallback("transformers")]
        args = TrainingArguments(
            output_dir="transformers", num_train_epochs=steps.epochs, per_device_train_batch_size=1, max_grad_norm=0.0,
            logging_steps=EVERY, save_strategy="no", report_to="wandb" if name == "wandb" else "none",
            disable_tqdm=name != "bar", use_cpu=True, remove_unused_columns=False, log_level="error",
        )  # fmt: skip
        Nothing(Model(), args, train_dataset=samples, callbacks=callbacks).train()
        if name == "wandb":
            _finish_wandb()

    return train


def keras(steps: Steps) -> Train:
    """Keras' fit. CSVLogger and WandbMetricsLogger have a line for an epoch and nothing for a step, as by default."""
    import os

    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras as framework
    import numpy as np

    from notifybot.integrations.keras import NotifyCallback

    class Model(framework.Model):  # type: ignore[misc, unused-ignore]
        def train_step(self, *args: Any, **kwargs: Any) -> dict[str, float]:
            steps.tick()
            return {"loss": 0.5}

        def call(self, x: Any) -> Any:
            return x

    numbers = np.zeros((steps.of_epoch, 1), "float32")

    def train(name: str) -> None:
        callbacks: list[Any] = []
        if name == "csv":
            callbacks = [framework.callbacks.CSVLogger("keras.csv")]
        elif name == "wandb":
            import wandb
            from wandb.integration.keras import WandbMetricsLogger

            wandb.init(project="callbacks")
            callbacks = [WandbMetricsLogger()]
        elif name == "ours":
            callbacks = [NotifyCallback("keras")]
        model = Model()
        model.compile(loss="mse", optimizer="sgd")
        model.fit(
            numbers, numbers, batch_size=1, epochs=steps.epochs, callbacks=callbacks, verbose=1 if name == "bar" else 0
        )
        if name == "wandb":
            _finish_wandb()

    return train


def ignite(steps: Steps) -> Train:
    """Ignite's Engine. It has no CSV logger; TensorboardLogger writes to a file, here at every 50th iteration."""
    from ignite.engine import Engine, Events
    from ignite.handlers import ProgressBar, TensorboardLogger, WandBLogger

    from notifybot.integrations.ignite import NotifyHandler

    def step(engine: Any, batch: Any) -> float:
        steps.tick()
        return 0.5

    def train(name: str) -> None:
        trainer = Engine(step)
        logger: Any = None
        if name == "csv":
            logger = TensorboardLogger(log_dir="ignite")
        elif name == "wandb":
            logger = WandBLogger(project="callbacks")
        elif name == "bar":
            ProgressBar().attach(trainer)
        elif name == "ours":
            NotifyHandler("ignite").attach(trainer)
        if logger is not None:
            logger.attach_output_handler(
                trainer, Events.ITERATION_COMPLETED(every=EVERY), tag="training",
                output_transform=lambda loss: {"loss": loss},
            )  # fmt: skip
        trainer.run([0] * steps.of_epoch, max_epochs=steps.epochs)
        if logger is not None:
            logger.close()
        if name == "wandb":
            _finish_wandb()

    return train


def xgboost(steps: Steps) -> Train:
    """XGBoost's rounds. EvaluationMonitor, which `verbose_eval` stands for, prints a line for each."""
    import numpy as np
    import xgboost as framework

    from notifybot.integrations.boosting import notify_rounds

    class Tick(framework.callback.TrainingCallback):  # type: ignore[misc, unused-ignore]
        def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
            steps.tick()
            return False

    numbers = np.arange(32.0).reshape(-1, 1)
    data = framework.DMatrix(numbers, numbers[:, 0])
    params = {"max_depth": 1, "nthread": 1, "eta": 1e-3}

    def train(name: str) -> None:
        callbacks: list[Any] = [Tick()]
        if name == "wandb":
            import wandb
            from wandb.integration.xgboost import WandbCallback

            wandb.init(project="callbacks")
            callbacks.append(WandbCallback(log_feature_importance=False))
        elif name == "ours":
            callbacks.append(notify_rounds("xgboost"))
        framework.train(
            params, data, steps.all, evals=[(data, "val")], callbacks=callbacks, verbose_eval=1 if name == "csv" else 0
        )
        if name == "wandb":
            _finish_wandb()

    return train


def lightgbm(steps: Steps) -> Train:
    """LightGBM's rounds. `log_evaluation` prints a line for each."""
    import lightgbm as framework
    import numpy as np

    from notifybot.integrations.boosting import notify_rounds

    def tick(env: Any) -> None:
        steps.tick()

    tick.before_iteration = True  # type: ignore[attr-defined]
    numbers = np.arange(64.0).reshape(-1, 1)
    params = {"num_leaves": 2, "min_data_in_leaf": 1, "num_threads": 1, "verbosity": -1, "learning_rate": 1e-3,
              "metric": "l2"}  # fmt: skip

    def train(name: str) -> None:
        callbacks: list[Any] = [tick]
        if name == "csv":
            callbacks.append(framework.log_evaluation(1))
        elif name == "wandb":
            import wandb
            from wandb.integration.lightgbm import wandb_callback

            wandb.init(project="callbacks")
            callbacks.append(wandb_callback())
        elif name == "ours":
            callbacks.append(notify_rounds("lightgbm"))
        data = framework.Dataset(numbers, numbers[:, 0])
        framework.train(params, data, steps.all, valid_sets=[data], valid_names=["val"], callbacks=callbacks)
        if name == "wandb":
            _finish_wandb()

    return train


def optuna(steps: Steps) -> Train:
    """Optuna's trials. It prints a line for each by default; a CSV is made of the whole study, at its end."""
    import optuna as framework

    from notifybot.integrations.optuna import notify_study

    def objective(trial: Any) -> float:
        steps.tick()
        return float(trial.suggest_float("x", 0.0, 1.0))

    def train(name: str) -> None:
        levels = framework.logging
        levels.set_verbosity(levels.INFO if name == "csv" else levels.WARNING)
        study = framework.create_study(sampler=framework.samplers.RandomSampler(seed=0))
        if name == "ours":
            with notify_study("optuna", count=steps.all) as notes:
                study.optimize(objective, n_trials=steps.all, callbacks=[notes])
        else:
            study.optimize(objective, n_trials=steps.all)

    return train


def _finish_wandb() -> None:
    import wandb

    with suppress(Exception):
        wandb.finish()
