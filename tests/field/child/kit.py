"""A shape of training keeps its own record here, which the judge holds against what notifybot says of it.

A script calls `witness` last in each epoch. With FIELD_KILL_AT=n the n-th call kills the process, as a VM that goes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

torch.set_num_threads(1)


class _Written(logging.Handler):
    """Keeps what notifybot warns of, for the judge to read."""

    def emit(self, record: logging.LogRecord) -> None:
        with open(os.environ["FIELD_WARNINGS"], "a", encoding="utf-8") as file:
            file.write(record.getMessage().replace("\n", " ") + "\n")


def _prepare() -> None:
    if "FIELD_WARNINGS" in os.environ:
        handler = _Written(logging.WARNING)
        logging.getLogger("notifybot").addHandler(handler)
    if fault := os.environ.get("FIELD_FAULT"):
        import_module("faults").put_back(fault)


_prepare()


def saves(folder: str | Path, **given: Any) -> Any:
    """Checkpoints in a folder beside the script where this variant has them, else None."""
    if os.environ.get("FIELD_CHECKPOINTS") != "1":
        return None
    from notifybot import Checkpoints

    return Checkpoints(Path(os.environ["FIELD_HOME"]) / "checkpoints" / folder, **given)


def witness(run: str, epoch: int, values: Mapping[str, Any], **parts: Any) -> None:
    """Record what the training itself knows of an epoch: its numbers, and what its objects hold."""
    row = {
        "run": run,
        "epoch": epoch,
        "values": {name: float(value).hex() for name, value in values.items()},
        "state": {name: digest(_state_of(part)) for name, part in parts.items()},
    }
    path = Path(os.environ["FIELD_WITNESS"])
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    kill_at = int(os.environ.get("FIELD_KILL_AT", "0"))
    if kill_at and len(path.read_text("utf-8").splitlines()) >= kill_at and _first(path.with_suffix(".killed")):
        os.kill(os.getpid(), signal.SIGKILL)


def _first(path: Path) -> bool:
    """Whether this process is the first to come here, of several that train at once."""
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _state_of(part: Any) -> Any:
    part = getattr(part, "module", part) if type(part).__name__ in ("DataParallel", "DistributedDataParallel") else part
    return part.state_dict()


def digest(state: Any) -> str:
    """A hash of a nested state: the same for the same values, wherever their memory lies."""
    hashed = hashlib.sha256()
    _feed(hashed, state)
    return hashed.hexdigest()


def _feed(hashed: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        plain = value.detach().cpu().resolve_conj().resolve_neg().contiguous()
        hashed.update(f"tensor {plain.dtype} {tuple(plain.shape)}".encode())
        hashed.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, np.ndarray | np.generic):
        _feed(hashed, value.item() if value.ndim == 0 else torch.from_numpy(np.ascontiguousarray(value)))
    elif isinstance(value, Mapping):
        for key in sorted(value, key=repr):
            hashed.update(f"key {key!r}".encode())
            _feed(hashed, value[key])
    elif isinstance(value, list | tuple):
        hashed.update(f"list {len(value)}".encode())
        for each in value:
            _feed(hashed, each)
    else:
        hashed.update(f"{value!r}".encode())


def blobs(n: int = 192, width: int = 16, classes: int = 4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Points around one centre a class, and their labels."""
    source = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, width, generator=source) * 2
    labels = torch.randint(classes, (n,), generator=source)
    return centres[labels] + torch.randn(n, width, generator=source), labels


def pictures(n: int = 96, size: int = 8, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Grey pictures of one channel whose bright quarter is the label."""
    source = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (n,), generator=source)
    images = torch.rand(n, 1, size, size, generator=source)
    half = size // 2
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[0, row * half : (row + 1) * half, column * half : (column + 1) * half] += 1
    return images, labels


def text(length: int = 2000, seed: int = 0) -> torch.Tensor:
    """Tokens of a small alphabet in which each follows from the one before, mostly."""
    source = torch.Generator().manual_seed(seed)
    noise = torch.rand(length, generator=source)
    tokens = torch.zeros(length, dtype=torch.long)
    for at in range(1, length):
        tokens[at] = (tokens[at - 1] * 3 + 1) % 11 if noise[at] < 0.9 else (tokens[at - 1] + at) % 11
    return tokens
