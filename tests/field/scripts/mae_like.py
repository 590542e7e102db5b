"""A research code's main: `print` replaced for all, meters as generators, log.txt, logging set up late, stdout teed."""

import argparse
import builtins
import datetime
import json
import logging
import logging.config
import math
import sys
import warnings
from collections import defaultdict, deque

import torch
from kit import pictures, saves, witness
from torch import nn

from notifybot import notify_epoch


def print_with_time():
    plain = builtins.print

    def timed(*args, force=False, **more):
        plain("[time] ", end="")
        plain(*args, **more)

    builtins.print = timed


class Tee:
    """What is printed goes to a file too."""

    def __init__(self, name, stream):
        self.file, self.stream = open(name, "w", encoding="utf-8"), stream  # noqa: SIM115

    def write(self, text):
        self.stream.write(text)
        self.file.write(text)

    def flush(self):
        self.stream.flush()
        self.file.flush()


class Meters:
    def __init__(self):
        self.values = defaultdict(lambda: deque(maxlen=200))

    def update(self, **given):
        for name, value in given.items():
            self.values[name].append(value)

    def log_every(self, batches, every, header):
        for at, batch in enumerate(batches):
            yield batch
            if at % every == 0:
                print(header, f"[{at}/{len(batches)}]", " ".join(f"{k}: {v[-1]:.4f}" for k, v in self.values.items()))
        print(header, "Total time: 0:00:00")

    def means(self):
        return {name: sum(each) / len(each) for name, each in self.values.items()}


def set_rate(optimizer, epoch, args):
    share = (
        epoch / args.warmup_epochs
        if epoch < args.warmup_epochs
        else 0.5 * (1 + math.cos(math.pi * epoch / args.epochs))
    )
    for group in optimizer.param_groups:
        group["lr"] = args.lr * share * group.get("lr_scale", 1.0)
    return args.lr * share


class Masked(nn.Module):
    """An encoder and a decoder of flattened pictures, a part of which is hidden."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 16), nn.Linear(16, 64)
        self.mask_token = nn.Parameter(torch.zeros(1))
        self.register_buffer("position", torch.arange(64.0), persistent=False)

    def forward(self, images):
        flat = images.flatten(1)
        hidden = torch.rand_like(flat) < 0.75
        told = self.decoder(self.encoder(torch.where(hidden, self.mask_token, flat)).relu())
        return ((told - flat) ** 2)[hidden].mean()


def one_epoch(model, loader, optimizer, epoch, args, epochs):
    model.train()
    meters = Meters()
    optimizer.zero_grad()
    for at, (images, _) in enumerate(meters.log_every(loader, 2, f"Epoch: [{epoch}]")):
        if at % args.accum_iter == 0:
            rate = set_rate(optimizer, at / len(loader) + epoch, args)
        loss = model(images)
        if not math.isfinite(loss.item()):
            print(f"Loss is {loss.item()}, stopping training")
            sys.exit(1)
        (loss / args.accum_iter).backward()
        if (at + 1) % args.accum_iter == 0:
            optimizer.step()
            optimizer.zero_grad()
        meters.update(loss=loss.item(), lr=rate)
        epochs.log(train_loss=loss.item())
    return meters.means()


def main(args):
    print_with_time()
    warnings.simplefilter("error", DeprecationWarning)
    torch.manual_seed(args.seed)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*pictures(64)), args.batch_size, shuffle=True)
    model = Masked()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0, "lr_scale": 0.5}],
        lr=args.lr, betas=(0.9, 0.95),
    )  # fmt: skip
    kept = saves("mae", model=model, optimizer=optimizer)
    epochs = notify_epoch(
        range(args.start_epoch, args.epochs), name="mae", params=args, model=model, checkpoints=kept, progress=False
    )
    logging.config.dictConfig({
        "version": 1,
        "disable_existing_loggers": True,
        "handlers": {"file": {
            "class": "logging.handlers.RotatingFileHandler", "filename": "train.log", "maxBytes": 400, "backupCount": 2,
        }},
        "root": {"handlers": ["file"], "level": "DEBUG"},
    })  # fmt: skip
    sys.stdout = Tee("stdout.txt", sys.stdout)
    sys.excepthook = lambda kind, error, traceback: print("uncaught", kind.__name__)
    with epochs:
        for epoch in epochs:
            means = one_epoch(model, loader, optimizer, epoch, args, epochs)
            epochs.log({f"train_{name}": value for name, value in means.items() if name != "loss"})
            logging.getLogger("mae.train").info("epoch %d %s", epoch, means)
            with open("log.txt", "a", encoding="utf-8") as file:
                file.write(json.dumps({**means, "epoch": epoch}) + "\n")
            witness(
                "mae", epoch, {"train_loss": means["loss"], "train_lr": means["lr"]}, model=model, optimizer=optimizer
            )
    print("Training time", datetime.timedelta(0))


if __name__ == "__main__":
    parser = argparse.ArgumentParser("MAE pre-training", add_help=False)
    parser.add_argument("--batch_size", default=16, type=int)
    parser.add_argument("--epochs", default=5, type=int)
    parser.add_argument("--accum_iter", default=2, type=int)
    parser.add_argument("--warmup_epochs", default=2, type=int)
    parser.add_argument("--start_epoch", default=0, type=int)
    parser.add_argument("--lr", default=1e-2, type=float)
    parser.add_argument("--seed", default=0, type=int)
    main(parser.parse_args())
