"""Each layer learns by a loss and an optimizer of its own, one after the other; `train` is what PyTorch's is not."""

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch

torch.manual_seed(1)
x, y = blobs(96, 16, 4)


def overlay(x, y):
    marked = x.clone()
    marked[:, :4] *= 0.0
    marked[range(x.shape[0]), y] = x.max()
    return marked


class Layer(nn.Linear):
    def __init__(self, number, given, made):
        super().__init__(given, made)
        self.number, self.threshold = number, 2.0
        self.opt = torch.optim.Adam(self.parameters(), lr=0.03)

    def forward(self, x):
        direction = x / (x.norm(2, 1, keepdim=True) + 1e-4)
        return torch.relu(torch.mm(direction, self.weight.T) + self.bias.unsqueeze(0))

    def train(self, good, bad):
        name = f"layer{self.number}"
        kept = saves(name, model=self, optimizer=self.opt)
        with notify_epoch(range(6), name=name, model=self, checkpoints=kept, progress=False) as epochs:
            for epoch in epochs:
                g_pos, g_neg = self.forward(good).pow(2).mean(1), self.forward(bad).pow(2).mean(1)
                loss = torch.log1p(torch.exp(torch.cat([self.threshold - g_pos, g_neg - self.threshold]))).mean()
                self.opt.zero_grad()
                loss.backward()
                self.opt.step()
                epochs.log(Loss=loss)
                if epoch % 2 == 0:
                    print("Loss:", f"{loss.item():.6f}")
                witness(name, epoch, {"Loss": loss.item()}, model=self, optimizer=self.opt)
        return self.forward(good).detach(), self.forward(bad).detach()


class Net(nn.Module):
    def __init__(self, widths):
        super().__init__()
        self.layers = [Layer(i, *pair) for i, pair in enumerate(zip(widths, widths[1:], strict=False))]

    def predict(self, x):
        goodness = []
        for label in range(4):
            h, total = overlay(x, label), 0
            for layer in self.layers:
                h = layer(h)
                total = total + h.pow(2).mean(1)
            goodness.append(total.unsqueeze(1))
        return torch.cat(goodness, 1).argmax(1)

    def train(self, good, bad):
        for layer in self.layers:
            print("training layer:", layer.number)
            good, bad = layer.train(good, bad)


net = Net([16, 24, 24])
wrong = (y + torch.randint(1, 4, (len(y),))) % 4
net.train(overlay(x, y), overlay(x, wrong))
print("train error:", f"{1.0 - net.predict(x).eq(y).float().mean().item():.4f}")
