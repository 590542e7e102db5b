"""nn.DataParallel around the model, with sparse embeddings and two optimizers, one of them SparseAdam."""

import torch
from kit import saves, text, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
tokens = text(400)


class SkipGram(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 8, sparse=True), nn.Linear(8, 11)

    def forward(self, centre):
        return self.out(self.embed(centre))


model = nn.DataParallel(SkipGram())
sparse = torch.optim.SparseAdam(list(model.module.embed.parameters()), lr=0.05)
dense = torch.optim.Adam(model.module.out.parameters(), lr=0.05)
kept = saves("skipgram", model=model, optimizer=dense, extra={"sparse": sparse})
with notify_epoch(range(4), name="skipgram", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        for at in range(0, 320, 80):
            loss = nn.functional.cross_entropy(model(tokens[at : at + 80]), tokens[at + 1 : at + 81])
            sparse.zero_grad()
            dense.zero_grad()
            loss.backward()
            sparse.step()
            dense.step()
            epochs.log(loss=loss)
        print(epoch, f"{loss.item():.6f}")
        witness("skipgram", epoch, {}, model=model, optimizer=dense, sparse=sparse)
