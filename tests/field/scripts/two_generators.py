"""Augmentation and noise, each from a generator of its own that goes into the checkpoint with NumPy's."""

import numpy as np
import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
noise, mask = torch.Generator().manual_seed(5), torch.Generator().manual_seed(6)
rng = np.random.default_rng(7)
model = nn.Linear(16, 4)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
kept = saves("noise", model=model, optimizer=optimizer, extra={"noise": noise, "mask": mask, "rng": rng})
with notify_epoch(range(5), name="noise", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        index = torch.from_numpy(rng.permutation(96))
        given = x[index] + torch.randn(96, 16, generator=noise) * 0.1
        given = given * (torch.rand(96, 16, generator=mask) > 0.1)
        loss = nn.functional.cross_entropy(model(given), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(loss=loss)
        print(epoch, f"{loss.item():.6f}")
        witness("noise", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
