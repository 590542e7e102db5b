"""Data parallel over two processes of torchrun, which sets the variables."""

import os

import torch
import torch.distributed as dist
from kit import blobs, saves, witness
from torch import nn
from torch.nn.parallel import DistributedDataParallel as DDP
from torch.utils.data.distributed import DistributedSampler

from notifybot import notify_epoch


def work(rank, world):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = torch.utils.data.TensorDataset(*blobs(64))
    sampler = DistributedSampler(data, world, rank, shuffle=True, seed=0)
    loader = torch.utils.data.DataLoader(data, batch_size=16, sampler=sampler)
    model = DDP(nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    kept = saves("ddp", model=model, optimizer=optimizer)
    with notify_epoch(range(4), name="ddp", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            sampler.set_epoch(epoch)
            total = 0.0
            for x, y in loader:
                loss = nn.functional.cross_entropy(model(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                epochs.log(loss=loss)
                total += loss.item()
            if rank == 0:
                print(f"epoch {epoch} loss {total / len(loader):.6f}", flush=True)
                witness("ddp", epoch, {"loss": total / len(loader)}, model=model, optimizer=optimizer)
            dist.barrier()


if __name__ == "__main__":
    dist.init_process_group("gloo")
    work(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))
    dist.destroy_process_group()
