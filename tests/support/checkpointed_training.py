"""A training with checkpoints that dies as a machine does, and what it left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from notifybot import Checkpoints, notify_epoch
from notifybot.events import Event
from notifybot.store import runs
from notifybot.training.endings import ENDINGS
from notifybot.training.resume import COMPLETED


class Training:
    """A training in a process of its own: what it logs depends on every weight, so a wrong state shows."""

    def __init__(self, folder: Path, settings: dict[str, object], *, width: int = 4, **options: Any) -> None:
        COMPLETED.clear()
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(3, width), nn.Dropout(0.5), nn.Linear(width, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, 2, 0.5)
        self.data = torch.utils.data.TensorDataset(torch.arange(24.0).reshape(8, 3) / 24, torch.ones(8, 1))
        self.loader: Any = torch.utils.data.DataLoader(self.data, batch_size=2, shuffle=True)
        self.folder, self.settings, self.options = folder, settings, options
        self.losses: dict[int, list[float]] = {}
        self.run: Any = None

    def checkpoints(self) -> Checkpoints:
        return Checkpoints(
            self.folder,
            model=self.model,
            optimizer=self.optimizer,
            scheduler=self.scheduler,
            **self.options,
        )

    def train(
        self,
        epochs: Any = range(5),
        *,
        until: int | None = None,
        at_epoch: Any = lambda _: None,
        **given: Any,
    ) -> Training:
        """Train, and die in epoch `until` as a machine does that goes away: nothing is told."""
        given = {"name": "exp"} | given
        loop = notify_epoch(epochs, checkpoints=self.checkpoints(), progress=False, config=self.settings, **given)
        self.run = loop.run
        try:
            with loop:
                for epoch in loop:
                    at_epoch(epoch)
                    if epoch == until:
                        raise Death
                    self.losses[epoch] = []
                    for inputs, targets in self.loader:
                        self.step(inputs, targets)
                        loop.log(loss=self.losses[epoch][-1])
                    self.scheduler.step()
        except Death:
            pass
        return self

    def step(self, inputs: Any, targets: Any) -> None:
        loss = nn.functional.mse_loss(self.model(inputs), targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.losses[max(self.losses)].append(loss.item())

    @property
    def events(self) -> list[Event]:
        store = self.run.session.shared.store
        with store.patient(10.0):
            return runs.events_of(store, self.run.id)

    def of(self, kind: type[Event]) -> list[Any]:
        return [each for each in self.events if isinstance(each, kind)]


class Death(Exception):
    """Stands for the end of the machine."""


def epochs_in(folder: Path) -> list[int]:
    return sorted(json.loads(path.read_text())["epoch"] for path in folder.glob("*.pt.json"))


def leave(way: str, epoch: int, when: int) -> None:
    if epoch == when and way == "error":
        raise Death
    if epoch == when and way == "interrupt":
        raise KeyboardInterrupt


def train_until_left(one: Training, way: str, *, held: bool, when: int = 3, loss: float = 0.5) -> Any:
    """A loop over 8 epochs that is left in the fourth, and whose weights are changed right after."""
    loop = notify_epoch(range(8), name="exp", checkpoints=one.checkpoints(), progress=False, config=one.settings)

    def run() -> None:
        for epoch in loop:
            with torch.no_grad():
                one.model[0].bias.fill_(float(epoch))
            loop.log(loss=loss)
            leave(way, epoch, when)
            if epoch == when and way == "stop":
                loop.stop("patience")
            if epoch == when and way == "return":
                return
            if epoch == when and way in ("break", "stop and break"):
                if way == "stop and break":
                    loop.stop("patience")
                break
        one.model[0].bias.data.fill_(99.0)

    try:
        if held:
            with loop:
                run()
        else:
            run()
    except (Death, KeyboardInterrupt) as error:
        ENDINGS.decide(error)
    ENDINGS.decide(None)
    one.run = loop.run
    return loop
