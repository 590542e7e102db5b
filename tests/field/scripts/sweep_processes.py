"""Three trainings at once as processes of a sweep, with one state folder between them."""

import subprocess
import sys

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


def train(number):
    torch.manual_seed(number)
    x, y = blobs(96)
    model = nn.Linear(16, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    kept = saves(f"sweep{number}", model=model, optimizer=optimizer)
    with notify_epoch(range(6), name=f"sweep{number}", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epochs.log(loss=loss)
            witness(f"sweep{number}", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(int(sys.argv[1]))
    else:
        jobs = [subprocess.Popen([sys.executable, __file__, str(number)]) for number in range(3)]
        codes = [job.wait() for job in jobs]
        print("codes", codes)
        sys.exit(max(abs(code) for code in codes))
