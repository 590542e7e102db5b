"""LBFGS, whose step takes a closure and calls it several times."""

import torch
from kit import saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
t = torch.arange(64, dtype=torch.float64) / 10
given, target = torch.sin(t[:-1]).unsqueeze(1), torch.sin(t[1:]).unsqueeze(1)
model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
optimizer = torch.optim.LBFGS(model.parameters(), lr=0.5, max_iter=5)
kept = saves("lbfgs", model=model, optimizer=optimizer)
with notify_epoch(range(5), name="lbfgs", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:

        def closure():
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(given), target)
            epochs.log(loss=loss)
            loss.backward()
            return loss

        loss = optimizer.step(closure).item()
        print("STEP:", epoch, "loss:", f"{loss:.8f}")
        witness("lbfgs", epoch, {}, model=model, optimizer=optimizer)
