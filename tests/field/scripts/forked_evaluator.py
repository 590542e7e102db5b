"""Each epoch is judged in a forked child, which leaves by `sys.exit` through our block, with handlers and alarms about."""

import atexit
import os
import signal
import sys
import time

import torch
from kit import blobs, saves, witness
from torch import nn

from notifybot import notify_epoch


class TooLong(Exception):
    pass


def out_of_time(number, frame):
    raise TooLong


def in_child(model, x, y, way):
    """The accuracy, told through a pipe by a child whose memory goes with it."""
    here, there = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(here)
        with torch.no_grad():
            os.write(there, str((model(x).argmax(1) == y).float().mean().item()).encode())
        if way == "quick":
            os._exit(0)
        if way == "failed":
            raise RuntimeError("the child's own")
        sys.exit(3)
    os.close(there)
    with os.fdopen(here) as file:
        told = file.read()
    _, status = os.waitpid(child, 0)
    return float(told), os.waitstatus_to_exitcode(status)


def ticked(number, frame):
    pass


torch.manual_seed(0)
parent = os.getpid()
atexit.register(lambda: print("bye from", "the parent" if os.getpid() == parent else "a child", flush=True))
signal.signal(signal.SIGALRM, out_of_time)
signal.signal(signal.SIGVTALRM, ticked)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.003, 0.003)  # as a sampling profiler does
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
kept = saves("forked", model=model, optimizer=optimizer)
with notify_epoch(range(6), name="forked", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(train_loss=loss)
        accuracy, code = in_child(model, x, y, ("quick", "failed", "left")[epoch % 3])
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        try:
            while True:
                time.sleep(0.02)  # no answer comes; `signal.pause` could miss the alarm
        except TooLong:
            pass
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        epochs.log(val_acc=accuracy)
        print(epoch, f"{accuracy:.4f}", code, flush=True)
        values = {"train_loss": loss.item(), "val_acc": accuracy}
        witness("forked", epoch, values, model=model, optimizer=optimizer)
signal.setitimer(signal.ITIMER_VIRTUAL, 0)  # Python gives its handler up before it ends
