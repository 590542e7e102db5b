"""A metric that appears late and is sometimes None, a picture or a word; a value logged before the loop and one after it."""

import numpy as np
import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
kept = saves("late", model=model, optimizer=optimizer)
with notify_epoch(range(5), name="late", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(loss=loss.item())
        if epoch == 3:
            epochs.log({"f1": None, "confusion": np.eye(4), "comment": "better", "x" * 500: 1.0})
        print(epoch, f"{loss.item():.6f}")
        witness("late", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
print("done")
