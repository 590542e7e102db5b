"""Transfer learning: a frozen backbone from `transformers`, a new head, then the last stage as well.

python examples/transfer_learning.py

There is no download here: a small ResNet is built from a configuration and learns the digits 0 to 4 first. Where a hub
can be reached, `ResNetForImageClassification.from_pretrained("microsoft/resnet-18", num_labels=10)` takes its place.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import ResNetConfig, ResNetForImageClassification

from notifybot import freeze, load_weights, notify_epoch, save_weights, unfreeze


def main() -> None:
    args = arguments()
    torch.manual_seed(0)
    few, all_ten, test_set = digits()

    weights = args.folder / "backbone.safetensors"
    pretrain(few, args.pretrain_epochs, weights)

    model = resnet(classes=10)
    differences = load_weights(model, weights, strict=False)
    print(f"kept its own values: {', '.join(differences.shapes)}")
    size = freeze(model, except_=["classifier"])  # frozen batch-norm layers keep their statistics, too
    print(f"{size.trainable:,} of {size.total:,} parameters learn; frozen: {', '.join(size.frozen)}")

    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    params = {"head_epochs": args.head_epochs, "stage_epochs": args.stage_epochs}
    with notify_epoch(
        range(args.head_epochs + args.stage_epochs), name="digits-transfer", params=params, model=model
    ) as epochs:
        for epoch in epochs:
            if epoch == args.head_epochs:
                last_stage = unfreeze(model, ["resnet.encoder.stages.2"])
                optimizer.add_param_group({"params": last_stage, "lr": 1e-3})
            for loss, count in train(model, optimizer, all_ten):
                epochs.log(train_loss=loss, n=count)
            epochs.log(val_acc=accuracy(model, test_set))
    save_weights(model, args.folder / "digits.safetensors", metadata={"classes": 10})


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Transfer learning on scikit-learn's digits.")
    parser.add_argument("--pretrain-epochs", type=int, default=3)
    parser.add_argument("--head-epochs", type=int, default=2)
    parser.add_argument("--stage-epochs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path("transfer"))
    return parser.parse_args()


def digits() -> tuple[TensorDataset, TensorDataset, TensorDataset]:
    """The images as three sets: 0 to 4 for the backbone, all ten for training, all ten for testing."""
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    inputs, labels = nn.functional.interpolate(inputs, scale_factor=4), torch.tensor(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    first, second, test = order[:700], order[700:1400], order[1400:]
    first = first[labels[first] < 5]
    return tuple(TensorDataset(inputs[part], labels[part]) for part in (first, second, test))


def resnet(classes: int) -> ResNetForImageClassification:
    return ResNetForImageClassification(
        ResNetConfig(
            num_channels=1,
            embedding_size=16,
            hidden_sizes=[16, 32, 64],
            depths=[1, 1, 1],
            layer_type="basic",
            num_labels=classes,
        )
    )


def pretrain(train_set: TensorDataset, epochs: int, weights: Path) -> None:
    """Stand in for the hub: train a backbone on something else and keep its weights."""
    model = resnet(classes=5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(epochs):
        for _ in train(model, optimizer, train_set):
            pass
    save_weights(model, weights)


def train(model, optimizer, train_set):
    """One epoch; yields each batch's loss and size."""
    model.train()
    for images, labels in DataLoader(train_set, batch_size=64, shuffle=True):
        loss = nn.functional.cross_entropy(model(images).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss, len(labels)


@torch.no_grad()
def accuracy(model: nn.Module, test_set: TensorDataset) -> float:
    model.eval()
    images, labels = test_set[:]
    return (model(images).logits.argmax(1) == labels).float().mean().item()


if __name__ == "__main__":
    main()
