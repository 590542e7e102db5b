"""Checkpoints that the user's own code saved with `torch.save`: resumed from if notifybot has saved none."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from typing import Any

from notifybot.checkpoints.errors import Flawed, reason_of
from notifybot.checkpoints.serialization import read_payload
from notifybot.errors import CheckpointError, reader_text
from notifybot.types import Reason

_PREFIX = "checkpoint_epoch"
_PASSED_OVER = frozenset({"cut_short", "empty", "unreadable", "no_dict"})
_SCALAR = "multiarray.scalar"  # NumPy's function that makes a number from its type and bytes
_NUMBERS = "?bhilqBHILQefdgFDG"  # NumPy's types of booleans and numbers


def newest_foreign(folder: Path) -> tuple[Path | None, Mapping[str, Any], tuple[Reason, ...]]:
    """Return the file of the highest epoch, named as by the common recipe `checkpoint_epoch17_0.25.pt`.

    Also its content, and the reasons why others were passed over. Such a file is only checked to be readable by PyTorch
    and to have `model_state_dict` and `epoch`. It may hold NumPy's numbers and argparse's arguments too. Raises
    CheckpointError if it holds anything else or cannot be read now: the user decides whether to start over.
    """
    allowed = _allowed()
    passed_over = []
    for _, path in _by_epoch(folder):
        try:
            payload = read_payload(path, allowed)
        except Flawed as error:
            if error.reason.code not in _PASSED_OVER:
                raise CheckpointError(reader_text("checkpoints.external.or_begin_anew", error=error)) from None
            passed_over.append(reason_of(error, path.name))
            continue
        if isinstance(payload.get("epoch"), Integral) and "model_state_dict" in payload:
            return path, payload | {"epoch": int(payload["epoch"])}, tuple(passed_over)
        passed_over.append(Reason("no_state", path.name))
    return None, {}, tuple(passed_over)


def _allowed() -> list[Any]:
    """Return types that are safe to unpickle: making an instance runs no code, whatever its content."""
    try:
        import numpy
    except ImportError:
        return [argparse.Namespace]
    scalar = numpy.float64(0).__reduce__()[0]
    names = [(scalar, f"numpy.{package}.{_SCALAR}") for package in ("core", "_core")]  # before and since NumPy 2
    kinds = {type(numpy.dtype(each)) for each in _NUMBERS}
    return [argparse.Namespace, *names, numpy.dtype, *kinds]


def foreign_epoch(folder: Path) -> int | None:
    """Return the highest epoch in the names of such files, without reading them."""
    return next((epoch for epoch, _ in _by_epoch(folder)), None)


def _by_epoch(folder: Path) -> list[tuple[int, Path]]:
    """Return the files without a manifest of ours, by the epoch in their names, the highest first."""
    found = []
    for path in folder.glob(f"{_PREFIX}*.pt"):
        digits = path.stem.removeprefix(_PREFIX).partition("_")[0]
        if digits.isdecimal() and not path.with_name(path.name + ".json").exists():
            found.append((int(digits), path))
    return sorted(found, key=lambda each: each[0], reverse=True)
