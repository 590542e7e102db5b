"""All that TensorBoard shows beyond curves, through the raw writer of the run that notifybot reports.

python examples/tensorboard_extras.py --epochs 4 --every 2
tensorboard --logdir runs

Give the epoch as the step of whatever you write: a resumed run then shows it once, as it does its curves.
The hyper-parameters need no call: `params` become the run's row on the HParams tab (`writer.add_hparams` would begin a
second event file, and TensorBoard would no longer follow the first one while the training goes on).
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset, random_split
from torch.utils.tensorboard import SummaryWriter

from notifybot import notify_epoch


def main() -> None:
    args = arguments()
    torch.manual_seed(0)
    train_set, test_set = digits()
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 8, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    params = {"epochs": args.epochs, "batch_size": args.batch_size, "learning_rate": args.lr}

    with notify_epoch(range(args.epochs), name="tensorboard-extras", params=params) as epochs:
        writer = epochs.tensorboard
        if writer is None:
            raise SystemExit('TensorBoard is off or not installed: pip install -c constraints.txt ".[tensorboard]"')
        show_the_model(writer, model, train_set)
        for epoch in epochs:
            for images, labels in DataLoader(train_set, batch_size=args.batch_size, shuffle=True):
                output = model(images)
                loss = nn.functional.cross_entropy(output, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                epochs.log({"Loss/train": loss, "Accuracy/train": accuracy(output, labels)}, n=len(labels))
            images, labels = test_set[:]
            with torch.no_grad():
                output = model(images)
            epochs.log({"Loss/test": nn.functional.cross_entropy(output, labels)})
            epochs.log({"Accuracy/test": accuracy(output, labels)})
            if epoch % args.every == 0:
                show_the_weights(writer, model, epoch)
                show_a_surface(writer, images[0, 0], epoch)


def show_the_model(writer: SummaryWriter, model: nn.Module, train_set: Subset) -> None:
    """The graph as it is traced with one image, and a sheet of the images it learns from."""
    images, _ = train_set[:16]
    writer.add_graph(model, images[:1])
    writer.add_images("Images/train", images, 0)


def show_the_weights(writer: SummaryWriter, model: nn.Module, epoch: int) -> None:
    """How weights and the last batch's gradients are spread: what vanishes or explodes shows here first."""
    for name, parameter in model.named_parameters():
        writer.add_histogram(f"Weights/{name}", parameter, epoch)
        if parameter.grad is not None:
            writer.add_histogram(f"Gradients/{name}", parameter.grad, epoch)


def show_a_surface(writer: SummaryWriter, image: torch.Tensor, epoch: int) -> None:
    """A mesh: an image as a landscape, the ink its height."""
    side = len(image)
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    vertices = torch.stack([columns, rows, image * 4], dim=-1).reshape(-1, 3)
    corner = (rows * side + columns)[:-1, :-1].reshape(-1)
    faces = torch.cat(
        [
            torch.stack([corner, corner + 1, corner + side], dim=-1),
            torch.stack([corner + 1, corner + side + 1, corner + side], dim=-1),
        ]
    )
    colors = (image.reshape(-1, 1) * 255).expand(-1, 3).to(torch.uint8)
    writer.add_mesh("Surface/test", vertices[None].float(), colors=colors[None], faces=faces[None], global_step=epoch)


def accuracy(output: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return (output.argmax(1) == labels).float().mean()


def digits() -> list[Subset]:
    """The 1,797 images as (training, test) sets."""
    images, labels = load_digits(return_X_y=True)
    inputs = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    return random_split(TensorDataset(inputs, torch.tensor(labels)), [0.8, 0.2])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Show what TensorBoard can beyond curves.")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--every", type=int, default=2, help="epochs between two histograms of weights and gradients")
    return parser.parse_args()


if __name__ == "__main__":
    main()
