"""A W&B sweep whose trials and best parameters are told to people: one line for each trial, one summary.

python examples/wandb_sweep.py --count 6              with an account: `wandb login` first
python examples/wandb_sweep.py --count 6 --offline    without one: the same trials from a loop, recorded on this machine
"""

from __future__ import annotations

import argparse
import random

import numpy as np
import wandb
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

from notifybot import Run
from notifybot.integrations.wandb_sweep import notify_sweep

SWEEP = {
    "method": "random",
    "metric": {"name": "val_acc", "goal": "maximize"},
    "parameters": {
        "learning_rate": {"distribution": "log_uniform_values", "min": 1e-5, "max": 1e-1},
        "penalty": {"values": ["l2", "l1"]},
    },
}
EPOCHS = 5


def main() -> None:
    args = arguments()
    with notify_sweep("digits-sweep", monitor="val_acc", count=args.count) as sweep:
        trial = sweep.trial(train)
        if args.offline:
            for params in local_trials(args.count):
                with wandb.init(project="digits-sweep", mode="offline", config=params):
                    trial()
        else:
            wandb.agent(wandb.sweep(SWEEP, project="digits-sweep"), function=trial, count=args.count)
    if sweep.best is not None:
        print(f"best of {len(sweep.trials)}: val_acc {sweep.best.value:.4f} with {sweep.best.params}")


def train(run: Run) -> None:
    """One trial: W&B has chosen the parameters, and its run is active."""
    x_train, x_val, y_train, y_val = train_test_split(*load_digits(return_X_y=True), random_state=0)
    model = SGDClassifier(
        learning_rate="constant",
        eta0=wandb.config["learning_rate"],
        penalty=wandb.config["penalty"],
        random_state=0,
    )
    for epoch in range(EPOCHS):
        model.partial_fit(x_train / 16, y_train, classes=np.arange(10))
        run.log_epoch(
            epoch, {"train_acc": model.score(x_train / 16, y_train), "val_acc": model.score(x_val / 16, y_val)}
        )


def local_trials(count: int) -> list[dict]:
    """Draw parameters as the sweep would: its server does it otherwise, and learns from the results."""
    draw = random.Random(0)
    return [{"learning_rate": 10 ** draw.uniform(-5, -1), "penalty": draw.choice(["l2", "l1"])} for _ in range(count)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Search for good parameters, and hear of them.")
    parser.add_argument("--count", type=int, default=6, help="number of trials")
    parser.add_argument("--offline", action="store_true", help="without W&B's server")
    return parser.parse_args()


if __name__ == "__main__":
    main()
