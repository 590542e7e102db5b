"""A forecasting LSTM that is validated every third epoch only, ReduceLROnPlateau on what it has."""

import torch
from kit import saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(0)
series = torch.sin(torch.arange(220) * 0.2).unsqueeze(1)
windows = series.unfold(0, 12, 1).transpose(1, 2)
x, y = windows[:, :-1], windows[:, -1]


class Forecaster(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.out = nn.LSTM(1, 12, batch_first=True), nn.Linear(12, 1)

    def forward(self, given):
        return self.out(self.lstm(given)[0][:, -1])


model = Forecaster()
optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
kept = saves("forecast", model=model, optimizer=optimizer, scheduler=scheduler)
with notify_epoch(range(9), name="forecast", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        loss = nn.functional.mse_loss(model(x[:150]), y[:150])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        told = {"train_loss": loss.item()}
        if epoch % 3 == 2:
            with torch.no_grad():
                told["val_loss"] = nn.functional.mse_loss(model(x[150:]), y[150:]).item()
            scheduler.step(told["val_loss"])
        epochs.log(told)
        print(epoch, {name: f"{value:.6f}" for name, value in told.items()})
        witness("forecast", epoch, told, model=model, optimizer=optimizer, scheduler=scheduler)
