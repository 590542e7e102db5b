"""A script that catches Ctrl-C around its loop and saves by itself before it leaves in peace."""

import os
import signal

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
kept = saves("interrupted", model=model, optimizer=optimizer)
try:
    with notify_epoch(range(6), name="interrupted", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            if epoch == 4:
                os.kill(os.getpid(), signal.SIGINT)
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epochs.log(loss=loss)
            print(epoch, f"{loss.item():.6f}")
            witness("interrupted", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
except KeyboardInterrupt:
    torch.save(model.state_dict(), "interrupted.pth")
    print("saved interrupt")
