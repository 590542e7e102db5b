"""Several losses with learned weights between them; metrics with slashes, spaces and Korean in their names."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
shared, heads = nn.Linear(16, 16), nn.ModuleDict({"classify": nn.Linear(16, 4), "rebuild": nn.Linear(16, 16)})
log_vars = nn.Parameter(torch.zeros(2))
model = nn.ModuleDict({"shared": shared, "heads": heads})
model.register_parameter("log_vars", log_vars)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
kept = saves("tasks", model=model, optimizer=optimizer)
with notify_epoch(range(5), name="다중 작업 🚀", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        hidden = shared(x).relu()
        losses = {
            "classify": nn.functional.cross_entropy(heads["classify"](hidden), y),
            "rebuild": nn.functional.mse_loss(heads["rebuild"](hidden), x),
        }
        total = sum(torch.exp(-v) * each + v for v, each in zip(log_vars, losses.values(), strict=True))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        told = {f"loss/{name}": each.item() for name, each in losses.items()} | {"전체 손실 %": total.item()}
        epochs.log(told)
        print(epoch, f"{total.item():.6f}")
        witness("다중 작업 🚀", epoch, told, model=model, optimizer=optimizer)
