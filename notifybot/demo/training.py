"""The training that the demo watches: a small convolutional network learns to read handwritten digits, on one CPU core.

It is what a person's own script looks like with notifybot in it: the loop is wrapped, values are logged, and a second
start, on another machine too, resumes from the newest checkpoint.
"""

from __future__ import annotations

import argparse
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from notifybot import Checkpoints, notify_epoch
from notifybot.clock import SYSTEM

NAME = "digits-cnn"
PARAMS: dict[str, float] = {"lr": 0.02, "momentum": 0.8, "batch_size": 32}
_SEED = 7
_HELD_BACK = 0.2


def digits() -> tuple[Any, Any]:
    """The 1,797 images of 8 × 8 pixels that come with scikit-learn, parted into training and validation."""
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16.0
    whole = TensorDataset(images, torch.tensor(bunch.target))
    held_back = round(len(whole) * _HELD_BACK)
    train, val = random_split(whole, [len(whole) - held_back, held_back], torch.Generator().manual_seed(_SEED))
    return train, val


def network() -> Any:
    """Two convolutions and one linear layer: 2,000 weights."""
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def accuracy(model: Any, loader: Any) -> float:
    """The share of images that are read rightly."""
    model.eval()
    with torch.no_grad():
        hits = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    return hits / len(loader.dataset)


def wait_until(moment_s: float) -> None:
    """Let a moment of the monotonic clock come, if it has not passed."""
    SYSTEM.wait(threading.Event(), max(moment_s - SYSTEM.monotonic(), 0.0))


def train(run_id: str, *, epochs: int, epoch_s: float, drive: Path, disk: Path) -> None:
    """Train up to `epochs`. An epoch takes `epoch_s` seconds at least, so that a person can follow it."""
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    train_set, val_set = digits()
    train_loader = DataLoader(train_set, batch_size=int(PARAMS["batch_size"]), shuffle=True)
    val_loader = DataLoader(val_set, batch_size=256)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=PARAMS["lr"], momentum=PARAMS["momentum"])
    checkpoints = Checkpoints(
        drive, local=disk, model=model, optimizer=optimizer, monitor="val_acc", mode="max", keep_last=2
    )
    with notify_epoch(
        range(epochs), name=NAME, run_id=run_id, params=PARAMS, checkpoints=checkpoints, progress=False
    ) as loop:
        for _ in loop:
            began_s = SYSTEM.monotonic()
            model.train()
            for step, (images, labels) in enumerate(train_loader):
                wait_until(began_s + epoch_s * step / len(train_loader))
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(images), labels)
                loss.backward()
                optimizer.step()
                loop.log(train_loss=loss, n=len(labels))
            loop.log(val_acc=accuracy(model, val_loader))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--epoch-s", type=float, default=2.0)
    parser.add_argument("--drive", type=Path, default=Path("drive"))
    parser.add_argument("--disk", type=Path, default=Path("disk"))
    given = parser.parse_args(arguments)
    train(given.run_id, epochs=given.epochs, epoch_s=given.epoch_s, drive=given.drive, disk=given.disk)


if __name__ == "__main__":
    main()
