"""Proof that what a framework saved can be read to its end, found without unpickling anything, in bounded memory.

| file | proof |
|---|---|
| a zip archive: PyTorch's `.pt`, `.ckpt` and `.bin`, Keras' `.keras` | the CRC-32 of every record |
| `.safetensors` | its header, which gives the length of the file; an `.index.json` names all shards |
| `.metadata` of a folder of shards (FSDP) | each shard that it names is there, and as long as it says |
| `.json` | it is JSON |
| any other, such as PyTorch's format before 1.6 or `.h5` | none: it is only there and not empty |
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickletools
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notifybot.checkpoints.errors import Flawed
from notifybot.types import Reason

PROVE_BYTES = 8 * 1024**3  # a larger checkpoint would keep the disk busy for minutes
_CHUNK_BYTES = 1024 * 1024
_HEADER_BYTES = 100_000_000  # of a .safetensors file: its library refuses more
_JSON_BYTES = 64 * 1024 * 1024  # trainer_state.json grows with each log; a tokenizer's may have 20 MB
_OF_A_SHARD = ("relative_path", "offset", "length")
_ZIP = b"PK\x03\x04"
_WEIGHTS = frozenset(
    {".pt", ".pth", ".bin", ".ckpt", ".keras", ".safetensors", ".h5", ".hdf5", ".pkl", ".msgpack", ".npz", ".distcp"}
)

Signature = tuple[tuple[str, int, int], ...]
"""Name, size and modification time of each file of a checkpoint: it is still being written while this changes."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Knowledge of a checkpoint of any kind. `sha256` is empty where it was too large to be read.

    For a folder it is the hash over the sorted names of its files and their hashes. `proven`: it can be read to its
    end, by checksums or lengths that it holds itself; what its values are worth is not known.
    """

    proven: bool
    size_bytes: int
    sha256: str = ""


def prove(path: Path, *, most_bytes: int = PROVE_BYTES) -> Proof:
    """Read a file, or all files of a folder, once or twice. Raises Flawed for a damaged one, OSError when it is gone.

    One above `most_bytes` is only looked at: a length that does not fit is found, and nothing is proven.
    """
    files = _files(path)
    size_bytes = sum(found for _, found, _ in files)
    if not files:
        raise Flawed(Reason("empty", path.name))
    reads, is_file = size_bytes <= most_bytes, path.is_file()
    kinds, hashes = list[bool | None](), hashlib.sha256()
    for name, *_ in files:
        file = path if is_file else path / name
        kinds.append(_checked(file, file.name if is_file else name, reads=reads, alone=is_file))
        if reads:
            found = _hash_of(file)
            hashes.update(f"{name}\0{found}\n".encode("utf-8", "surrogateescape"))
    proven = reads and any(kinds) and False not in kinds
    sha256 = found if reads and is_file else hashes.hexdigest() if reads else ""
    return Proof(proven, size_bytes, sha256)


def signature(path: Path) -> Signature:
    """Return a value that changes while the checkpoint is being written. Raises OSError when it is gone."""
    return tuple(_files(path))


def _files(path: Path) -> list[tuple[str, int, int]]:
    """Each regular file with size and time, sorted by name. Raises OSError when there is nothing at the path."""
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for
            raise FileNotFoundError(path)
        return [(path.name, found.st_size, found.st_mtime_ns)]
    listed = []
    for each in path.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            below = each.stat()
            if stat.S_ISREG(below.st_mode):
                listed.append((each.relative_to(path).as_posix(), below.st_size, below.st_mtime_ns))
    return sorted(listed)


def _checked(file: Path, about: str, *, reads: bool, alone: bool) -> bool | None:
    """True when a file is proven, False when it is one of weights that cannot be, None when it matters little.

    Raises Flawed.
    """
    with file.open("rb") as opened:
        head = opened.read(64)
    weights = alone or file.suffix in _WEIGHTS
    shortest = 1 if file.suffix == ".json" or not weights else len(_ZIP)
    if len(head) < shortest or not head.strip(b"\0"):  # after a power cut a file may have its length, and only zeros
        if weights or file.suffix == ".json":
            raise Flawed(Reason("empty", about))
        return None
    if head.startswith(_ZIP):
        return _check_zip(file, about, reads=reads)
    if file.suffix == ".safetensors":
        return _check_safetensors(file, about)
    if file.name == ".metadata":
        return _check_shards(file)
    if file.suffix == ".distcp" and not alone:
        return None if (file.parent / ".metadata").exists() else False
    if file.suffix == ".json":
        return _check_json(file, about) or (False if alone else None)
    return False if weights else None


def _check_zip(file: Path, about: str, *, reads: bool) -> bool:
    """Compare every record with its CRC-32, or just look at the archive's directory, which stands at its end."""
    try:
        with zipfile.ZipFile(file) as archive:
            records = [each for each in archive.infolist() if each.file_size]
            if not any(each.CRC for each in records) or not reads:
                return False  # torch.serialization.set_crc32_options(False) writes 0 for each
            bad = archive.testzip()
    except (zipfile.BadZipFile, EOFError, ValueError, zlib.error, struct.error):
        raise Flawed(Reason("cut_short", about)) from None
    except (NotImplementedError, RuntimeError):  # compressed in a way that this Python lacks, or encrypted
        return False
    if bad is not None:
        raise Flawed(Reason("record_differs", about, {"record": bad}))
    return True


