"""Checkpoints of models that no single process holds: every rank writes its part into one folder.

torch.distributed.checkpoint moves the tensors, also to another number of ranks. The folder counts as a checkpoint when
its manifest is there, which rank 0 writes last: it lists the hash of every part, and all are compared before a load.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifybot.checkpoints.directory import MakeManifest, Shelf
from notifybot.checkpoints.distributed import agree, group, together
from notifybot.checkpoints.durable_io import Files
from notifybot.checkpoints.manifest import Manifest
from notifybot.checkpoints.payload import read_payload, write_payload
from notifybot.errors import CheckpointError, said

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

_EXTRA = "extra.pt"
_PART = re.compile(r"__(\d+)_\d+\.distcp")


def save_sharded(
    shelf: Shelf,
    stem: str,
    make_manifest: MakeManifest,
    *,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Manifest:
    """Save a model's shards as `stem` + ".sharded" on a shelf that all ranks see; return the checkpoint's manifest.

    Every rank calls it. `extra` is what else is to be kept, in plain values; of that and of `make_manifest`, rank 0's
    count. When one rank fails all raise CheckpointError, and nothing is left behind.
    """
    staged = agree(shelf.stage)
    try:
        written = together(lambda: _write(staged, model, optimizer, extra or {}))
        return agree(lambda: _seal(shelf, staged, stem, make_manifest, written))
    except BaseException:
        if _rank() == 0:
            Files(staged.parent).discard(staged.name)
        raise


def load_sharded(
    shelf: Shelf, manifest: Manifest, *, model: nn.Module, optimizer: Optimizer | None = None
) -> dict[str, Any]:
    """Verify every part, then load them into the model and the optimizer; return what was saved as `extra`.

    Every rank calls it with the same manifest, such as `agree(lambda: shelf.newest_verified(run_id))` gives.
    CheckpointError, on all ranks, when a part is damaged or the checkpoint does not fit, before anything is changed.
    """
    inside = shelf.folder / manifest.file
    agree(lambda: shelf.verify(manifest))
    extra = together(lambda: read_payload(inside / _EXTRA))
    together(lambda: _load(inside, manifest, model, optimizer))
    return extra[_rank()]


def _write(staged: Path, model: nn.Module, optimizer: Optimizer | None, extra: Mapping[str, Any]) -> set[str]:
    """Write this rank's parts; return their names."""
    import torch.distributed.checkpoint as dcp

    with _alone_or_not() as alone:
        dcp.save(_state(model, optimizer), checkpoint_id=staged, no_dist=alone)
    files = Files(staged)
    if _rank() == 0:
        files.fill(_EXTRA, lambda file: write_payload(extra, file))
    return {name for name in files.names() if (found := _PART.fullmatch(name)) and int(found[1]) == _rank()}


def _seal(shelf: Shelf, staged: Path, stem: str, make_manifest: MakeManifest, written: list[set[str]]) -> Manifest:
    if not set.union(*written) <= set(Files(staged).names()):
        raise CheckpointError(
            said(
                f"not all ranks wrote to the same folder: {shelf.folder} must be one that all of them see",
                f"{shelf.folder} 폴더에 일부 랭크의 파일이 없습니다. 모든 랭크가 함께 쓰는 폴더를 지정하세요",
            )
        )
    return shelf.seal(staged, stem, make_manifest)


def _load(inside: Path, manifest: Manifest, model: nn.Module, optimizer: Optimizer | None) -> None:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.state_dict import set_model_state_dict, set_state_dict

    from notifybot.checkpoints.shards import Planner, Reader

    state = _state(model, optimizer)
    reader = Reader(inside, manifest.parts)
    try:
        with _alone_or_not() as alone:
            dcp.load(state, storage_reader=reader, planner=Planner(), no_dist=alone)
    except dcp.api.CheckpointException as error:  # one error for every rank; most say the same
        first, _ = next(iter(error.failures.values()))
        raise CheckpointError(
            said(f"{inside.name} cannot be loaded: {first}", f"{inside.name} 불러오기에 실패했습니다: {first}")
        ) from error
    if optimizer is None:
        set_model_state_dict(model, state["model"])
    else:
        set_state_dict(model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])


def _state(model: nn.Module, optimizer: Optimizer | None) -> dict[str, Any]:
    from torch.distributed.checkpoint.state_dict import get_model_state_dict, get_state_dict

    if optimizer is None:
        return {"model": get_model_state_dict(model)}
    weights, state = get_state_dict(model, optimizer)
    return {"model": weights, "optimizer": state}


@contextmanager
def _alone_or_not() -> Iterator[bool]:
    """Say whether this process is the only one, without the warning that PyTorch has for that."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        yield group() is None


def _rank() -> int:
    ranks = group()
    return int(ranks.get_rank()) if ranks else 0
