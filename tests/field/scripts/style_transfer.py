"""No network is trained but a picture: the optimizer holds one tensor."""

import torch
from kit import pictures, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
content, style = pictures()[0][:2]
features = nn.Conv2d(1, 4, 3).requires_grad_(False)
canvas = nn.ParameterDict({"picture": nn.Parameter(content.clone())})
optimizer = torch.optim.Adam(canvas.values(), lr=0.05)


def gram(t):
    flat = features(t.unsqueeze(0)).flatten(2)[0]
    return flat @ flat.t() / flat.numel()


kept = saves("style", model=canvas, optimizer=optimizer)
with notify_epoch(range(0, 50, 10), name="style", checkpoints=kept, progress=False) as runs:
    for run in runs:
        for _ in range(10):
            optimizer.zero_grad()
            picture = canvas["picture"]
            loss = nn.functional.mse_loss(gram(picture), gram(style)) + 0.1 * nn.functional.mse_loss(picture, content)
            loss.backward()
            optimizer.step()
            runs.log(loss=loss.detach())
        print(f"run {run}: Loss : {loss.item():.6f}")
        witness("style", run, {}, model=canvas, optimizer=optimizer)
