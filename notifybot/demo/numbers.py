"""What the trackers wrote, read back the way that others would read it."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from notifybot.trackers.jsonl import FILE_NAME

# W&B ships no reader for its offline files: protobuf records in LevelDB's log format, which cuts them into blocks.
# https://github.com/google/leveldb/blob/main/doc/log_format.md
_WANDB_HEADER = struct.Struct("<4sHB")
_BLOCK = 32 * 1024
_PIECE = struct.Struct("<IHB")  # checksum, length, kind
_FULL, _FIRST, _LAST = 1, 2, 4


@dataclass(frozen=True, slots=True)
class EpochLine:
    """A finished epoch in the run's JSON lines. A metric that is no number then is its name, such as "NaN"."""

    epoch: int
    done: int
    metrics: dict[str, str]


def finished_epochs(runs: Path) -> list[EpochLine]:
    """The epochs in the run's JSON lines, in the order of the file. A line that is being written is left out."""
    found: list[EpochLine] = []
    for path in runs.rglob(FILE_NAME):
        whole = path.read_text("utf-8").rpartition("\n")[0]
        rows = [json.loads(line) for line in whole.splitlines()]
        found += [
            EpochLine(row["epoch"], row["done"], {name: _short(value) for name, value in row["metrics"].items()})
            for row in rows
            if row["kind"] == "epoch_finished"
        ]
    return found


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4f}"


def tensorboard_steps(runs: Path, tag: str) -> list[int]:
    """The steps that TensorBoard shows of a curve, read by its own reader from the files of all sessions."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folders = sorted({path.parent for path in runs.rglob("events.out.tfevents.*")})
    steps: list[int] = []
    for folder in folders:
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
        events.Reload()
        if tag in events.Tags()["scalars"]:
            steps += [each.step for each in events.Scalars(tag)]
    return steps


def wandb_epochs(runs: Path) -> list[int]:
    """The epochs that `wandb sync` would upload, from the files of all sessions, each once."""
    from wandb.proto.wandb_internal_pb2 import Record

    records = [Record.FromString(each) for path in runs.rglob("*.wandb") for each in _records(path.read_bytes())]
    items = [item for record in records if record.HasField("history") for item in record.history.item]
    named = [item for item in items if "epoch" in (item.key, *item.nested_key)]
    return sorted({int(json.loads(item.value_json)) for item in named})


def _records(content: bytes) -> Iterator[bytes]:
    """The whole records of a file, put together from their pieces; a torn end is left out."""
    offset, parts = _WANDB_HEADER.size, b""
    if not content.startswith(b":W&B"):
        return
    while offset + _PIECE.size <= len(content):
        left = _BLOCK - offset % _BLOCK
        if left < _PIECE.size:
            offset += left
            continue
        _, length, kind = _PIECE.unpack_from(content, offset)
        piece = content[offset + _PIECE.size :][:length]
        if kind == 0 or len(piece) < length:
            return
        parts = piece if kind in (_FULL, _FIRST) else parts + piece
        if kind in (_FULL, _LAST):
            yield parts
        offset += _PIECE.size + length
