"""A script with a resume of its own: it loads its last.pt and tells the epochs from there on, without our Checkpoints."""

import os

import torch
from kit import blobs, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
first = 0
if os.path.exists("last.pt"):
    saved = torch.load("last.pt", weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    first = saved["epoch"] + 1
with notify_epoch(range(first, 6), name="own", run_id="own-resume", total=6, progress=False) as epochs:
    for epoch in epochs:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(loss=loss)
        torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, "last.tmp")
        os.replace("last.tmp", "last.pt")
        epochs.log_checkpoint("last.pt")
        print(epoch, f"{loss.item():.6f}")
        witness("own", epoch, {"loss": loss.item()})
