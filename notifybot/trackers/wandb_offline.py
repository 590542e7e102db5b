"""Offline files of a W&B run's earlier sessions: reads them, and removes their void rows.

W&B ships no reader in Python. Its file is LevelDB's log format: a header of 7 bytes, then blocks of 32 KiB with records
of protobuf, cut into pieces at the blocks' ends. A file may end anywhere, which is how a kill leaves it.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notifybot.clock import SYSTEM
from notifybot.files import write_atomically

_FILE_HEADER = b":W&B"
_FILE_HEADER_BYTES = 7
_BLOCK_BYTES = 32 * 1024
_PIECE = struct.Struct("<IHB")  # checksum, length, type
_FULL, _FIRST, _LAST = 1, 2, 4
_WRITTEN_BY_S = 60.0  # W&B writes its file after 15 s at the latest


@dataclass(slots=True)
class Written:
    """Contents of the earlier files: the names logged with each epoch, and the last step (-1: none)."""

    names: dict[int, set[str]] = field(default_factory=dict)
    step: int = -1

    def holds(self, epoch: int, metrics: dict[str, float]) -> bool:
        """True when an earlier session has written all these metrics of the epoch."""
        return metrics.keys() <= self.names.get(epoch, set())


@dataclass(frozen=True, slots=True)
class _Row:
    """One step's numbers, and where in the file its record begins."""

    offset: int
    step: int
    epoch: int | None
    names: set[str]


def earlier(folder: Path, run_id: str, purge_from: int | None, axis: str = "epoch") -> Written:
    """Read a run's offline files below `folder`, and cut off each what is void.

    That is the epochs from `purge_from` on, and those from which a later session went on, maybe on another machine;
    nothing where `purge_from` is None. What has been synced is on W&B's server and stays. A file is replaced in one
    step, so that a process that still writes to the old one does no harm. `axis` names the value that holds the epoch.
    Raises OSError.
    """
    written = Written()
    paths = [path for path in folder.glob("offline-run-*/run-*.wandb") if path.name == f"run-{run_id}.wandb"]
    for path in sorted(paths, reverse=True):
        rows = _kept(path, purge_from, axis)
        for row in rows:
            written.step = max(written.step, row.step)
            if row.epoch is not None:
                written.names.setdefault(row.epoch, set()).update(row.names)
        if purge_from is not None:
            purge_from = min([purge_from, *(row.epoch for row in rows if row.epoch is not None)])
    return written


def mend(folder: Path, run_id: str, own: Path) -> list[Path]:
    """Make the files of a run's killed sessions such that `wandb sync` takes them; return what was left aside.

    At a file without a record, or whose last one is torn, it stops: it sends the whole records before, and nothing of
    the sessions named with it. So the first kind gets a name that it does not look for, and the second is cut to its
    whole records, with all of it kept beside. A file that a process has open stays, as does one that was synced, and
    `own`, the session that asks. Raises OSError.
    """
    aside = []
    for path in folder.glob("offline-run-*/run-*.wandb"):
        if path.name != f"run-{run_id}.wandb" or path.parent == own or not path.is_file() or _in_use(path):
            continue
        content = path.read_bytes()
        whole = max((end for _, end, _ in _frames(content)), default=0)
        if whole == 0:
            aside.append(path.rename(path.with_name(f"{path.name}.empty")))
        elif content[whole:].strip(b"\0") and not _is_synced(path):
            aside.append(path.with_name(f"{path.name}.torn"))
            write_atomically(aside[-1], content)
            write_atomically(path, content[:whole])
    return aside


def _is_synced(path: Path) -> bool:
    return path.with_name(f"{path.name}.synced").exists()


def _in_use(path: Path) -> bool:
    """True where a process of this machine has the file open; without /proc, while it is too young to be sure."""
    if not Path("/proc/self/fd").exists():
        return SYSTEM.now().timestamp() - path.stat().st_mtime < _WRITTEN_BY_S
    file = path.resolve()
    for handle in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):  # closed since, or another user's
            if handle.readlink() == file:
                return True
    return False


def _kept(path: Path, purge_from: int | None, axis: str) -> list[_Row]:
    content = path.read_bytes()
    rows = list(_rows(content, axis))
    if purge_from is None or _is_synced(path):
        return rows
    valid = [place for place, row in enumerate(rows) if row.epoch is not None and row.epoch < purge_from]
    keep = valid[-1] + 1 if valid else 0
    if keep < len(rows):
        write_atomically(path, content[: rows[keep].offset])
    return rows[:keep]


def _rows(content: bytes, axis: str) -> Iterator[_Row]:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from wandb.proto.wandb_internal_pb2 import Record

    for offset, _, frame in _frames(content):
        try:
            record = Record.FromString(frame)
        except DecodeError:  # the rest cannot be trusted either
            return
        if record.HasField("history"):
            items = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
            step = _whole(items.get("_step"))
            yield _Row(offset, -1 if step is None else step, _whole(items.get(axis)), set(items))


def _frames(content: bytes) -> Iterator[tuple[int, int, bytes]]:
    """The whole records with where they begin and end, put together from their pieces."""
    if not content.startswith(_FILE_HEADER):
        return
    offset, begun, parts = _FILE_HEADER_BYTES, 0, b""
    while offset + _PIECE.size <= len(content):
        room = _BLOCK_BYTES - offset % _BLOCK_BYTES
        if room < _PIECE.size:
            offset += room
            continue
        checksum, length, kind = _PIECE.unpack_from(content, offset)
        piece = content[offset + _PIECE.size : offset + _PIECE.size + length]
        if kind == 0 or len(piece) < length or checksum != zlib.crc32(piece, zlib.crc32(bytes([kind]))):
            return
        if kind in (_FULL, _FIRST):
            begun, parts = offset, b""
        parts += piece
        offset += _PIECE.size + length
        if kind in (_FULL, _LAST):
            yield begun, offset, parts


def _whole(text: str | None) -> int | None:
    try:
        value: Any = json.loads(text or "null")
    except ValueError:
        return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
