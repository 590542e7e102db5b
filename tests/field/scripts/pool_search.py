"""A search over rates by a pool of forked processes, each with several trainings, within a loop that is the search's."""

import multiprocessing as mp

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


def trial(given):
    number, rate = given
    torch.manual_seed(number)
    x, y = blobs(96)
    model = nn.Linear(16, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    name, best = f"trial{number}", 0.0
    kept = saves(name, model=model, optimizer=optimizer)
    with notify_epoch(range(4), name=name, params={"lr": rate}, checkpoints=kept, progress=False) as epochs:
        for epoch in epochs:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            best = (model(x).argmax(1) == y).float().mean().item()
            epochs.log(loss=loss, val_acc=best)
            witness(name, epoch, {"loss": loss.item(), "val_acc": best}, model=model, optimizer=optimizer)
    return number, {name: each.numpy() for name, each in model.state_dict().items()}, best  # no shared memory


if __name__ == "__main__":
    rates, best = [0.3, 0.1, 0.03, 0.01], nn.Linear(16, 4)
    kept = saves("search", model=best)
    with notify_epoch(range(len(rates)), name="search", checkpoints=kept, progress=False) as trials:
        with mp.get_context("fork").Pool(2, maxtasksperchild=1) as pool:
            for at, (number, state, accuracy) in zip(trials, pool.imap(trial, enumerate(rates)), strict=False):
                best.load_state_dict({name: torch.from_numpy(each) for name, each in state.items()})
                trials.log(val_acc=accuracy)
                print(number, rates[at], f"{accuracy:.4f}")
                witness("search", at, {"val_acc": accuracy}, model=best)
