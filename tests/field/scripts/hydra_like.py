"""A program whose launcher configures logging, nests its settings and changes into a folder of the job's own."""

import logging
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


@dataclass
class Optim:
    name: str = "adam"
    lr: float = 0.05


@dataclass
class Settings:
    seed: int = 3
    optim: Optim = field(default_factory=Optim)
    wandb: dict = field(default_factory=lambda: {"entity": "lab", "api_key": "CANARY-nested-key-0001"})


def train(cfg):
    log = logging.getLogger(__name__)
    torch.manual_seed(cfg.seed)
    x, y = blobs(96)
    model = nn.Linear(16, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=cfg.optim.lr)
    kept = saves("hydra", model=model, optimizer=optimizer)
    with notify_epoch(range(4), name="hydra", params=asdict(cfg), checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            epochs.log(loss=loss)
            log.info("epoch %d loss %.5f", epoch, loss.item())
            print(f"{epoch} {loss.item():.6f}")
            witness("hydra", epoch, {"loss": loss.item()}, model=model, optimizer=optimizer)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s")
    job = Path("outputs/job")
    job.mkdir(parents=True, exist_ok=True)
    os.chdir(job)
    train(Settings())
