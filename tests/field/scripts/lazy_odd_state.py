"""Lazy layers, complex and boolean buffers, extra state, a sparse adjacency, double precision by default."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.set_default_dtype(torch.float64)


class Graph(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.LazyLinear(12), nn.LazyLinear(4)
        self.norm = nn.LazyBatchNorm1d()
        self.register_buffer("phase", torch.ones(3, dtype=torch.complex128).conj())
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("empty", torch.zeros(0, 4))
        self.register_buffer("low", torch.zeros(2, dtype=torch.bfloat16))
        self.calls = 0

    def get_extra_state(self):
        return {"calls": self.calls, "names": ("가", "b"), "limit": float("inf"), "big": 2**70}

    def set_extra_state(self, state):
        self.calls = state["calls"]

    def forward(self, x, links):
        self.calls += 1
        self.phase = self.phase * torch.polar(torch.ones(()), torch.tensor(0.1))
        return self.last(torch.sparse.mm(links, torch.relu(self.norm(self.first(x)))))


torch.manual_seed(0)
x, y = blobs(40)
x = x.double()
links = torch.eye(40).to_sparse()
model = Graph()
model.eval()
model(x, links)
model.train()
params = [
    {"params": model.first.parameters(), "lr": 0.05, "name": "first"},
    {"params": [*model.norm.parameters(), *model.last.parameters()]},
]
optimizer = torch.optim.Adamax(params, lr=torch.tensor(0.02))
kept = saves("graph", model=model, optimizer=optimizer, keep_last=2)
with notify_epoch((n for n in range(6)), total=6, name="graph", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        loss = nn.functional.cross_entropy(model(x, links), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        epochs.log(loss=loss, phase=model.phase[0].real, calls=model.calls)
        print(epoch, f"{loss.item():.6f}", model.calls)
        witness("graph", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
