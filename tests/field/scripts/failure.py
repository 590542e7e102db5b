"""A training that fails in its third epoch, with an exception that nobody catches."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
kept = saves("failure", model=model, optimizer=optimizer)
with notify_epoch(range(6), name="failure", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        wrong = x[:, :5] if epoch == 3 else x
        loss = nn.functional.cross_entropy(model(wrong), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(loss=loss)
        print(epoch, f"{loss.item():.6f}")
        witness("failure", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
