"""The epochs zipped with a schedule and counted beside it."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
kept = saves("zipped", model=model, optimizer=optimizer)
epochs = notify_epoch(range(4), name="zipped", checkpoints=kept, progress=False)
assert len(epochs) == 4
with epochs:
    for count, epoch in enumerate(epochs):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(loss=loss)
        print(f"{loss.item():.6f}")
        witness("zipped", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
