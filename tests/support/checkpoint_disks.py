"""Disks that fail as told, and checkpoints whose right content everybody can compute."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.manifest import Manifest

P = ParamSpec("P")
T = TypeVar("T")

SIZE_BYTES = 40_000


class FailingDisk:
    """Fails the call number `at` (from 0), before or after it has had its effect; from then on every one if `for_good`.

    Only calls named in `only` count, where it is given. Descriptors are closed in any case, as Linux does.
    """

    def __init__(
        self, at: int, error: int, *, after: bool = False, for_good: bool = False, only: tuple[str, ...] = ()
    ) -> None:
        self.at = at
        self.error = error
        self.calls: list[str] = []
        self._after = after
        self._for_good = for_good
        self._only = only

    def __call__(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        name = call.__name__
        if self._only and name not in self._only:
            return call(*args, **kwargs)
        self.calls.append(name)
        number = len(self.calls) - 1
        if number == self.at or (self._for_good and number > self.at):
            if name == "close" or (self._after and number == self.at):
                call(*args, **kwargs)
            raise OSError(self.error, os.strerror(self.error))
        return call(*args, **kwargs)

    @property
    def reached(self) -> bool:
        """True when there was a call to fail."""
        return len(self.calls) > self.at


def content(sequence: int, size_bytes: int = SIZE_BYTES) -> bytes:
    """The bytes of the checkpoint with this number."""
    return random.Random(sequence).randbytes(size_bytes)


def manifest(sequence: int, *, run_id: str = "run-1", session: str = "s1", **values: object) -> Manifest:
    """A manifest that is right in itself; nothing of it is on a disk."""
    filled: dict[str, object] = {
        "file": f"epoch{sequence}.pt",
        "sha256": "0" * 64,
        "size_bytes": 1,
        "epoch": sequence,
        "saved_at": datetime(2026, 11, 23, 3, 0, tzinfo=UTC),
    }
    return Manifest(run_id=run_id, session=session, sequence=sequence, **(filled | values))  # type: ignore[arg-type]


def save(
    shelf: CheckpointDirectory, sequence: int, *, size_bytes: int = SIZE_BYTES, stem: str = "", **values: object
) -> Manifest:
    """Save the checkpoint with this number."""

    def fill(file: BinaryIO) -> None:
        file.write(content(sequence, size_bytes))

    def describe(file: str, sha256: str, size: int) -> Manifest:
        return manifest(sequence, file=file, sha256=sha256, size_bytes=size, **values)  # type: ignore[arg-type]

    return shelf.write(stem or f"epoch{sequence}", fill, describe)


def save_sharded(shelf: CheckpointDirectory, sequence: int, parts: int = 3) -> Manifest:
    """Save a checkpoint of several files: the content in slices."""
    staged = shelf.stage()
    for number in range(parts):
        (staged / f"__{number}_0.distcp").write_bytes(content(sequence)[number::parts])
    return shelf.seal(
        staged,
        f"epoch{sequence}",
        lambda file, sha256, size: manifest(sequence, file=file, sha256=sha256, size_bytes=size),
    )


def loads_right(shelf: CheckpointDirectory, found: Manifest, size_bytes: int = SIZE_BYTES) -> bool:
    """True when the payload of `found` is what was saved under its number, every byte of it."""
    path = shelf.folder / found.file
    if found.kind == "single":
        return path.read_bytes() == content(found.sequence, size_bytes)
    count = len(found.parts)
    slices = [content(found.sequence, size_bytes)[number::count] for number in range(count)]
    return [(path / name).read_bytes() for name in sorted(found.parts)] == slices


def orphan(folder: Path) -> int:
    """Make every temporary one of a process that is gone; return how many there were."""
    temporaries = [path for path in folder.iterdir() if path.name.startswith(".notifybot-")]
    for path in temporaries:
        _, machine, _, _, rest = path.name.split("-")
        path.rename(folder / f".notifybot-{machine}-999999999-1-{rest}")
    return len(temporaries)


def spoil(path: Path) -> None:
    """Put other bytes in the place of a file's, as many, and as if some time had passed."""
    written = path.stat()
    path.write_bytes(bytes(each ^ 1 for each in path.read_bytes()))
    os.utime(path, ns=(written.st_atime_ns, written.st_mtime_ns + 5_000_000))


def entries(folder: Path) -> set[str]:
    """Every name in a folder."""
    return {path.name for path in folder.iterdir()}


@contextmanager
def untouched(folder: Path) -> Iterator[None]:
    """Afterwards the folder holds what it held, byte for byte."""
    before = _snapshot(folder)
    yield
    assert _snapshot(folder) == before


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
