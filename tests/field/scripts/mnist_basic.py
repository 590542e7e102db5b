"""A convolutional network with dropout, Adadelta and StepLR, its arguments from argparse, epochs counted from 1."""

import argparse

import torch
import torch.nn.functional as F
from kit import pictures, saves, witness
from torch import nn
from torch.optim.lr_scheduler import StepLR

from notifybot import notify_epoch


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, 1)
        self.dropout1 = nn.Dropout(0.25)
        self.fc1 = nn.Linear(8 * 9, 4)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return F.log_softmax(self.fc1(self.dropout1(torch.flatten(x, 1))), dim=1)


def train(args, model, loader, optimizer, epoch, epochs):
    model.train()
    losses = []
    for batch_idx, (data, target) in enumerate(loader):
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
        epochs.log({"Loss/train": loss.item()})
        losses.append(loss.item())
        if batch_idx % args.log_interval == 0:
            print(f"Train Epoch: {epoch} [{batch_idx * len(data)}/{len(loader.dataset)}]\tLoss: {loss.item():.6f}")
    return sum(losses) / len(losses)


def test(model, loader):
    model.eval()
    test_loss = correct = 0
    with torch.no_grad():
        for data, target in loader:
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            correct += output.argmax(dim=1).eq(target).sum().item()
    print(
        f"\nTest set: Average loss: {test_loss / len(loader.dataset):.4f}, Accuracy: {correct}/{len(loader.dataset)}\n"
    )
    return test_loss / len(loader.dataset), correct / len(loader.dataset)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1.0)
    parser.add_argument("--gamma", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log-interval", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    images = torch.utils.data.TensorDataset(*pictures())
    train_loader = torch.utils.data.DataLoader(images, batch_size=16, shuffle=True)
    test_loader = torch.utils.data.DataLoader(images, batch_size=48)
    model = Net()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=args.lr)
    scheduler = StepLR(optimizer, step_size=1, gamma=args.gamma)
    kept = saves("mnist", model=model, optimizer=optimizer, scheduler=scheduler, monitor="Loss/test")
    with notify_epoch(range(1, args.epochs + 1), name="mnist", params=args, checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = train(args, model, train_loader, optimizer, epoch, epochs)
            test_loss, accuracy = test(model, test_loader)
            scheduler.step()
            epochs.log({"Loss/test": test_loss, "Accuracy/test": accuracy})
            told = {"Loss/train": loss, "Loss/test": test_loss, "Accuracy/test": accuracy}
            witness("mnist", epoch, told, model=model, optimizer=optimizer, scheduler=scheduler)


if __name__ == "__main__":
    main()
