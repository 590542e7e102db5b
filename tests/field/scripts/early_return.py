"""A `fit` function that returns as soon as the target is reached, saving every third epoch."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


def fit(model, optimizer, x, y, target):
    kept = saves("target", model=model, optimizer=optimizer, every=3)
    with notify_epoch(range(40), name="target", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            acc = (model(x).argmax(1) == y).float().mean().item()
            epochs.log(loss=loss, val_acc=acc)
            witness("target", epoch, {"val_acc": acc}, model=model, optimizer=optimizer)
            if acc >= target and epoch >= 4:
                return acc
    return None


torch.manual_seed(0)
net = nn.Linear(16, 4)
print("reached", fit(net, torch.optim.Adam(net.parameters(), lr=0.2), *blobs(), target=0.6) is not None)
