"""A small training's parts for the tests of checkpoints, and what two states have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from notifybot.checkpoints.serialization import write_payload
from notifybot.rendering.error_text import reason_line
from notifybot.types import Language, Reason


class Kept:
    """A part that keeps whatever it is given."""

    def __init__(self, state: Any = None) -> None:
        self.state = state

    def state_dict(self) -> Any:
        return self.state

    def load_state_dict(self, state: Any) -> None:
        self.state = state


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))


def trained(steps: int = 3) -> tuple[nn.Module, Any, Any]:
    """A small model after some steps, with its optimizer and scheduler."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2)
    for _ in range(steps):
        step(model, optimizer)
        scheduler.step()
    return model, optimizer, scheduler


def step(model: nn.Module, optimizer: Any) -> None:
    optimizer.zero_grad()
    model(torch.randn(5, 4)).sum().backward()
    optimizer.step()


def lines(notes: list[Reason]) -> list[str]:
    return [reason_line(each, Language.EN) for each in notes]


def written(payload: dict[str, Any], path: Path) -> Path:
    with path.open("wb") as file:
        write_payload(payload, file)
    return path


def same(one: Any, other: Any) -> bool:
    """Whether two states are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return bool(one.dtype == other.dtype and torch.equal(one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
