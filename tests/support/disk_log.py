"""A log of all that is done to a disk, in order, so that power cuts can be played afterwards.

What Python does to names is heard here; what SQLite does is told by `tests.support.sqlite_disk`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_PYTHON_CALLS = ("open", "mkdir", "rename", "replace", "unlink", "fsync")


@dataclass(frozen=True, slots=True)
class Added:
    """A name was made. `file` numbers the file; None: it is a folder."""

    path: Path
    file: int | None


@dataclass(frozen=True, slots=True)
class Removed:
    path: Path


@dataclass(frozen=True, slots=True)
class Renamed:
    path: Path
    to: Path


@dataclass(frozen=True, slots=True)
class FolderSynced:
    path: Path


@dataclass(frozen=True, slots=True)
class Written:
    file: int
    offset: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    file: int
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    file: int


@dataclass(frozen=True, slots=True)
class Noted:
    """Not the disk's word: what a test knows to be so from here on."""

    what: object


Entry = Added | Removed | Renamed | FolderSynced | Written | Truncated | Synced | Noted


class LoggedDisk:
    """What is done to the files below `root`, by one thread. With `lies`, syncs are answered and not done."""

    def __init__(self, root: Path, *, lies: bool = False) -> None:
        self.root = root
        self.lies = lies
        self.log: list[Entry] = []
        self._names: dict[Path, int | None] = {}
        self._files = 0
        self._handles: dict[int, int] = {}  # SQLite's
        self._descriptors: dict[int, Path] = {}  # Python's
        for path in sorted(root.rglob("*")):
            self._begin_with(path)

    def _begin_with(self, path: Path) -> None:
        if path.is_dir():
            self._python_mkdir(path)
        else:
            file = self._add(path)
            self.log += [Written(file, 0, path.read_bytes()), Synced(file)]
        self.log.append(FolderSynced(path.parent))

    @contextmanager
    def hears_python(self) -> Iterator[None]:
        """Hear what Python itself does to names, and which folders and files it syncs."""
        with pytest.MonkeyPatch.context() as patch:
            for name in _PYTHON_CALLS:
                patch.setattr(os, name, self._heard(name, getattr(os, name)))
            yield

    def note(self, what: object) -> None:
        """Put a test's own word into the log."""
        self.log.append(Noted(what))

    def _add(self, path: Path) -> int:
        self._files += 1
        self._names[path] = self._files
        self.log.append(Added(path, self._files))
        return self._files

    # ── What Python does ─────────────────────────────────────────────────────────────────────────────────────────────

    def _heard(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def heard(*args: Any, **kwargs: Any) -> Any:
            if name == "fsync" and self.lies:
                return None
            result = call(*args, **kwargs)
            if name == "open":
                self._descriptors[result] = Path(os.fsdecode(args[0]))
            getattr(self, f"_python_{name}")(*args)
            return result

        return heard

    def _python_open(self, path: Any, flags: int, *_: Any) -> None:
        place = Path(os.fsdecode(path))
        if flags & os.O_CREAT and self.root in place.parents and place not in self._names:
            self._add(place)

    def _python_mkdir(self, path: Any, *_: Any) -> None:
        if self.root in Path(path).parents:
            self._names[Path(path)] = None
            self.log.append(Added(Path(path), None))

    def _python_rename(self, path: Any, to: Any) -> None:
        if Path(path) in self._names:
            self._names[Path(to)] = self._names.pop(Path(path))
            self.log.append(Renamed(Path(path), Path(to)))

    _python_replace = _python_rename

    def _python_unlink(self, path: Any) -> None:
        self.removed(Path(os.fsdecode(path)), len(self.log))

    def _python_fsync(self, descriptor: int) -> None:
        path = self._descriptors[descriptor]
        file = self._names.get(path)
        if file is not None:
            self.log.append(Synced(file))
        elif path == self.root or self.root in path.parents:
            self.log.append(FolderSynced(path))

    # ── What SQLite does ─────────────────────────────────────────────────────────────────────────────────────────────

    def opened(self, handle: int, path: Path) -> None:
        """A file was opened, and made where there was none."""
        if self.root in path.parents:
            self._handles[handle] = self._names.get(path) or self._add(path)

    def happened(self, handle: int, entry: Callable[[int], Entry], at: int | None = None) -> None:
        """Something was done to a file that is open; with `at`, before what stands there in the log."""
        if handle in self._handles:
            self.log.insert(len(self.log) if at is None else at, entry(self._handles[handle]))

    def removed(self, path: Path, at: int) -> None:
        """A name was taken away, before what stands at `at` in the log."""
        if self._names.pop(path, None) is not None:
            self.log.insert(at, Removed(path))

    def folder_synced(self, path: Path) -> None:
        """SQLite made the names in a folder durable."""
        if not self.lies and (path == self.root or self.root in path.parents):
            self.log.append(FolderSynced(path))

    def closed(self, handle: int) -> None:
        """A file is no longer open."""
        self._handles.pop(handle, None)

    @property
    def in_use(self) -> bool:
        """True while SQLite has a file open."""
        return bool(self._handles)
