"""A whole model in one file: exported, it runs where its class does not exist; pickled, it needs your trust.

python examples/whole_model.py
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import nn

from notifybot import NotifybotError, load_model, load_weights, save_model, save_weights


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2))
        self.fc = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))


def main() -> None:
    folder = arguments().folder
    model = Classifier().eval()
    batch = torch.randn(8, 64)

    exported = load_model(save_model(model, folder / "classifier.pt2", example=batch))
    print("exported: same answer", torch.allclose(exported(batch), model(batch), atol=1e-6))
    print("exported: another batch size", tuple(exported(batch[:3]).shape))

    pickled = save_model(model, folder / "classifier.pt")
    try:
        load_model(pickled)
    except NotifybotError as error:
        print("pickled, not trusted:", error)
    print("pickled, trusted:", type(load_model(pickled, trusted=True)).__name__)

    twin = Classifier()
    load_weights(twin, save_weights(model, folder / "classifier.safetensors", metadata={"epoch": 30}))
    print("weights alone: same answer", torch.equal(twin.eval()(batch), model(batch)))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Save a whole model, and its weights alone.")
    parser.add_argument("--folder", type=Path, default=Path("models"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
