"""A first training: a small network, plain SGD, test accuracy after each epoch."""

import torch
from kit import blobs, saves, witness
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from notifybot import notify_epoch

torch.manual_seed(0)
train_dataloader = DataLoader(TensorDataset(*blobs(192, seed=0)), batch_size=64)
test_dataloader = DataLoader(TensorDataset(*blobs(64, seed=0)), batch_size=64)


class NeuralNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear_relu_stack = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x):
        return self.linear_relu_stack(x)


model = NeuralNetwork()
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)


def train(epochs):
    model.train()
    total = 0.0
    for batch, (X, y) in enumerate(train_dataloader):
        loss = loss_fn(model(X), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        epochs.log(train_loss=loss)
        total += loss.item()
        if batch % 2 == 0:
            print(f"loss: {loss.item():>7f}  [{(batch + 1) * len(X):>5d}/{len(train_dataloader.dataset):>5d}]")
    return total / len(train_dataloader)


def test():
    model.eval()
    correct = 0.0
    with torch.no_grad():
        for X, y in test_dataloader:
            correct += (model(X).argmax(1) == y).type(torch.float).sum().item()
    return correct / len(test_dataloader.dataset)


checkpoints = saves("quickstart", model=model, optimizer=optimizer)
with notify_epoch(range(5), name="quickstart", checkpoints=checkpoints, progress=False) as epochs:
    for t in epochs:
        print(f"Epoch {t + 1}\n-------------------------------")
        loss = train(epochs)
        accuracy = test()
        epochs.log(val_acc=accuracy)
        witness("quickstart", t, {"train_loss": loss, "val_acc": accuracy}, model=model, optimizer=optimizer)
print("Done!")
