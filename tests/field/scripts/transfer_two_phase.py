"""Transfer learning in two phases: the head alone first, then everything with a smaller rate; a run and a folder each."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())
        self.fc = nn.Linear(16, 4)

    def forward(self, given):
        return self.fc(self.backbone(given))


def phase(model, name, epochs, optimizer):
    kept = saves(name, model=model, optimizer=optimizer)
    with notify_epoch(range(epochs), name=name, model=model, checkpoints=kept, progress=False) as loop:
        for epoch in loop:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loop.log(train_loss=loss)
            print(name, epoch, f"{loss.item():.6f}")
            witness(name, epoch, {"train_loss": loss.item()}, model=model, optimizer=optimizer)


model = Net()
for p in model.backbone.parameters():
    p.requires_grad = False
phase(model, "head", 3, torch.optim.SGD(model.fc.parameters(), lr=0.1, momentum=0.9))
for p in model.backbone.parameters():
    p.requires_grad = True
phase(model, "all", 3, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9))
