"""A criterion that learns, with an optimizer of its own; what is printed goes through an object in stdout's place."""

import os
import sys

import matplotlib
import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HOME = os.environ["FIELD_HOME"]


class Logger:
    def __init__(self, path):
        self.console, self.file = sys.stdout, open(path, "w")

    def write(self, text):
        self.console.write(text)
        self.file.write(text)

    def flush(self):
        self.console.flush()
        self.file.flush()
        os.fsync(self.file.fileno())


class Errors:
    """As much of a stream as print() needs."""

    def __init__(self, path):
        self.path = path

    def write(self, text):
        with open(self.path, "a") as file:
            file.write(text)


class CenterLoss(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.centers = nn.Parameter(torch.randn(classes, width))

    def forward(self, features, labels):
        distances = torch.cdist(features, self.centers).pow(2)
        mask = labels.unsqueeze(1).eq(torch.arange(len(self.centers)))
        return (distances * mask).clamp(1e-12, 1e12).sum() / len(features)


torch.manual_seed(1)
sys.stdout, sys.stderr = Logger(os.path.join(HOME, "log_blobs.txt")), Errors(os.path.join(HOME, "errors.txt"))
x, y = blobs(96)
body, head = nn.Sequential(nn.Linear(16, 8), nn.PReLU()), nn.Linear(8, 4)
model = nn.ModuleDict({"body": body, "head": head})
centers = CenterLoss(4, 8)
optimizer_model = torch.optim.SGD(model.parameters(), lr=0.01, weight_decay=5e-4, momentum=0.9)
optimizer_centers = torch.optim.SGD(centers.parameters(), lr=0.5)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer_model, step_size=2, gamma=0.5)
kept = saves(
    "center",
    model=model,
    optimizer=optimizer_model,
    scheduler=scheduler,
    extra={"centers": centers, "optimizer_centers": optimizer_centers},
)
with notify_epoch(range(5), name="center", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        print(f"==> Epoch {epoch + 1}/5")
        features = body(x)
        xent, cent = nn.functional.cross_entropy(head(features), y), centers(features, y)
        loss = xent + cent * 0.1
        optimizer_model.zero_grad()
        optimizer_centers.zero_grad()
        loss.backward()
        optimizer_model.step()
        for parameter in centers.parameters():
            parameter.grad.data *= 1.0 / 0.1
        optimizer_centers.step()
        plt.scatter(*features.detach().numpy()[:, :2].T, c=y.numpy(), s=1)
        plt.savefig(os.path.join(HOME, f"epoch_{epoch + 1}.png"), bbox_inches="tight")
        plt.close()
        scheduler.step()
        epochs.log(loss=loss, xent=xent, cent=cent)
        print(f"Loss {loss.item():.6f} XentLoss {xent.item():.6f} CenterLoss {cent.item():.6f}")
        values = {"loss": loss.item(), "xent": xent.item(), "cent": cent.item()}
        parts = {"optimizer": optimizer_model, "centers": centers, "optimizer_centers": optimizer_centers}
        witness("center", epoch, values, model=model, scheduler=scheduler, **parts)
sys.stderr = sys.__stderr__
