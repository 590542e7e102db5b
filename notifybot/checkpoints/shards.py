"""How torch.distributed.checkpoint reads here: no code from the files, and nothing before all of it fits.

Its own reader unpickles `.metadata` and every value that is no tensor without restriction (torch 2.13).
"""

from __future__ import annotations

import pickle
from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import torch
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner

from notifybot.checkpoints.describe import unfit
from notifybot.checkpoints.mismatch import MISSING, RESHAPED, differing, listed
from notifybot.errors import CheckpointError, said

_KNOWN = {
    "collections": {"OrderedDict"},
    "pathlib": {"Path", "PosixPath", "WindowsPath"},
    "pathlib._local": {"Path", "PosixPath", "WindowsPath"},  # where Python 3.13 has them
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


class Reader(FileSystemReader):  # type: ignore[misc, unused-ignore]
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
            raise CheckpointError(
                said(
                    f"the index names files that are no part of the checkpoint: {shown}",
                    f"체크포인트의 색인이 체크포인트에 속하지 않은 파일을 가리킵니다: {shown}",
                )
            )
        return super().read_metadata(*args, **kwargs)


class Planner(DefaultLoadPlanner):  # type: ignore[misc, unused-ignore]
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
            *listed(*MISSING, sorted(self.state_dict.keys() - saved.keys())),
            *listed(
                "unknown here",
                "코드에 없는 항목",
                sorted(name for name in saved.keys() - self.state_dict.keys() if name.partition(".")[0] in asked),
            ),
            *listed(*RESHAPED, shapes),
        ]
        if problems:
            raise CheckpointError(unfit(problems))
        return super().create_local_plan()

    def load_bytes(self, read_item: Any, value: BytesIO) -> None:
        torch.load(value, weights_only=True)  # refuses whatever could run; the parent's load would not
        value.seek(0)
        super().load_bytes(read_item, value)


class _Restricted(pickle.Unpickler):
    """Unpickles an index: names of the classes that one is made of, nothing else."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)

    def find_class(self, module: str, name: str) -> Any:
        is_type = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_type or name in _KNOWN.get(module, ()):
            return super().find_class(module, name)
        raise CheckpointError(
            said(
                f"the index is refused, and nothing of it was run: it holds {module}.{name}",
                f"체크포인트의 색인에 허용되지 않는 항목이 있어 실행하지 않고 거부했습니다: {module}.{name}",
            )
        )