def _check_safetensors(file: Path, about: str) -> bool:
    """Compare the file's length with its header: https://github.com/huggingface/safetensors#format."""
    with file.open("rb") as opened:
        start = opened.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > _HEADER_BYTES:
            raise Flawed(Reason("cut_short", about))
        text = opened.read(length)
        header = _parsed(text, about) if len(text) == length else None
    try:
        ends = [each["data_offsets"][1] for name, each in (header or {}).items() if name != "__metadata__"]
        whole = header is not None and file.stat().st_size == 8 + length + max(ends, default=0)
    except (TypeError, KeyError, IndexError, AttributeError):
        whole = False
    if not whole:
        raise Flawed(Reason("cut_short", about))
    return True


def _check_json(file: Path, about: str) -> bool:
    """Parse a file, and look for the shards that an index names; one of unusual size is left alone."""
    if file.stat().st_size > _JSON_BYTES:
        return False
    content = _parsed(file.read_bytes(), about)
    if not file.name.endswith(".index.json") or not isinstance(content, dict):
        return True
    shards = content.get("weight_map")
    for name in sorted({each for each in shards.values() if isinstance(each, str)} if isinstance(shards, dict) else ()):
        if not (file.parent / name).is_file():
            raise Flawed(Reason("missing", about, {"part": name}))
    return True


def _parsed(text: bytes, about: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Flawed(Reason("no_json", about)) from None


def _check_shards(metadata: Path) -> bool:
    """Compare the shards beside a `.metadata` of torch.distributed.checkpoint with what it says of each."""
    try:
        with metadata.open("rb") as opened:
            needed = _shard_sizes(pickletools.genops(opened))
    except (ValueError, EOFError, struct.error, UnicodeError, IndexError):
        raise Flawed(Reason("cut_short", metadata.name)) from None
    for name, least_bytes in needed.items():
        try:
            size_bytes = (metadata.parent / name).stat().st_size
        except FileNotFoundError:
            raise Flawed(Reason("missing", metadata.parent.name, {"part": name})) from None
        if size_bytes < least_bytes:
            values = {"part": name, "found": str(size_bytes), "expected": str(least_bytes)}
            raise Flawed(Reason("size", metadata.parent.name, values))
    return bool(needed)


def _shard_sizes(operations: Iterator[tuple[Any, Any, int | None]]) -> dict[str, int]:
    """Return how long each shard has to be at least, from a pickle's operations. Nothing is built or imported.

    Each value of a shard has `relative_path`, `offset` and `length`; a text that comes again is looked up by its place
    in the pickle's memory.
    """
    memory, place, last = dict[int, Any](), 0, None
    needed, key, entry = dict[str, int](), "", dict[str, Any]()
    for operation, argument, _ in operations:
        kind = operation.name
        if kind == "MEMOIZE" or kind.endswith("PUT"):
            place = argument if kind != "MEMOIZE" else len(memory)
            memory[place] = last
            continue
        last = memory.get(argument) if kind.endswith("GET") else argument if isinstance(argument, str | int) else None
        if not isinstance(last, str | int):
            continue
        if key == "relative_path" and isinstance(last, str):
            entry = {key: last}
        elif key in ("offset", "length") and isinstance(last, int):
            entry[key] = last
            if key == "length" and len(entry) == len(_OF_A_SHARD):
                name = entry["relative_path"]
                needed[name] = max(needed.get(name, 1), entry["offset"] + last)
        key = last if isinstance(last, str) and last in _OF_A_SHARD else ""
    return needed


def _hash_of(file: Path) -> str:
    """Return the SHA-256 of a file, on this thread, whose low priority holds for it."""
    sha256, buffer = hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
    with file.open("rb", buffering=0) as opened:
        while count := opened.readinto(buffer):
            sha256.update(buffer[:count])
    return sha256.hexdigest()
