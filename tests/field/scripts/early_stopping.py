"""Patience by hand: the loop is left by `break` when the validation loss has not fallen for two epochs."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


class EarlyStopping:
    def __init__(self, patience):
        self.patience, self.counter, self.best = patience, 0, None

    def __call__(self, loss):
        if self.best is None or loss < self.best:
            self.best, self.counter = loss, 0
        else:
            self.counter += 1
        return self.counter >= self.patience

    def state_dict(self):
        return {"counter": self.counter, "best": self.best}

    def load_state_dict(self, state):
        self.counter, self.best = state["counter"], state["best"]


torch.manual_seed(3)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
stopper = EarlyStopping(2)
kept = saves("early", model=model, optimizer=optimizer, extra={"stopper": stopper}, monitor="val_loss")
with notify_epoch(range(50), name="early", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        loss = nn.functional.cross_entropy(model(x[:64]), y[:64])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            val_loss = abs(nn.functional.cross_entropy(model(x[64:]), y[64:]).item() - 0.6) + 0.05 * max(0, epoch - 4)
        epochs.log(train_loss=loss, val_loss=val_loss)
        stop = stopper(val_loss)
        witness("early", epoch, {"val_loss": val_loss}, model=model, optimizer=optimizer, stopper=stopper)
        if stop:
            print("Early stopping at", epoch)
            break
