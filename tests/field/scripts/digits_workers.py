"""Real digits with two loading processes and augmentation in them, accuracy on held-out pictures."""

import torch
from kit import saves, witness
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset

from notifybot import notify_epoch


class Digits(Dataset):
    def __init__(self, part):
        self.images, self.labels = load_digits(return_X_y=True)
        self.images, self.labels = self.images[part], self.labels[part]

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, i):
        return torch.tensor(self.images[i], dtype=torch.float32) / 16 + torch.randn(64) * 0.01, int(self.labels[i])


def main():
    torch.manual_seed(0)
    train = DataLoader(Digits(slice(0, 256)), batch_size=64, shuffle=True, num_workers=2)
    test = DataLoader(Digits(slice(256, 384)), batch_size=128)
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    kept = saves("digits", model=model, optimizer=optimizer, monitor="val_acc", mode="max")
    with notify_epoch(range(4), name="digits", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            for x, y in train:
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                epochs.log(train_loss=loss)
            with torch.no_grad():
                acc = sum((model(x).argmax(1) == y).float().mean().item() for x, y in test)
            epochs.log(val_acc=acc)
            print(epoch, f"{acc:.4f}")
            witness("digits", epoch, {"val_acc": acc}, model=model, optimizer=optimizer)


if __name__ == "__main__":
    main()
