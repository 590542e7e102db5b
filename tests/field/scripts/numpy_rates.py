"""Two parameter groups whose learning rates are NumPy numbers, from a cosine in LambdaLR."""

import numpy as np
import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
groups = [{"params": model[0].parameters(), "lr": 1e-4}, {"params": model[2].parameters(), "lr": 1e-1}]
optimizer = torch.optim.AdamW(groups)
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda e: 0.5 * (1 + np.cos(np.pi * e / 8)))
kept = saves("rates", model=model, optimizer=optimizer, scheduler=scheduler)
with notify_epoch(range(8), name="rates", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        epochs.log(train_loss=loss.item(), lr=scheduler.get_last_lr()[1])
        print(epoch, f"{loss.item():.6f}", [float(each) for each in scheduler.get_last_lr()])
        witness("rates", epoch, {"train_loss": loss.item()}, model=model, optimizer=optimizer, scheduler=scheduler)
