"""Processes that train one model in shared memory, each with a run of its own; here they take turns."""

import torch
import torch.multiprocessing as mp
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


def build():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 4))


def train(rank, model, turn):
    torch.manual_seed(1 + rank)
    x, y = blobs(96, seed=rank)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.5)
    name = f"process{rank}"
    kept = saves(name, model=model, optimizer=optimizer)
    with notify_epoch(range(1, 5), name=name, params={"rank": rank}, checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            with turn:
                turn.wait_for(lambda: turn.on.value % 2 == rank)
                model.train()
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                epochs.log(loss=loss)
                witness(name, epoch, {"loss": loss.item()}, optimizer=optimizer)
                turn.on.value += 1
                turn.notify_all()


class Turn:
    def __init__(self, context):
        self.condition, self.on = context.Condition(), context.Value("i", 0)

    def __enter__(self):
        return self.condition.__enter__()

    def __exit__(self, *error):
        return self.condition.__exit__(*error)

    def wait_for(self, ready):
        return self.condition.wait_for(ready)

    def notify_all(self):
        self.condition.notify_all()


if __name__ == "__main__":
    context = mp.get_context("spawn")
    model, turn = build(), Turn(context)
    model.share_memory()
    processes = [context.Process(target=train, args=(rank, model, turn)) for rank in range(2)]
    for each in processes:
        each.start()
    for each in processes:
        each.join()
    model.eval()
    x, y = blobs(96)
    with torch.no_grad():
        print([each.exitcode for each in processes], f"{nn.functional.cross_entropy(model(x), y).item():.6f}")
