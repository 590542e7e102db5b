"""Two trainings at once in threads, as a search with n_jobs=2 runs them."""

from concurrent.futures import ThreadPoolExecutor

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

x, y = blobs(96)


def build(seed):
    torch.manual_seed(seed)
    return nn.Linear(16, 4)


models = [build(seed) for seed in range(2)]


def objective(number):
    model = models[number]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01 * (number + 1))
    kept = saves(f"thread{number}", model=model, optimizer=optimizer)
    with notify_epoch(range(5), name=f"thread{number}", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epochs.log(loss=loss)
            witness(f"thread{number}", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
    return loss.item()


with ThreadPoolExecutor(2) as pool:
    print([f"{each:.6f}" for each in pool.map(objective, range(2))])
