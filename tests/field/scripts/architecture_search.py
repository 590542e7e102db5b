"""A search for an architecture: a second optimizer, second derivatives, and parameters that no module knows."""

import logging
import os
import sys

import numpy as np
import torch
from kit import blobs, saves, witness
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, SubsetRandomSampler, TensorDataset

from notifybot import notify_epoch

log_format = "%(levelname)s %(message)s"
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format=log_format)
log = logging.getLogger("search")
logging.getLogger().addHandler(logging.FileHandler(os.path.join(os.environ["FIELD_HOME"], "log.txt")))


class Mixed(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.ops = nn.ModuleList(
            [nn.Identity(), nn.Linear(width, width), nn.Sequential(nn.Linear(width, width), nn.Tanh())]
        )

    def forward(self, x, weights):
        return sum(w * op(x) for w, op in zip(weights, self.ops, strict=True))


class Network(nn.Module):
    def __init__(self, width=16, cells=2):
        super().__init__()
        self.cells = nn.ModuleList([Mixed(width) for _ in range(cells)])
        self.classifier = nn.Linear(width, 4)
        self.alphas = (1e-3 * torch.randn(cells, 3)).requires_grad_()

    def forward(self, x):
        for cell, weights in zip(self.cells, F.softmax(self.alphas, dim=-1), strict=True):
            x = cell(x, weights)
        return self.classifier(x)

    def genotype(self):
        return [("skip", "linear", "tanh")[place] for place in self.alphas.argmax(-1).tolist()]


class Alphas:
    def __init__(self, model):
        self.model = model

    def state_dict(self):
        return {"alphas": self.model.alphas}

    def load_state_dict(self, state):
        self.model.alphas.data.copy_(state["alphas"])


np.random.seed(2)
torch.manual_seed(2)
data = TensorDataset(*blobs(128))
train_queue = DataLoader(data, batch_size=32, sampler=SubsetRandomSampler(range(64)))
search_queue = DataLoader(data, batch_size=32, sampler=SubsetRandomSampler(range(64, 128)))
model = Network()
optimizer = torch.optim.SGD(model.parameters(), 0.025, momentum=0.9, weight_decay=3e-4)
architect = torch.optim.Adam([model.alphas], lr=3e-2, betas=(0.5, 0.999), weight_decay=1e-3)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 6.0, eta_min=0.001)


def step_architecture(x, y, x_search, y_search, rate):
    names, weights = zip(*model.named_parameters(), strict=True)
    loss = F.cross_entropy(model(x), y)
    grads = torch.autograd.grad(loss, weights, create_graph=True)
    moved = {name: weight - rate * grad for name, weight, grad in zip(names, weights, grads, strict=True)}
    architect.zero_grad()
    ahead = F.cross_entropy(torch.func.functional_call(model, moved, (x_search,)), y_search)
    model.alphas.grad = torch.autograd.grad(ahead, model.alphas)[0]
    architect.step()
    return model.alphas.grad.norm()


kept = saves(
    "search",
    model=model,
    optimizer=optimizer,
    scheduler=scheduler,
    extra={"architect": architect, "alphas": Alphas(model)},
)
with notify_epoch(range(6), name="search", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        rate = scheduler.get_last_lr()[0]
        log.info("epoch %d lr %e", epoch, rate)
        log.info("genotype = %s", model.genotype())
        for x, y in train_queue:
            x_search, y_search = next(iter(search_queue))
            norm = step_architecture(x, y, x_search, y_search, rate)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5)
            optimizer.step()
            epochs.log({"arch/grad_norm": norm}, train_obj=loss, n=len(y))
        scheduler.step()
        log.info("train_obj %f", loss.item())
        parts = {"optimizer": optimizer, "scheduler": scheduler, "architect": architect, "alphas": Alphas(model)}
        witness("search", epoch, {}, model=model, **parts)
