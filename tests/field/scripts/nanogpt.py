"""A small transformer trained by iterations, told and saved every so many of them; AdamW in two groups, cosine by hand."""

import math

import torch
from kit import saves, text, witness
from torch import nn
from torch.nn import functional as F

from notifybot import notify_epoch

torch.manual_seed(1337)
block_size, batch_size, max_iters, eval_interval, warmup_iters, learning_rate = 8, 4, 60, 10, 5, 1e-2
data = text(1000)


class GPT(nn.Module):
    def __init__(self, vocab=11, width=16):
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(block_size, width)
        self.block = nn.TransformerEncoderLayer(width, 2, 32, dropout=0.1, batch_first=True, norm_first=True)
        self.lm_head = nn.Linear(width, vocab, bias=False)
        self.wte.weight = self.lm_head.weight

    def forward(self, idx, targets):
        x = self.wte(idx) + self.wpe(torch.arange(idx.size(1)))
        mask = nn.Transformer.generate_square_subsequent_mask(idx.size(1))
        return F.cross_entropy(self.lm_head(self.block(x, mask)).view(-1, 11), targets.reshape(-1))


def get_batch():
    ix = torch.randint(len(data) - block_size, (batch_size,))
    return torch.stack([data[i : i + block_size] for i in ix]), torch.stack(
        [data[i + 1 : i + 1 + block_size] for i in ix]
    )


def get_lr(it):
    if it < warmup_iters:
        return learning_rate * (it + 1) / (warmup_iters + 1)
    ratio = (it - warmup_iters) / (max_iters - warmup_iters)
    return 1e-3 + 0.5 * (1.0 + math.cos(math.pi * ratio)) * (learning_rate - 1e-3)


model = GPT()
decay = [p for p in model.parameters() if p.dim() >= 2]
nodecay = [p for p in model.parameters() if p.dim() < 2]
optimizer = torch.optim.AdamW(
    [{"params": decay, "weight_decay": 0.1}, {"params": nodecay, "weight_decay": 0.0}],
    lr=learning_rate,
    betas=(0.9, 0.95),
)
kept = saves("nanogpt", model=model, optimizer=optimizer)
with notify_epoch(range(0, max_iters, eval_interval), name="nanogpt", checkpoints=kept, progress=False) as blocks:
    for first in blocks:
        total = 0.0
        for it in range(first, first + eval_interval):
            for group in optimizer.param_groups:
                group["lr"] = get_lr(it)
            loss = model(*get_batch())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            blocks.log(train_loss=loss, lr=get_lr(it))
            total += loss.item()
        print(f"step {first}: train loss {total / eval_interval:.4f}")
        witness("nanogpt", first, {"train_loss": total / eval_interval}, model=model, optimizer=optimizer)
