"""A trainer in a coroutine that awaits between batches, beside another task."""

import asyncio

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


async def ticking(done):
    while not done.is_set():
        await asyncio.sleep(0)


async def main():
    done = asyncio.Event()
    other = asyncio.create_task(ticking(done))
    kept = saves("async", model=model, optimizer=optimizer)
    with notify_epoch(range(4), name="async", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            await asyncio.sleep(0)
            optimizer.step()
            epochs.log(loss=loss)
            print(epoch, f"{loss.item():.6f}")
            witness("async", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)
    done.set()
    await other


asyncio.run(main())
