"""Sharded checkpoints of one process: what is damaged, hostile or does not fit is refused before anything changes."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.durable_io import Files
from notifybot.checkpoints.manifest import Manifest, Part, hash_of_parts
from notifybot.checkpoints.sharded import load_sharded, save_sharded
from notifybot.errors import CheckpointError, UsageError
from notifybot.testing import FakeClock
from tests.support.training_parts import same

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without torch.distributed"),
]


@pytest.fixture
def shelf(tmp_path: Path) -> CheckpointDirectory:
    """A folder with a sharded checkpoint, saved by this one process."""
    shelf = CheckpointDirectory(tmp_path / "shelf")
    save_sharded(shelf, "checkpoint", described, model=nn.Linear(2, 2), extra={"epoch": 1})
    return shelf


def described(name: str, sha256: str, size_bytes: int) -> Manifest:
    return Manifest(name, sha256, size_bytes, "run", "s", 1, epoch=1, saved_at=FakeClock().now())


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp", "extra.pt"])
@pytest.mark.parametrize("harm", [flip, Path.unlink], ids=["flipped", "missing"])
def test_a_damaged_part_is_found_before_loading(
    shelf: CheckpointDirectory, name: str, harm: Callable[[Path], None]
) -> None:
    """Every part is compared with the manifest first, and the error names it."""
    (manifest,) = shelf.manifests()
    harm(shelf.folder / "checkpoint.sharded" / name)

    with pytest.raises(CheckpointError, match=name):
        load_sharded(shelf, manifest, model=nn.Linear(2, 2))


class Marker:
    """An object whose unpickling leaves a folder behind: stands for any code in a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def with_true_hashes(shelf: CheckpointDirectory) -> Manifest:
    """The manifest as an attacker would write it: of the parts as they are now."""
    (manifest,) = shelf.manifests()
    inside = Files(shelf.folder / manifest.file)
    parts = {name: Part(*inside.hash(name)) for name in inside.names()}
    size = sum(each.size_bytes for each in parts.values())
    return replace(manifest, parts=parts, sha256=hash_of_parts(parts), size_bytes=size)


def test_code_in_the_index_does_not_run(shelf: CheckpointDirectory, tmp_path: Path) -> None:
    """PyTorch's own reader unpickles it without restriction, whatever hash stands in the manifest."""
    (shelf.folder / "checkpoint.sharded" / ".metadata").write_bytes(pickle.dumps(Marker(tmp_path / "ran")))

    with pytest.raises(CheckpointError, match="nothing of it was run"):
        load_sharded(shelf, with_true_hashes(shelf), model=nn.Linear(2, 2))

    assert not (tmp_path / "ran").exists()


def test_an_index_names_no_file_elsewhere(shelf: CheckpointDirectory) -> None:
    """A crafted index must not read this machine's other files into a model."""
    index = shelf.folder / "checkpoint.sharded" / ".metadata"
    metadata = pickle.loads(index.read_bytes())
    for each in metadata.storage_data.values():
        each.relative_path = "../../elsewhere"
    index.write_bytes(pickle.dumps(metadata))

    with pytest.raises(CheckpointError, match=r"no part of the checkpoint: \.\./\.\./elsewhere"):
        load_sharded(shelf, with_true_hashes(shelf), model=nn.Linear(2, 2))


def test_a_model_that_does_not_fit_is_told_which_keys(shelf: CheckpointDirectory) -> None:
    """Missing, unknown and of another shape, each by name."""
    (manifest,) = shelf.manifests()
    other = nn.Linear(2, 3, bias=False)
    other.extra = nn.Linear(1, 1, bias=False)

    with pytest.raises(CheckpointError) as raised:
        load_sharded(shelf, manifest, model=other)

    assert "1 missing in the checkpoint: model.extra.weight" in str(raised.value)
    assert "1 unknown here: model.bias" in str(raised.value)
    assert "model.weight ([2, 2] in the checkpoint, [3, 2] here)" in str(raised.value)


def test_a_model_alone_is_read_from_a_checkpoint_with_its_optimizer(tmp_path: Path) -> None:
    """For evaluation nobody builds an optimizer."""
    model, other, shelf = nn.Linear(2, 2), nn.Linear(2, 2), CheckpointDirectory(tmp_path)
    optimizer = torch.optim.Adam(model.parameters())
    manifest = save_sharded(shelf, "checkpoint", described, model=model, optimizer=optimizer)

    load_sharded(shelf, manifest, model=other)

    assert torch.equal(other.weight, model.weight)


@pytest.mark.parametrize("names", [None, ("type", "net.type")], ids=["list", "dict"])
def test_several_models_with_their_optimizers_come_back(tmp_path: Path, names: tuple[str, ...] | None) -> None:
    """In one checkpoint, each by its place or name, with the optimizers' states."""

    def several(seed: int) -> tuple[Any, Any]:
        torch.manual_seed(seed)
        models = [nn.Linear(2, 2), nn.Linear(3, 1)]
        optimizers = [torch.optim.Adam(each.parameters(), lr=0.1) for each in models]
        for model, optimizer in zip(models, optimizers, strict=True):
            model(torch.ones(1, model.in_features)).sum().backward()
            optimizer.step()
        if names is None:
            return models, optimizers
        return dict(zip(names, models, strict=True)), dict(zip(names, optimizers, strict=True))

    shelf = CheckpointDirectory(tmp_path)
    (model, optimizer), (other, others) = several(0), several(1)
    manifest = save_sharded(shelf, "checkpoint", described, model=model, optimizer=optimizer)

    load_sharded(shelf, manifest, model=other, optimizer=others)

    for place in names or range(2):
        assert same(other[place].state_dict(), model[place].state_dict())
        assert same(others[place].state_dict()["state"], optimizer[place].state_dict()["state"])


def test_a_save_that_fails_leaves_nothing(shelf: CheckpointDirectory) -> None:
    """Such as one with an extra that would not load again."""
    with pytest.raises(UsageError, match="bad"):
        save_sharded(shelf, "second", described, model=nn.Linear(2, 2), extra={"bad": object()})

    assert sorted(each.name for each in shelf.folder.iterdir()) == ["checkpoint.sharded", "checkpoint.sharded.json"]
