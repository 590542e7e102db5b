"""A variational autoencoder whose samples come from the global generator, in a bare `for` without `with`."""

import torch
import torch.nn.functional as F
from kit import pictures, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(1)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(64, 32), nn.Linear(32, 4), nn.Linear(32, 4)
        self.fc3, self.fc4 = nn.Linear(4, 32), nn.Linear(32, 64)

    def forward(self, x):
        h1 = F.relu(self.fc1(x.view(-1, 64)))
        mu, logvar = self.fc21(h1), self.fc22(h1)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z)))), mu, logvar


images = pictures()[0] / 2
model = VAE()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
epochs = notify_epoch(
    range(1, 5), name="vae", checkpoints=saves("vae", model=model, optimizer=optimizer), progress=False
)
for epoch in epochs:
    total = 0.0
    for index in torch.randperm(len(images)).split(24):
        data = images[index]
        optimizer.zero_grad()
        recon, mu, logvar = model(data)
        bce = F.binary_cross_entropy(recon, data.view(-1, 64), reduction="sum")
        loss = bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        loss.backward()
        total += loss.item()
        optimizer.step()
    print(f"====> Epoch: {epoch} Average loss: {total / len(images):.4f}")
    epochs.log(loss=total / len(images))
    witness("vae", epoch, {"loss": total / len(images)}, model=model, optimizer=optimizer)
