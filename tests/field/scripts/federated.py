"""Federated averaging with a frozen teacher: clients are chosen by `random` and NumPy, and train copies of the model."""

import copy
import random

import numpy as np
import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

CLIENTS, ROUNDS = 6, 6


def local(model, teacher, x, y, rounds=2):
    model = copy.deepcopy(model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05 * random.uniform(0.5, 1.5), momentum=0.5)
    for _ in range(rounds):
        order = torch.randperm(len(x))
        logits = model(x[order])
        with torch.no_grad():
            soft = nn.functional.softmax(teacher(x[order]) / 2, dim=-1)
        hard = nn.functional.cross_entropy(logits, y[order])
        if random.random() < 0.5:  # as teacher forcing is drawn
            loss = hard
        else:
            loss = hard + nn.functional.kl_div(
                nn.functional.log_softmax(logits / 2, dim=-1), soft, reduction="batchmean"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.state_dict(), loss.item()


def average(states):
    mean = copy.deepcopy(states[0])
    for name in mean:
        mean[name] = torch.stack([state[name].float() for state in states]).mean(0).to(mean[name].dtype)
    return mean


def network(width):
    return nn.Sequential(nn.Linear(16, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 4))


random.seed(0)
np.random.seed(0)
torch.manual_seed(0)
x, y = blobs()
parts = np.array_split(np.random.permutation(len(x)), CLIENTS)
teacher = network(32).eval().requires_grad_(False)
server = network(8)
kept = saves("federated", model=server)
with notify_epoch(range(1, ROUNDS + 1), name="federated", model=server, checkpoints=kept, progress=False) as rounds:
    for number in rounds:
        chosen = np.random.choice(CLIENTS, 3, replace=False)
        states, losses = zip(*(local(server, teacher, x[parts[c]], y[parts[c]]) for c in chosen), strict=True)
        server.load_state_dict(average(states))
        server.eval()
        with torch.no_grad():
            accuracy = (server(x).argmax(1) == y).float().mean().item()
        server.train()
        for loss in losses:
            rounds.log(local_loss=loss)
        rounds.log({"val_acc": accuracy, "clients": len(chosen)})
        print(f"round {number} clients {sorted(chosen.tolist())} loss {np.mean(losses):.6f} acc {accuracy:.4f}")
        witness("federated", number, {"local_loss": np.mean(losses), "val_acc": accuracy}, model=server)
