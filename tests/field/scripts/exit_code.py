"""A script that gives up with an exit code of its own when the loss is not finite."""

import math
import sys

import torch
from kit import saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=1e4)
kept = saves("diverges", model=model, optimizer=optimizer)
with notify_epoch(range(50), name="diverges", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        loss = (model(torch.randn(8, 4)) ** 2).mean() ** 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(loss=loss.detach())
        if not math.isfinite(loss.item()):
            print("Loss is not finite, stopping training")
            sys.exit(3)
        print(epoch, f"{loss.item():.3g}")
        witness("diverges", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
