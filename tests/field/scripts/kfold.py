"""Cross-validation: a model, a run and a folder for each fold, and the mean in the end."""

import numpy as np
import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

features, labels = blobs(120)
order = np.random.RandomState(42).permutation(len(features))
scores = []
for fold, held in enumerate(np.array_split(order, 3)):
    torch.manual_seed(fold)
    rest = np.setdiff1d(order, held)
    model = nn.Linear(16, 4)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    kept = saves(f"cv/fold{fold}", model=model, optimizer=optimizer, monitor="val_acc", mode="max")
    score = float("nan")
    with notify_epoch(range(3), name=f"cv-fold{fold}", checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = nn.functional.cross_entropy(model(features[rest]), labels[rest])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                score = (model(features[held]).argmax(1) == labels[held]).float().mean().item()
            epochs.log(train_loss=loss, val_acc=score)
            witness(f"cv-fold{fold}", epoch, {"val_acc": score}, model=model, optimizer=optimizer)
    scores.append(score)
print("folds:", len(scores))
