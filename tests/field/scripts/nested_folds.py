"""Cross-validation as a run of its own, and a run a fold within it: an epoch of the outer one is a whole training."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

FOLDS = 3


class Scores:
    def __init__(self):
        self.of = {}

    def state_dict(self):
        return {"of": dict(self.of)}

    def load_state_dict(self, state):
        self.of = dict(state["of"])


def fold(number, x, y):
    torch.manual_seed(100 + number)
    model = nn.Linear(16, 4)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.2)
    held = torch.arange(len(x)) % FOLDS == number
    kept = saves(f"fold{number}", model=model, optimizer=optimizer)
    accuracy = 0.0
    with notify_epoch(range(3), name=f"fold{number}", project="cv", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = nn.functional.cross_entropy(model(x[~held]), y[~held])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                accuracy = (model(x[held]).argmax(1) == y[held]).float().mean().item()
            epochs.log(train_loss=loss, val_acc=accuracy)
            witness(
                f"fold{number}",
                epoch,
                {"train_loss": loss.item(), "val_acc": accuracy},
                model=model,
                optimizer=optimizer,
            )
    with torch.no_grad():
        return (model(x[held]).argmax(1) == y[held]).float().mean().item()


x, y = blobs(90)
scores = Scores()
chooser = nn.Linear(1, 1)
with notify_epoch(
    range(FOLDS), name="cross-validation", project="cv", progress=False,
    checkpoints=saves("cv", model=chooser, extra={"scores": scores}),
) as folds:  # fmt: skip
    for number in folds:
        scores.of[str(number)] = fold(number, x, y)
        folds.log(val_acc=scores.of[str(number)])
        witness("cross-validation", number, {"val_acc": scores.of[str(number)]}, model=chooser, scores=scores)
print({key: round(value, 6) for key, value in scores.of.items()})
