"""A small CNN on scikit-learn's handwritten digits, reported by notifybot. Run it again to go on where it stopped.

python examples/train_digits.py --epochs 5
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

try:
    import torch
    from sklearn.datasets import load_digits
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset, random_split
except ModuleNotFoundError as missing:
    sys.exit(f"{missing}: this example needs PyTorch and scikit-learn: pip install -c constraints.txt '.[demo]'")

from notifybot import Checkpoints, notify_epoch


def main() -> None:
    args = arguments()
    torch.manual_seed(0)
    train_set, test_set = digits()
    loader = DataLoader(train_set, batch_size=64, shuffle=True)
    model = cnn()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)

    checkpoints = Checkpoints(args.checkpoints, model=model, optimizer=optimizer, monitor="val_acc", mode="max")

    params = {"lr": args.lr, "epochs": args.epochs}
    with notify_epoch(range(args.epochs), name="digits-cnn", params=params, checkpoints=checkpoints) as epochs:
        for _ in epochs:
            model.train()
            for images, labels in loader:
                loss = nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                epochs.log(train_loss=loss, n=len(labels))
            epochs.log(val_acc=accuracy(model, test_set))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train a small CNN on scikit-learn's digits.")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--checkpoints", type=Path, default=Path("digits-checkpoints"))
    return parser.parse_args()


def digits() -> list[TensorDataset]:
    """The 1,797 images as (training, test) sets, the same split every time."""
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    whole = TensorDataset(inputs, torch.tensor(labels))
    return random_split(whole, [0.8, 0.2], generator=torch.Generator().manual_seed(0))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


@torch.no_grad()
def accuracy(model: nn.Module, test_set: TensorDataset) -> float:
    model.eval()
    images, labels = next(iter(DataLoader(test_set, batch_size=len(test_set))))
    return (model(images).argmax(1) == labels).float().mean().item()


if __name__ == "__main__":
    main()
