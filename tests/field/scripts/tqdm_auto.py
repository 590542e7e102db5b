"""tqdm.auto around the epochs, tqdm around the batches, postfixes."""

import torch
from kit import blobs, saves, witness
from torch import nn
from tqdm.auto import tqdm

from notifybot import notify_epoch

torch.manual_seed(0)
loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*blobs(96)), batch_size=24, shuffle=True)
model = nn.Linear(16, 4)
optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01)
kept = saves("bars", model=model, optimizer=optimizer)
with notify_epoch(range(4), name="bars", checkpoints=kept) as epochs:
    for epoch in tqdm(epochs, desc="epochs"):
        bar = tqdm(loader, leave=False)
        total = 0.0
        for x, y in bar:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epochs.log(loss=loss)
            bar.set_postfix(loss=f"{loss.item():.3f}")
            total += loss.item()
        witness("bars", epoch, {"loss": total / len(loader)}, model=model, optimizer=optimizer)
print("done")
