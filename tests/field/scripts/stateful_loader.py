"""torchdata's loader, which knows its place, and the generator of its shuffling, both in the checkpoint."""

import torch
from kit import blobs, saves, witness
from torch import nn
from torchdata.stateful_dataloader import StatefulDataLoader

from notifybot import notify_epoch

torch.manual_seed(0)
order = torch.Generator().manual_seed(3)
data = list(zip(*blobs(48), strict=True))
loader = StatefulDataLoader(data, batch_size=8, shuffle=True, generator=order)
model = nn.Linear(16, 4)
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
kept = saves("place", model=model, optimizer=optimizer, extra={"loader": loader, "order": order})
with notify_epoch(range(5), name="place", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        total = 0.0
        for x, y in loader:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epochs.log(loss=loss)
            total += loss.item()
        print(epoch, f"{total:.6f}")
        witness("place", epoch, {"loss": total / 6}, model=model, optimizer=optimizer)
