"""Parametrised and spectrally normalised weights, several critic steps a step, a gradient penalty."""

import torch
from kit import saves, witness
from torch import nn
from torch.nn.utils import parametrizations

from notifybot import notify_epoch

torch.manual_seed(0)
real = torch.randn(64, 8) + 2
critic = nn.Sequential(
    parametrizations.spectral_norm(nn.Linear(8, 16)), nn.ReLU(), parametrizations.weight_norm(nn.Linear(16, 1))
)
maker = nn.Sequential(nn.Linear(4, 16), nn.GELU(), parametrizations.orthogonal(nn.Linear(16, 8)))
opt_c = torch.optim.RMSprop(critic.parameters(), lr=1e-3)
opt_m = torch.optim.RMSprop(maker.parameters(), lr=1e-3)
both = nn.ModuleDict({"critic": critic, "maker": maker})
kept = saves("wgan", model=both, extra={"opt_c": opt_c, "opt_m": opt_m})
with notify_epoch(range(4), name="wgan", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        for _ in range(3):
            fake = maker(torch.randn(64, 4)).detach()
            mixed = (real + torch.rand(64, 1) * (fake - real)).requires_grad_(True)
            (slope,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
            loss = critic(fake).mean() - critic(real).mean() + 10 * ((slope.norm(dim=1) - 1) ** 2).mean()
            opt_c.zero_grad()
            loss.backward()
            opt_c.step()
        loss_g = -critic(maker(torch.randn(64, 4))).mean()
        opt_m.zero_grad()
        loss_g.backward()
        opt_m.step()
        epochs.log(loss_critic=loss, loss_g=loss_g)
        print(epoch, f"{loss.item():.6f} {loss_g.item():.6f}")
        told = {"loss_critic": loss.item(), "loss_g": loss_g.item()}
        witness("wgan", epoch, told, model=both, opt_c=opt_c, opt_m=opt_m)
