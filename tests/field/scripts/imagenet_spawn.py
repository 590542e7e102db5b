"""Data parallel over two processes that mp.spawn begins; the rank is an argument and no variable."""

import socket
import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
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


def main_worker(rank, world, port):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", world_size=world, rank=rank)
    work(rank, world)
    dist.destroy_process_group()


if __name__ == "__main__":
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        mp.spawn(main_worker, nprocs=2, args=(2, port))
    except mp.ProcessExitedException as error:
        sys.exit(f"a process died: {error}")
