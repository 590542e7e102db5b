"""A notebook whose cell is stopped with the stop button and run again: it goes on where it was."""

import os

os.environ["IPYTHONDIR"] = os.path.join(os.environ["FIELD_HOME"], "ipython")
from IPython.core.interactiveshell import InteractiveShell
from kit import saves

shell = InteractiveShell.instance()
SETUP = """
import torch
from torch import nn
from kit import blobs, saves, witness
from notifybot import notify_epoch
x, y = blobs(96)
stopped = False
"""
LOOP = """
torch.manual_seed(0)
model = nn.Linear(16, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
kept = saves("again", model=model, optimizer=optimizer)
for epoch in notify_epoch({epochs}, name="again", checkpoints=kept, progress=False):
    loss = nn.functional.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(epoch, f"{{loss.item():.6f}}")
    witness("again", epoch, {{"train_loss": loss.item()}}, model=model, optimizer=optimizer)
    if epoch == 2 and not stopped:
        stopped = True
        {stop}
"""
resumes = saves("probe", model=__import__("torch").nn.Linear(1, 1)) is not None
shell.run_cell(SETUP)
shell.run_cell(LOOP.format(epochs="range(5)", stop="raise KeyboardInterrupt" if resumes else "pass"))
if resumes:
    shell.run_cell(LOOP.format(epochs="range(5)", stop="pass"))
print("trained")
