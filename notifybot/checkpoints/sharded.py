"""Sharded checkpoints, for models that no single process holds: every rank writes its part into one folder.

torch.distributed.checkpoint moves the tensors, also to another number of ranks. The folder counts as a checkpoint when
its manifest is there, which rank 0 writes last: it lists the hash of every part, and all are compared before a load.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner

from notifybot.checkpoints.compatibility import MISSING, RESHAPED, differing, listed, together
from notifybot.checkpoints.directory import CheckpointDirectory, MakeManifest
from notifybot.checkpoints.distributed import from_rank_zero, group, on_all_ranks
from notifybot.checkpoints.durable_io import Files
from notifybot.checkpoints.errors import unfit
from notifybot.checkpoints.manifest import Manifest
from notifybot.checkpoints.serialization import read_payload, write_payload
from notifybot.checkpoints.validation import places_of
from notifybot.errors import CheckpointError, reader_text

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
Models: TypeAlias = "nn.Module | Sequence[nn.Module] | Mapping[str, nn.Module]"
Optimizers: TypeAlias = "Optimizer | Sequence[Optimizer] | Mapping[str, Optimizer] | None"

_EXTRA = "extra.pt"
_PART = re.compile(r"__(\d+)_\d+\.distcp")


def save_sharded(
    shelf: CheckpointDirectory,
    stem: str,
    make_manifest: MakeManifest,
    *,
    model: Models,
    optimizer: Optimizers = None,
    extra: Mapping[str, Any] | None = None,
) -> Manifest:
    """Save a model's shards as `stem` + ".sharded" on a shelf that all ranks see; return the checkpoint's manifest.

    Every rank calls it. Several models, and several optimizers, come as a list or dict. `extra` holds further plain
    values to keep; rank 0's `extra` and `make_manifest` are used. If one rank fails, all raise CheckpointError and the
    folder is removed.
    """
    staged = from_rank_zero(shelf.stage)

    def seal() -> Manifest:
        if not set.union(*written) <= set(Files(staged).names()):
            raise CheckpointError(reader_text("checkpoints.sharded.ranks_wrote_elsewhere", folder=shelf.folder))
        return shelf.seal(staged, stem, make_manifest)

    try:
        written = on_all_ranks(lambda: _write(staged, model, optimizer, extra or {}))
        return from_rank_zero(seal)
    except BaseException:
        if _rank() == 0:
            Files(staged.parent).discard(staged.name)
        raise


def load_sharded(
    shelf: CheckpointDirectory, manifest: Manifest, *, model: Models, optimizer: Optimizers = None
) -> dict[str, Any]:
    """Verify every part, then load them into the model and the optimizer; return what was saved as `extra`.

    Every rank calls it with the same manifest, as from `from_rank_zero(lambda: shelf.newest_verified(run_id))`.
    CheckpointError, on all ranks, when a part is damaged or the checkpoint does not fit, before anything is changed.
    """
    inside = shelf.folder / manifest.file
    from_rank_zero(lambda: shelf.verify(manifest))
    extra = on_all_ranks(lambda: read_payload(inside / _EXTRA))
    on_all_ranks(lambda: _load(inside, manifest, model, optimizer))
    return extra[_rank()]


def _write(staged: Path, model: Models, optimizer: Optimizers, extra: Mapping[str, Any]) -> set[str]:
    """Write this rank's parts; return their names."""
    import torch.distributed.checkpoint as dcp

    with _alone_or_not() as alone:
        dcp.save(_state(model, optimizer), checkpoint_id=staged, no_dist=alone)
    files = Files(staged)
    if _rank() == 0:
        files.fill(_EXTRA, lambda file: write_payload(extra, file))
    return {name for name in files.names() if (found := _PART.fullmatch(name)) and int(found[1]) == _rank()}


