"""Averaged weights twice: an EMA whose state is a copy each time, and SWA with a schedule of its own from an epoch on."""

import torch
from kit import blobs, saves, witness
from torch import nn
from torch.optim.swa_utils import SWALR, AveragedModel

from notifybot import notify_epoch


class EMA:
    def __init__(self, model, decay):
        self.decay = decay
        self.shadow = {k: v.clone() for k, v in model.state_dict().items()}

    def update(self, model):
        for k, v in model.state_dict().items():
            self.shadow[k].mul_(self.decay).add_(v, alpha=1 - self.decay)

    def state_dict(self):
        return {k: v.clone() for k, v in self.shadow.items()}

    def load_state_dict(self, state):
        self.shadow = {k: v.clone() for k, v in state.items()}


torch.manual_seed(0)
x, y = blobs(96)
model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
swa_model, swa_scheduler = AveragedModel(model), SWALR(optimizer, swa_lr=0.05)
slow, fast = EMA(model, 0.99), EMA(model, 0.5)
others = {"slow": slow, "fast": fast, "swa": swa_model, "swa_scheduler": swa_scheduler}
kept = saves("ema", model=model, optimizer=optimizer, scheduler=scheduler, extra=others)
with notify_epoch(range(6), name="ema", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        for i in range(0, 96, 32):
            loss = nn.functional.cross_entropy(model(x[i : i + 32]), y[i : i + 32])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            slow.update(model)
            fast.update(model)
        if epoch > 3:
            swa_model.update_parameters(model)
            swa_scheduler.step()
        else:
            scheduler.step()
        epochs.log(loss=loss)
        print(epoch, f"{loss.item():.6f}")
        witness(
            "ema", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer, slow=slow, fast=fast, swa=swa_model
        )
