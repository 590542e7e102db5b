"""A curriculum: each epoch has more and longer sequences, in batches from buckets by a sampler that keeps its state."""

import random

import torch
from kit import saves, text, witness
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from notifybot import notify_epoch


class Pieces(Dataset):
    def __init__(self):
        self.tokens, self.lengths = text(900), [4 + i % 9 for i in range(60)]

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, i):
        return self.tokens[i * 12 : i * 12 + self.lengths[i]]


class Buckets:
    """Batches of about the same length, longer ones later; how far it is and its own random state are kept."""

    def __init__(self, data, size=6):
        self.data, self.size, self.limit, self.random = data, size, 5, random.Random(4)

    def __len__(self):
        return sum(1 for each in self.data.lengths if each <= self.limit) // self.size

    def __iter__(self):
        fit = sorted(
            (i for i, each in enumerate(self.data.lengths) if each <= self.limit), key=self.data.lengths.__getitem__
        )
        batches = [fit[at : at + self.size] for at in range(0, len(fit) - self.size + 1, self.size)]
        self.random.shuffle(batches)
        return iter(batches)

    def state_dict(self):
        return {"limit": self.limit, "random": self.random.getstate()}

    def load_state_dict(self, state):
        version, numbers, gauss = state["random"]
        self.limit = state["limit"]
        self.random.setstate((version, tuple(numbers), gauss))


torch.manual_seed(0)
buckets = Buckets(Pieces())
loader = DataLoader(buckets.data, batch_sampler=buckets, collate_fn=lambda batch: pad_sequence(batch, batch_first=True))
model = nn.ModuleDict(
    {"embed": nn.Embedding(11, 12), "rnn": nn.GRU(12, 12, batch_first=True), "head": nn.Linear(12, 11)}
)
optimizer = torch.optim.NAdam(model.parameters(), lr=0.01)
plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
kept = saves("curriculum", model=model, optimizer=optimizer, scheduler=plateau, extra={"buckets": buckets})
with notify_epoch(range(1, 8), name="커리큘럼 학습", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        total, batches = 0.0, len(loader)
        for tokens in loader:
            states, _ = model["rnn"](model["embed"](tokens[:, :-1]))
            loss = nn.functional.cross_entropy(model["head"](states).flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epochs.log(loss=loss, batches=batches)
            total += loss.item()
        plateau.step(total / batches)
        buckets.limit += 1
        print(epoch, batches, f"{total / batches:.6f}")
        parts = {"model": model, "optimizer": optimizer, "scheduler": plateau, "buckets": buckets}
        witness("커리큘럼 학습", epoch, {"loss": total / batches, "batches": batches}, **parts)
