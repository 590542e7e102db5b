"""A small model, and a batch for it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

torch.set_num_threads(1)

ROWS = torch.arange(12.0).reshape(3, 4) / 12


class Net(nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
    """A classifier with all that makes training and evaluation differ."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(8, classes)

    def forward(self, x: Any) -> Any:
        return self.fc(self.body(x))
