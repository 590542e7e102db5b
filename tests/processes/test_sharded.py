"""Two processes that train one model: they save together, fail together and restore the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without torch.distributed")

from torch import nn  # noqa: E402

from notifybot.checkpoints.directory import CheckpointDirectory  # noqa: E402
from notifybot.checkpoints.manifest import Manifest  # noqa: E402
from notifybot.checkpoints.sharded import load_sharded, save_sharded  # noqa: E402
from notifybot.testing import FakeClock  # noqa: E402

torch.set_num_threads(1)

PROGRAM = """
import json, os, sys, warnings
from datetime import UTC, datetime
from pathlib import Path
warnings.simplefilter("ignore")
import torch, torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from notifybot.checkpoints.distributed import from_rank_zero, on_all_ranks
from notifybot.checkpoints.manifest import Manifest
from notifybot.checkpoints.serialization import read_payload, write_payload
from notifybot.checkpoints.sharded import load_sharded, save_sharded
from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.errors import CheckpointError

torch.set_num_threads(1)
rank, folder = int(os.environ["RANK"]), Path(os.environ["FOLDER"])
dist.init_process_group("gloo", init_method=f"file://{folder / 'rendezvous'}", rank=rank, world_size=2)
found = {}

def describe(name, sha256, size_bytes):
    return Manifest(name, sha256, size_bytes, "run", "s", 1, epoch=1, saved_at=datetime(2026, 1, 1, tzinfo=UTC))

def error_of(work):
    try:
        work()
    except CheckpointError as error:
        return str(error)

# ── FSDP: every rank holds a half of each weight

def build(width=8):
    torch.manual_seed(rank)
    model = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
    fully_shard(model, mesh=init_device_mesh("cpu", (2,)))
    return model, torch.optim.Adam(model.parameters(), lr=0.1)

