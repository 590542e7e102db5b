"""Mixed precision as it is written for a GPU and runs on a CPU: autocast and a GradScaler."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8)
kept = saves("amp", model=model, optimizer=optimizer, scaler=scaler)
with notify_epoch(range(5), name="amp", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        for i in range(0, 96, 32):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(model(x[i : i + 32]), y[i : i + 32])
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            epochs.log(loss=loss.detach())
        epochs.log(scale=scaler.get_scale())
        print(epoch, f"{loss.item():.5f}")
        witness("amp", epoch, {"scale": scaler.get_scale()}, model=model, optimizer=optimizer, scaler=scaler)
