"""Rounds of training, pruning and going back to the first weights: data of parameters and gradients are exchanged."""

import copy

import numpy as np
import torch
from kit import blobs, saves, witness
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from tqdm import tqdm

from notifybot import notify_epoch

torch.manual_seed(0)
loader = DataLoader(TensorDataset(*blobs(96)), batch_size=32, shuffle=True)
model = nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 4))
first_weights = copy.deepcopy(model.state_dict())
masks = [np.ones_like(p.data.numpy()) for name, p in model.named_parameters() if "weight" in name]


def prune(percent):
    weights = [p for name, p in model.named_parameters() if "weight" in name]
    for place, weight in enumerate(weights):
        tensor = weight.data.cpu().numpy()
        limit = np.percentile(abs(tensor[np.nonzero(tensor)]), percent)
        masks[place] = np.where(abs(tensor) < limit, 0, masks[place])
        weight.data = torch.from_numpy(tensor * masks[place])


def go_back():
    place = 0
    for name, parameter in model.named_parameters():
        if "weight" in name:
            parameter.data = torch.from_numpy(masks[place] * first_weights[name].cpu().numpy())
            place += 1
        else:
            parameter.data = first_weights[name]


def train(optimizer):
    for images, targets in loader:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), targets)
        loss.backward()
        for name, parameter in model.named_parameters():
            if "weight" in name:
                kept = np.where(abs(parameter.data.numpy()) < 1e-6, 0, parameter.grad.data.numpy())
                parameter.grad.data = torch.from_numpy(kept)
        optimizer.step()
    return loss.item()


for level in range(3):
    if level > 0:
        prune(20)
        go_back()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=1e-4)
    left = np.mean([mask.mean() for mask in masks]).item()
    print(f"--- Pruning Level [{level}/3]: {left:.4f} ---")
    name = f"level{level}"
    kept = saves(name, model=model, optimizer=optimizer)
    with notify_epoch(range(4), name=name, params={"left": left}, checkpoints=kept, progress=False) as epochs:
        for epoch in tqdm(epochs):
            loss = train(optimizer)
            epochs.log(loss=loss, left=left)
            witness(name, epoch, {"loss": loss, "left": left}, model=model, optimizer=optimizer)
print("nonzero:", [int(np.count_nonzero(p.data.numpy())) for p in model.parameters()])