def train(model, optimizer):
    model(torch.ones(2, 4) * (rank + 1)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return [parameter.full_tensor().tolist() for parameter in model.parameters()]

model, optimizer = build()
train(model, optimizer)
shelf = CheckpointDirectory(folder / "shelf")
extra = {"epoch": 1, "rank": rank}
save_sharded(shelf, "checkpoint", describe, model=model, optimizer=optimizer, extra=extra)
expected = train(model, optimizer)

other, its_optimizer = build()
manifest, _ = from_rank_zero(lambda: shelf.newest_verified("run"))
found["extra"] = load_sharded(shelf, manifest, model=other, optimizer=its_optimizer)
found["same"] = train(other, its_optimizer) == expected

wide, _ = build(width=6)
before = [parameter.full_tensor().tolist() for parameter in wide.parameters()]
found["misfit"] = error_of(lambda: load_sharded(shelf, manifest, model=wide))
found["unchanged"] = [parameter.full_tensor().tolist() for parameter in wide.parameters()] == before
bad = {"bad": object()}
found["unplain"] = error_of(lambda: save_sharded(shelf, "second", describe, model=model, extra=bad))

# ── DDP: both hold all of it, rank 0 saves

torch.manual_seed(rank)
model = nn.parallel.DistributedDataParallel(nn.Linear(2, 1))
if rank == 0:
    with (folder / "checkpoint_1.pt").open("wb") as file:
        write_payload({"model_state_dict": model.module.state_dict()}, file)
dist.barrier()
if rank == 1:
    (folder / "checkpoint_2.pt").write_bytes(b"half a checkpo")

path = from_rank_zero(lambda: max(folder.glob("checkpoint_1.pt" if rank == 0 else "checkpoint_*.pt")))
with torch.no_grad():
    model.module.weight.zero_()
model.module.load_state_dict(read_payload(path)["model_state_dict"])

found["path"] = path.name
found["weight"] = model.module.weight.tolist()
found["none"] = error_of(lambda: from_rank_zero(lambda: max(folder.glob("nothing"))))
found["one"] = error_of(lambda: on_all_ranks(lambda: 1 / (1 - rank)))
found["both"] = on_all_ranks(lambda: rank * 10)

(folder / f"found_{rank}.json").write_text(json.dumps(found))
dist.barrier()
os._exit(0)  # without C++'s tear-down, in which a thread of DDP's sometimes aborts the process
"""


class Ranks(NamedTuple):
    """What the two processes left: a folder, and what each of them found."""

    folder: Path
    found: list[dict[str, Any]]


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    """Run the program above as ranks 0 and 1, once: most of its time goes into importing PyTorch."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "train.py").write_text(PROGRAM, "utf-8")
    environment = {**os.environ, "FOLDER": str(folder), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(folder / "train.py")]
    processes = [
        subprocess.Popen(command, env={**environment, "RANK": rank}, stderr=subprocess.PIPE, text=True) for rank in "01"
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(errors)
    return Ranks(folder, [json.loads((folder / f"found_{rank}.json").read_text()) for rank in "01"])


def test_two_ranks_restore_their_shards(ranks: Ranks) -> None:
    """Weights, optimizer and extra values come back: the next step is the one that would have been."""
    assert [found["same"] for found in ranks.found] == [True, True]
    assert [found["extra"] for found in ranks.found] == [{"epoch": 1, "rank": 0}] * 2


def test_what_does_not_fit_changes_nothing_on_either_rank(ranks: Ranks) -> None:
    """Both ranks get the error, with the keys, and keep the weights they had."""
    for found in ranks.found:
        assert "0.weight ([8, 4] in the checkpoint, [6, 4] here)" in found["misfit"]
        assert found["unchanged"]


def test_a_save_that_fails_on_one_rank_fails_on_both(ranks: Ranks) -> None:
    """Neither waits for the other for ever, and only the good checkpoint is in the folder."""
    assert ["rank 0:" in found["unplain"] for found in ranks.found] == [True, True]
    assert sorted(each.name for each in (ranks.folder / "shelf").iterdir()) == [
        "checkpoint.sharded",
        "checkpoint.sharded.json",
    ]


def test_another_number_of_ranks_reads_the_shards(ranks: Ranks) -> None:
    """One process alone, and a model that is not sharded at all."""
    shelf = CheckpointDirectory(ranks.folder / "shelf")
    (manifest,) = shelf.manifests("run")

    extra = load_sharded(shelf, manifest, model=nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))

    assert set(manifest.parts) == {".metadata", "__0_0.distcp", "__1_0.distcp", "extra.pt"}
    assert extra["epoch"] == 1


def test_both_ranks_restore_what_rank_zero_chose(ranks: Ranks) -> None:
    """DDP: a newer file appears while rank 1 looks, and both still load the same one."""
    first, second = ranks.found

    assert first["path"] == "checkpoint_1.pt"
    assert first["weight"] == second["weight"] != [[0.0, 0.0]]
    assert (first["path"], first["none"]) == (second["path"], second["none"])
    assert "rank 0: max()" in first["none"]


def test_an_error_of_one_rank_is_an_error_of_all(ranks: Ranks) -> None:
    """And without one, every rank has every result."""
    assert [found["one"] for found in ranks.found] == ["rank 1: division by zero"] * 2
    assert [found["both"] for found in ranks.found] == [[0, 10]] * 2


@pytest.fixture
def shelf(tmp_path: Path) -> CheckpointDirectory:
    """A folder with a sharded checkpoint, saved by this one process."""
    shelf = CheckpointDirectory(tmp_path / "shelf")
    save_sharded(shelf, "checkpoint", described, model=nn.Linear(2, 2), extra={"epoch": 1})
    return shelf


def described(name: str, sha256: str, size_bytes: int) -> Manifest:
    return Manifest(name, sha256, size_bytes, "run", "s", 1, epoch=1, saved_at=FakeClock().now())