def _load(inside: Path, manifest: Manifest, model: Models, optimizer: Optimizers) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_model_state_dict, set_state_dict

    state = _state(model, optimizer)
    reader = ShardReader(inside, manifest.parts)
    try:
        with _alone_or_not() as alone:
            dcp.load(state, storage_reader=reader, planner=ShardPlanner(), no_dist=alone)
    except dcp.api.CheckpointException as error:  # it holds one error per rank; most are the same
        first, _ = next(iter(error.failures.values()))
        raise CheckpointError(
            reader_text("checkpoints.sharded.cannot_be_loaded", name=inside.name, first=first)
        ) from error
    whole, optimizers = _one(model), _all(optimizer)
    if not optimizers:
        set_model_state_dict(whole, state["model"])
    else:
        set_state_dict(whole, optimizers, model_state_dict=state["model"], optim_state_dict=state["optimizer"])


def _state(model: Models, optimizer: Optimizers) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_state_dict

    whole, optimizers = _one(model), _all(optimizer)
    if not optimizers:
        return {"model": get_model_state_dict(whole)}
    weights, state = get_state_dict(whole, optimizers)
    return {"model": weights, "optimizer": state}


def _one(model: Models) -> Any:
    """Return the model, or one that holds several: PyTorch finds an optimizer's parameters by their names in it."""
    places = places_of("model", model)
    alone = len(places) == 1 and places[0][0] is None
    return model if alone else together({_segment(str(name)): each for name, each in places})


def _segment(name: str) -> str:
    """Return a name in a form that is one part of a dotted one, and never an attribute that modules have."""
    return f"[{name.replace('%', '%25').replace('.', '%2E')}]"


def _all(optimizer: Optimizers) -> list[Optimizer]:
    return [each for _, each in places_of("optimizer", optimizer)]


@contextmanager
def _alone_or_not() -> Iterator[bool]:
    """Yield True if this process is the only one, and silence PyTorch's warning about that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield group() is None


def _rank() -> int:
    ranks = group()
    return int(ranks.get_rank()) if ranks else 0


_KNOWN = {
    "collections": {"OrderedDict"},
    "pathlib": {"Path", "PosixPath", "WindowsPath"},
    "pathlib._local": {"Path", "PosixPath", "WindowsPath"},  # their module in Python 3.13
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
}


class ShardReader(FileSystemReader):  # type: ignore[misc, unused-ignore]
    """Reads a folder whose index holds descriptions of tensors alone, all in files of this folder."""

    def __init__(self, folder: Path, parts: Collection[str]) -> None:
        super().__init__(folder)
        self._folder = folder
        self._parts = parts

    def read_metadata(self, *args: Any, **kwargs: Any) -> Any:
        with (self._folder / ".metadata").open("rb") as file:
            metadata = _Restricted(file).load()
        foreign = sorted({each.relative_path for each in metadata.storage_data.values()} - set(self._parts))
        if foreign:
            shown = ", ".join(foreign[:3])
            raise CheckpointError(reader_text("checkpoints.sharded.index_names_foreign_files", shown=shown))
        return super().read_metadata(*args, **kwargs)


class ShardPlanner(DefaultLoadPlanner):  # type: ignore[misc, unused-ignore]
    """Compares what is wanted with what is there before the first tensor is touched."""

    def create_local_plan(self) -> Any:
        saved = self.metadata.state_dict_metadata
        asked = {name.partition(".")[0] for name in self.state_dict}  # the model alone, or the optimizer as well
        shapes = [
            differing(name, list(saved[name].size), list(value.shape))
            for name, value in self.state_dict.items()
            if isinstance(value, torch.Tensor) and name in saved and list(saved[name].size) != list(value.shape)
        ]
        problems = [
            *listed(MISSING, sorted(self.state_dict.keys() - saved.keys())),
            *listed(
                "checkpoints.compatibility.unknown_here",
                sorted(name for name in saved.keys() - self.state_dict.keys() if name.partition(".")[0] in asked),
            ),
            *listed(RESHAPED, shapes),
        ]
        if problems:
            raise CheckpointError(unfit(problems))
        return super().create_local_plan()

    def load_bytes(self, read_item: Any, value: BytesIO) -> None:
        torch.load(value, weights_only=True)  # refuses code, which the parent class's load does not
        value.seek(0)
        super().load_bytes(read_item, value)


class _Restricted(pickle.Unpickler):
    """Unpickles an index: names of the classes that one is made of, nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_type or name in _KNOWN.get(module, ()):
            return super().find_class(module, name)
        raise CheckpointError(reader_text("checkpoints.sharded.index_refused", module=module, name=name))
