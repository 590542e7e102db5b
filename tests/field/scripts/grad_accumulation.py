"""Gradients over several batches before a step, weights of the last incomplete group included; a scheduler a step."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(7)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*blobs(100)), batch_size=12, shuffle=True)
model = nn.Sequential(nn.Linear(16, 24), nn.Dropout(0.2), nn.ReLU(), nn.Linear(24, 4))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
accumulate, epochs = 4, 5
steps = -(-len(loader) // accumulate) * epochs
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=steps)
kept = saves("accumulate", model=model, optimizer=optimizer, scheduler=scheduler)
with notify_epoch(range(epochs), name="accumulate", checkpoints=kept, progress=False) as loop:
    for epoch in loop:
        total = 0.0
        for i, (x, y) in enumerate(loader):
            loss = nn.functional.cross_entropy(model(x), y)
            (loss / accumulate).backward()
            loop.log(train_loss=loss, n=len(x))
            total += loss.item() * len(x)
            if (i + 1) % accumulate == 0 or i + 1 == len(loader):
                optimizer.step()
                optimizer.zero_grad()
                scheduler.step()
        print(epoch, f"{total / 100:.6f}", scheduler.get_last_lr())
        witness("accumulate", epoch, {"train_loss": total / 100}, model=model, optimizer=optimizer, scheduler=scheduler)
