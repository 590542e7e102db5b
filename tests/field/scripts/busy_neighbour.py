"""A neighbour on the same machine holds the database of the messages for a while, as slow disks and sweeps make it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

HOLD = "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None); c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(1.5)"  # noqa: E501
torch.manual_seed(0)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
database = Path(os.environ["NOTIFYBOT_STATE_DIR"]) / "notifybot.db"
kept = saves("busy", model=model, optimizer=optimizer)
neighbour = None
with notify_epoch(range(5), name="busy", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        if epoch == 1 and database.exists():
            neighbour = subprocess.Popen([sys.executable, "-c", HOLD, database], stdout=subprocess.PIPE)
            neighbour.stdout.readline()
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(loss=loss)
        print(epoch, f"{loss.item():.6f}")
        time.sleep(0.1)
        witness("busy", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
if neighbour is not None:
    neighbour.communicate()
