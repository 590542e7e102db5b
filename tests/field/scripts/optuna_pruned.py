"""A search whose bad trials are pruned by an exception, each trial a run."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


class TrialPruned(Exception):
    """Stands where optuna's own is raised."""


x, y = blobs(96)


def objective(number, lr):
    torch.manual_seed(number)
    model = nn.Linear(16, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    kept = saves(f"study/{number}", model=model, optimizer=optimizer)
    with notify_epoch(range(4), name=f"trial-{number}", params={"lr": lr}, checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epochs.log(val_loss=loss)
            witness(f"trial-{number}", epoch, {"val_loss": loss.item()}, model=model, optimizer=optimizer)
            if lr < 0.01 and epoch == 1:
                raise TrialPruned(f"Trial was pruned at epoch {epoch}.")
    return loss.item()


for number, lr in enumerate((0.1, 0.001, 0.2)):
    try:
        print(f"Trial {number} finished with value: {objective(number, lr):.5f}")
    except TrialPruned as pruned:
        print(f"Trial {number} pruned. {pruned}")
