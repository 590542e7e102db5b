"""A trainer whose `fit()` is a generator that the program drives, and leaves when it has seen enough."""

import itertools

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


def forever(batches):
    while True:
        yield from batches


class Triplets(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))

    def forward(self, x):
        return nn.functional.normalize(self.embed(x), dim=-1)


class Trainer:
    def __init__(self, model, batches):
        self.model, self.batches = model, forever(batches)
        self.optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01, momentum=0.9)
        self.listeners = []

    def state_dict(self):
        return {"listeners": len(self.listeners)}

    def load_state_dict(self, state):
        assert state == self.state_dict()

    def fit(self, epochs, steps):
        kept = saves("triplets", model=self.model, optimizer=self.optimizer, extra={"trainer": self})
        with notify_epoch(epochs, name="triplets", checkpoints=kept, progress=False) as self.loop:
            for epoch in self.loop:
                losses = [self.step(*batch) for batch in itertools.islice(self.batches, steps)]
                for listener in self.listeners:
                    listener(self, epoch)
                yield epoch, sum(losses) / len(losses)

    def step(self, x, y):
        same, other = y[:, None] == y, y[:, None] != y
        apart = torch.cdist(self.model(x), self.model(x))
        loss = (apart.masked_fill(other, 0).amax(1) - apart.masked_fill(same, 9).amin(1) + 0.3).relu().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.loop.log(loss=loss)
        return loss.item()


def recall(trainer, epoch):
    with torch.no_grad():
        found = trainer.model(x)
    near = torch.cdist(found, found).fill_diagonal_(9).argmin(1)
    trainer.loop.log(val_recall=(y[near] == y).float().mean())


torch.manual_seed(0)
x, y = blobs(96)
trainer = Trainer(Triplets(), [(x[at : at + 32], y[at : at + 32]) for at in (0, 32, 64)])
trainer.listeners.append(recall)
for epoch, loss in trainer.fit(itertools.count(1), steps=3):
    print(epoch, f"{loss:.6f}")
    witness("triplets", epoch, {"loss": loss}, model=trainer.model, optimizer=trainer.optimizer)
    if epoch >= 6:
        break
print("seen enough")
