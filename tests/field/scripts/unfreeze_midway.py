"""The backbone is frozen, and thawed within the same loop at an epoch; one optimizer over all parameters."""

import time

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
model[0].requires_grad_(False)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
kept = saves("thaw", model=model, optimizer=optimizer)
with notify_epoch(range(8), name="thaw", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        if epoch == 1:
            model[0].requires_grad_(True)
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(train_loss=loss)
        print(epoch, f"{loss.item():.6f}")
        time.sleep(0.2)
        witness("thaw", epoch, {"train_loss": loss.item()}, model=model, optimizer=optimizer)
