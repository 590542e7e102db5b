"""Loading processes that are spawned and so get the dataset pickled; the dataset holds the loop, to log from it."""

import torch
from kit import blobs, saves, witness
from torch import nn
from torch.utils.data import DataLoader, Dataset

from notifybot import notify_epoch


class Points(Dataset):
    def __init__(self, epochs):
        self.x, self.y = blobs(64)
        self.epochs = epochs

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        self.epochs.log(read=1.0)
        return self.x[i], self.y[i]


def main():
    torch.manual_seed(0)
    model = nn.Linear(16, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    epochs = notify_epoch(
        range(2), name="spawned", checkpoints=saves("spawned", model=model, optimizer=optimizer), progress=False
    )
    loader = DataLoader(
        Points(epochs),
        batch_size=32,
        shuffle=True,
        num_workers=1,
        multiprocessing_context="spawn",
        persistent_workers=True,
    )
    with epochs:
        for epoch in epochs:
            total = 0.0
            for x, y in loader:
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                epochs.log(loss=loss)
                total += loss.item()
            print(epoch, f"{total:.6f}")
            witness("spawned", epoch, {"loss": total / 2}, model=model, optimizer=optimizer)


if __name__ == "__main__":
    main()
