"""A notebook: the loop's cell fails on a wrong shape, is mended and run again, then stopped, then run to the end."""

import os

os.environ["IPYTHONDIR"] = os.path.join(os.environ["FIELD_HOME"], "ipython")
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
SETUP = """
import torch
from torch import nn
from kit import blobs, saves, witness
from notifybot import notify_epoch
torch.manual_seed(0)
x, y = blobs(96)
model = nn.Linear(16, 4)
optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
kept = saves("notebook", model=model, optimizer=optimizer)
stop_in = None
"""
LOOP = """
with notify_epoch(range(5), name="notebook", checkpoints=kept, progress=False) as epochs:
    for epoch in epochs:
        if epoch == stop_in:
            raise KeyboardInterrupt
        loss = nn.functional.cross_entropy(model(x), y{mistake})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        epochs.log(train_loss=loss)
        print(epoch, f"{{loss.item():.6f}}")
        witness("notebook", epoch, {{"train_loss": loss.item()}}, model=model, optimizer=optimizer)
"""


def cell(source):
    result = shell.run_cell(source, store_history=True, silent=False)
    print("cell:", type(result.error_in_exec).__name__)


cell(SETUP)
cell(LOOP.format(mistake="[:5]"))
cell(LOOP.format(mistake=""))
cell("print('trained')")
