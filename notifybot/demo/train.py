"""The training that the demo watches: a small convolutional network learns to read handwritten digits, on one CPU core.

It is what a person's own script looks like with notifybot in it: the loop is wrapped, values are logged, each
checkpoint is reported, and a second start goes on from the newest one.
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

from notifybot import notify_epoch
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


def newest(folder: Path) -> Path | None:
    """The checkpoint of the latest epoch; None when there is none yet."""
    return max(folder.glob("epoch-*.pt"), default=None)


def save(folder: Path, epoch: int, model: Any, optimizer: Any) -> Path:
    """Write a checkpoint under its final name in one step, so that a kill leaves no half of one behind."""
    path, fresh = folder / f"epoch-{epoch:03d}.pt", folder / "unfinished.tmp"
    torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, fresh)
    return fresh.replace(path)


def restore(path: Path, model: Any, optimizer: Any) -> int:
    """Go back to a checkpoint and return the epoch that comes next."""
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["epoch"]) + 1


def accuracy(model: Any, loader: Any) -> float:
    """The share of images that are read rightly."""
    model.eval()
    with torch.no_grad():
        hits = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in loader)
    return hits / len(loader.dataset)


def wait_until(moment_s: float) -> None:
    """Let a moment of the monotonic clock come, if it has not passed."""
    SYSTEM.wait(threading.Event(), max(moment_s - SYSTEM.monotonic(), 0.0))


def train(run_id: str, *, epochs: int, epoch_s: float, folder: Path) -> None:
    """Train up to `epochs`. An epoch takes `epoch_s` seconds at least, so that a person can follow it."""
    torch.set_num_threads(1)
    torch.manual_seed(_SEED)
    train_set, val_set = digits()
    train_loader = DataLoader(train_set, batch_size=int(PARAMS["batch_size"]), shuffle=True)
    val_loader = DataLoader(val_set, batch_size=256)
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=PARAMS["lr"], momentum=PARAMS["momentum"])
    folder.mkdir(parents=True, exist_ok=True)
    path = newest(folder)
    first = restore(path, model, optimizer) if path else 0
    looped = range(first, epochs)
    with notify_epoch(looped, name=NAME, run_id=run_id, params=PARAMS, total=epochs, progress=False) as loop:
        for epoch in loop:
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
            loop.log_checkpoint(save(folder, epoch, model, optimizer))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--epoch-s", type=float, default=2.0)
    parser.add_argument("--checkpoints", type=Path, default=Path("checkpoints"))
    given = parser.parse_args(arguments)
    train(given.run_id, epochs=given.epochs, epoch_s=given.epoch_s, folder=given.checkpoints)


if __name__ == "__main__":
    main()
