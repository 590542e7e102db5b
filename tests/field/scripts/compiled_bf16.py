"""A compiled transformer with gradient checkpointing, autocast, a GradScaler and stochastic weight averaging."""

import torch
from kit import blobs, saves, witness
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint

from notifybot import notify_epoch


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32))
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(32, 32), nn.GELU(), nn.Dropout(0.1)) for _ in range(2))
        self.head = nn.Linear(32, 4)
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self.register_buffer("scratch", torch.zeros(3), persistent=False)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + checkpoint(block, x, use_reentrant=False)
        return self.head(x)


torch.manual_seed(0)
x, y = blobs(128)
batches = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 128, 32)]
net = Net()
model = torch.compile(net, backend="eager")
optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, fused=True)
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
average = AveragedModel(net, use_buffers=True)
swa = SWALR(optimizer, swa_lr=0.005, anneal_epochs=2)
kept = saves("compiled", model=model, optimizer=optimizer, scheduler=swa, scaler=scaler, extra={"average": average})
with notify_epoch(range(6), name="compiled", checkpoints=kept, model=model, progress=False) as epochs:
    for epoch in epochs:
        total = 0.0
        for images, labels in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            net.seen += 1
            epochs.log(train_loss=loss, scale=scaler.get_scale())
            total += float(loss.detach())
        if epoch >= 2:
            average.update_parameters(net)
            swa.step()
        print(epoch, f"{total / 4:.6f}", int(net.seen), scaler.get_scale())
        parts = {"model": net, "optimizer": optimizer, "scheduler": swa, "scaler": scaler, "average": average}
        witness("compiled", epoch, {"train_loss": total / 4}, **parts)
update_bn(batches, average)
print(f"{average(x).double().sum().item():.4f}")
