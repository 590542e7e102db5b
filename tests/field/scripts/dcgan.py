"""Two networks against each other, each with an optimizer of its own; labels of real and fake."""

import torch
from kit import saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(999)
nz = 8
real = torch.randn(64, 16) * 0.3 + 1
fixed_noise = torch.randn(4, nz)


def weights_init(m):
    if isinstance(m, nn.Linear):
        nn.init.normal_(m.weight, 0.0, 0.02)
    elif isinstance(m, nn.BatchNorm1d):
        nn.init.normal_(m.weight, 1.0, 0.02)
        nn.init.zeros_(m.bias)


netG = nn.Sequential(nn.Linear(nz, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 16)).apply(weights_init)
netD = nn.Sequential(nn.Linear(16, 16), nn.LeakyReLU(0.2), nn.Linear(16, 1), nn.Sigmoid()).apply(weights_init)
criterion = nn.BCELoss()
optimizerD = torch.optim.Adam(netD.parameters(), lr=0.0002, betas=(0.5, 0.999))
optimizerG = torch.optim.Adam(netG.parameters(), lr=0.0002, betas=(0.5, 0.999))
kept = saves("dcgan", model=netG, optimizer=optimizerG, extra={"netD": netD, "optimizerD": optimizerD})
with notify_epoch(range(4), name="dcgan", checkpoints=kept, model=netG, progress=False) as epochs:
    for epoch in epochs:
        for i in range(0, 64, 16):
            netD.zero_grad()
            label = torch.full((16,), 1.0)
            errD_real = criterion(netD(real[i : i + 16]).view(-1), label)
            errD_real.backward()
            fake = netG(torch.randn(16, nz))
            label.fill_(0.0)
            errD_fake = criterion(netD(fake.detach()).view(-1), label)
            errD_fake.backward()
            optimizerD.step()
            netG.zero_grad()
            label.fill_(1.0)
            output = netD(fake).view(-1)
            errG = criterion(output, label)
            errG.backward()
            optimizerG.step()
            epochs.log(Loss_D=errD_real + errD_fake, Loss_G=errG, D_x=output.mean())
        print(f"[{epoch}/4] Loss_D: {errD_real.item() + errD_fake.item():.4f} Loss_G: {errG.item():.4f}")
        with torch.no_grad():
            shown = netG(fixed_noise).mean().item()
        epochs.log(fixed=shown)
        witness("dcgan", epoch, {"fixed": shown}, model=netG, optimizer=optimizerG, netD=netD, optimizerD=optimizerD)
