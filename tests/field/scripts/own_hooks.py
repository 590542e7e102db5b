"""A library's hooks on optimizer and model beside ours, a handler for SIGTERM, an excepthook, warnings as errors."""

import signal
import sys
import warnings

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

warnings.simplefilter("error")
torch.manual_seed(0)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
counts = {"pre": 0, "post": 0, "forward": 0}
before = signal.getsignal(signal.SIGTERM), sys.excepthook


def counting(name):
    def hook(*_):
        counts[name] += 1

    return hook


kept = saves("hooks", model=model, optimizer=optimizer)
optimizer.register_step_pre_hook(counting("pre"))
with notify_epoch(range(4), name="hooks", checkpoints=kept, progress=False) as epochs:
    optimizer.register_step_post_hook(counting("post"))
    model.register_forward_hook(counting("forward"))
    for epoch in epochs:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(loss=loss)
        witness("hooks", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
assert counts["pre"] == counts["post"] == counts["forward"]
assert len(optimizer._optimizer_step_post_hooks) == 1
assert signal.getsignal(signal.SIGTERM) == before[0]
print("left as found")
