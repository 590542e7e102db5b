"""Reads an offline `.wandb` file: W&B ships no reader, but its records are protobuf in LevelDB's log format."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

_FILE_HEADER = 7  # ":W&B", a magic number and a version
_BLOCK = 32 * 1024
_HEADER = struct.Struct("<IHB")  # checksum, length, type
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def frames(content: bytes) -> Iterator[bytes]:
    """The whole records in the file, put together from the pieces that blocks cut them into. A torn end is left out."""
    assert content[:4] == b":W&B"
    offset, parts = _FILE_HEADER, b""
    while offset + _HEADER.size <= len(content):
        room = _BLOCK - offset % _BLOCK
        if room < _HEADER.size:
            offset += room
            continue
        _, length, kind = _HEADER.unpack_from(content, offset)
        piece = content[offset + _HEADER.size : offset + _HEADER.size + length]
        if kind == 0 or len(piece) < length:
            return
        parts = piece if kind in (_FULL, _FIRST) else parts + piece
        if kind in (_FULL, _LAST):
            yield parts
        offset += _HEADER.size + length


def read(path: Path) -> list[Any]:
    """The protobuf records of a file, in order."""
    return [Record.FromString(frame) for frame in frames(path.read_bytes())]


def only_file(folder: Path) -> Path:
    """The one `.wandb` file below a folder."""
    (found,) = folder.rglob("*.wandb")
    return found


def history(records: list[Any]) -> list[dict[str, Any]]:
    """What was logged, a mapping for each step, with `_step` among its keys."""
    rows = [each.history for each in records if each.HasField("history")]
    return [{_key(item): json.loads(item.value_json) for item in row.item} for row in rows]


def _key(item: Any) -> str:
    return str(item.key or ".".join(item.nested_key))


def config(records: list[Any]) -> dict[str, Any]:
    """The configuration that the run started with."""
    (run,) = (each.run for each in records if each.HasField("run"))
    return {_key(item): json.loads(item.value_json) for item in run.config.update}
