"""What a disk may hold after a power cut: all that was synced, and of the rest any part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import TypeVar

from tests.support.disk_log import (
    Added,
    Entry,
    FolderSynced,
    Noted,
    Removed,
    Renamed,
    Synced,
    Truncated,
    Written,
)

SECTOR_BYTES = 512
Done = TypeVar("Done")
Content = Written | Truncated
Name = Added | Removed | Renamed


class Platter:
    """Follows a disk's log, entry by entry; may be asked for a picture of what is left at any point.

    A name lasts from its folder's sync on, a content from its file's. Of what was done since to a folder or a file, a
    cut leaves nothing, all, a beginning, or any part; of a write any 512 bytes, and zeros where a file has grown. The
    bytes around a write are safe, as SQLite takes them to be (https://sqlite.org/psow.html).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: dict[Path, int | None] = {}
        self._new_names: dict[Path, list[Name]] = {}  # by folder
        self._contents: dict[int, bytearray] = {}
        self._new_contents: dict[int, list[Content]] = {}

    def follow(self, entry: Entry) -> None:
        """Go on by one entry of the log."""
        match entry:
            case Added(path) | Removed(path) | Renamed(path):
                self._new_names.setdefault(path.parent, []).append(entry)
            case FolderSynced(path):
                _rename(self._names, self._new_names.pop(path, []))
            case Written(file) | Truncated(file):
                self._new_contents.setdefault(file, []).append(entry)
            case Synced(file):
                content = self._contents.setdefault(file, bytearray())
                for each in self._new_contents.pop(file, []):
                    _write(content, each)
            case Noted():
                pass

    def after_a_cut(self, folder: Path, rng: Random) -> None:
        """Make `folder`, and in it what may be found when the power is back."""
        folder.mkdir()
        names = dict(self._names)
        for changes in self._new_names.values():
            _rename(names, _survivors(changes, rng))
        for path in sorted(names):
            if all(each in names for each in path.parents if self._root in each.parents):
                self._lay_out(folder / path.relative_to(self._root), names[path], rng)

    def _lay_out(self, place: Path, file: int | None, rng: Random) -> None:
        if file is None:
            place.mkdir()
        else:
            place.write_bytes(self._left_of(file, rng))

    def _left_of(self, file: int, rng: Random) -> bytes:
        content, changes = self._contents.get(file, bytearray()), self._new_contents.get(file, [])
        if not changes:
            return bytes(content)
        left = bytearray(content)
        if rng.random() < 0.5:
            for each in _survivors(changes, rng):
                _write(left, each)
        else:
            _tear(left, changes, rng)
        return bytes(left)


def _survivors(changes: Sequence[Done], rng: Random) -> list[Done]:
    """Of what was done and not synced: nothing, all, a beginning, or any part."""
    ways: Sequence[Callable[[], Iterable[Done]]] = (
        lambda: (),
        lambda: changes,
        lambda: changes[: rng.randint(0, len(changes))],
        lambda: (each for each in changes if rng.random() < 0.5),
    )
    return list(rng.choice(ways)())


def _rename(names: dict[Path, int | None], changes: Iterable[Name]) -> None:
    for change in changes:
        match change:
            case Added(path, file):
                names[path] = file
            case Removed(path):
                names.pop(path, None)
            case Renamed(path, to):
                if path in names:  # else it was made since and did not last
                    names[to] = names.pop(path)


def _write(content: bytearray, change: Content) -> None:
    match change:
        case Written(_, offset, new):
            content.extend(bytes(max(offset - len(content), 0)))
            content[offset : offset + len(new)] = new
        case Truncated(_, size):
            del content[size:]
            content.extend(bytes(size - len(content)))


def _tear(content: bytearray, changes: Iterable[Content], rng: Random) -> None:
    """Let each sector of each write last or not, or, where the file grows, its room alone."""
    lasts = rng.choice((0.1, 0.5, 0.9))
    for change in changes:
        if isinstance(change, Truncated):
            if rng.random() < lasts:
                _write(content, change)
            continue
        for start, piece in _sectors(change):
            grows = start + len(piece) > len(content)
            if rng.random() < lasts:
                _write(content, Written(change.file, start, piece))
            elif grows and rng.random() < 0.5:
                content.extend(bytes(start + len(piece) - len(content)))


def _sectors(write: Written) -> Iterable[tuple[int, bytes]]:
    end = write.offset + len(write.content)
    at = write.offset
    while at < end:
        until = min((at // SECTOR_BYTES + 1) * SECTOR_BYTES, end)
        yield at, write.content[at - write.offset : until - write.offset]
        at = until
