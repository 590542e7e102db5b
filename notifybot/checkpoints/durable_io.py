"""Files that are whole or not there: made beside their place under a name of our own, durable before they are named."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import platform
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, cast

from notifybot.checkpoints.hashing import (
    BUFFER_BYTES,
    HashingWriter,
    Syscall,
    advise_to_drop,
    direct,
    hash_descriptor,
    write_all,
)
from notifybot.files import BINARY, CLOEXEC, FOLDER, NEW, NO_LINK, READ
from notifybot.store.owners import lives, process_name

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)  # what FUSE answers for folders
_LARGEST_READ_BYTES = 16 * 1024 * 1024

Purpose = Literal["payload", "manifest", "removed"]
_TEMPORARY = re.compile(r"\.notifybot-([0-9a-f]{8})-(\d+)-(\d*)-[0-9a-f]{8}\.(payload|manifest|removed)")


class Temporary(NamedTuple):
    """An entry of a save or a removal that is not done. Only on its own machine can be told whether its owner lives."""

    name: str
    purpose: str
    of_this_machine: bool
    owner_lives: bool


def temporary_name(purpose: Purpose) -> str:
    """Return a new hidden name that tells what it is for and which process of which machine works on it."""
    pid, start, _ = process_name().split(":")
    return f".notifybot-{_machine()}-{pid}-{start}-{os.urandom(4).hex()}.{purpose}"


def parse_temporary(name: str) -> Temporary | None:
    """Read what `temporary_name` wrote; None for any other name."""
    found = _TEMPORARY.fullmatch(name)
    if found is None:
        return None
    machine, pid, start, purpose = found.groups()
    here = machine == _machine()
    return Temporary(name, purpose, of_this_machine=here, owner_lives=not here or lives(f"{pid}:{start}"))


@lru_cache(maxsize=1)
def _machine() -> str:
    """A name for what a process number is unique in: this boot of this machine, and the container."""
    marks = [platform.node()]
    with contextlib.suppress(OSError):
        marks += [Path("/proc/sys/kernel/random/boot_id").read_text(), os.readlink("/proc/self/ns/pid")]
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()[:8]


def write_bytes(path: Path, data: bytes) -> None:
    """Put `data` in the place of `path` in one step, durably. Raises OSError; `path` is then as it was."""
    files = Files(path.parent)
    temporary = temporary_name("payload")
    try:
        files.write(temporary, data)
        files.replace(temporary, path.name)
    except BaseException:
        files.discard(temporary)
        raise
    files.sync()


class Files:
    """The entries of one folder, by name. Every method raises OSError as the disk does, but for `discard`.

    No link is followed and none removed. `system` makes the calls.
    """

    def __init__(self, folder: Path, system: Syscall = direct) -> None:
        self.folder = folder
        self._system = system

    def at(self, folder: Path) -> Files:
        """The entries of another folder."""
        return Files(folder, self._system)

    def names(self) -> list[str]:
        """Every entry; none where there is no folder."""
        try:
            return sorted(self._system(os.listdir, self.folder))
        except FileNotFoundError:
            return []

    def names_in(self, name: str) -> list[str]:
        """Every entry of a folder in the folder; none where it is something else."""
        found = self.stat(name)
        return self.at(self.folder / name).names() if found is not None and stat.S_ISDIR(found.st_mode) else []

    def stat(self, name: str) -> os.stat_result | None:
        """What the folder says of an entry itself, links not followed; None where there is none."""
        try:
            return self._system(os.lstat, self.folder / name)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def make(self) -> None:
        """Make the folder, durably, where it is missing."""
        if not self._system(os.path.isdir, self.folder):
            self._system(os.makedirs, self.folder, mode=0o700, exist_ok=True)
            self.sync(self.folder.parent)

    def make_folder(self, name: str) -> None:
        """Make a folder in the folder. Raises FileExistsError for a name that is taken."""
        self._system(os.mkdir, self.folder / name, 0o700)

    def claim(self, name: str) -> bool:
        """Take a name that no entry has, with an empty file; False when another process was faster."""
        return self._claimed(name, lambda: self._touch(name))

    def claim_folder(self, name: str) -> bool:
        """Take a name that no entry has, with an empty folder; False when another process was faster."""
        return self._claimed(name, lambda: self.make_folder(name))

    def fill(self, name: str, fill: Callable[[BinaryIO], object]) -> tuple[str, int]:
        """Make a new file of what `fill` writes, durable when this returns; return its hash and size.

        An error of the disk is raised as such, whatever `fill` made of it.
        """
        with self._opened(name, NEW) as descriptor, HashingWriter(descriptor, self._system) as writer:
            try:
                fill(cast("BinaryIO", writer))
            except Exception:
                if writer.error is not None:
                    raise writer.error from None
                raise
            return writer.finish(), writer.size_bytes

    def write(self, name: str, data: bytes) -> None:
        """Make a new file of `data`, durable when this returns."""
        with self._opened(name, NEW) as descriptor:
            write_all(descriptor, memoryview(data), self._system)
            self._system(os.fsync, descriptor)

    def read(self, name: str) -> bytes:
        """Return the content of a small regular file; of a larger one only its beginning."""
        with self._opened(name, READ) as descriptor:
            _refuse_unless_regular(self._system(os.fstat, descriptor))
            pieces, left = [], _LARGEST_READ_BYTES
            while left and (piece := self._system(os.read, descriptor, left)):
                pieces.append(piece)
                left -= len(piece)
            return b"".join(pieces)

    def pour(self, name: str, into: BinaryIO) -> None:
        """Write the content of a regular file into another."""
        with self._opened(name, READ) as descriptor:
            _refuse_unless_regular(self._system(os.fstat, descriptor))
            while piece := self._system(os.read, descriptor, BUFFER_BYTES):
                into.write(piece)

    def hash(self, name: str) -> tuple[str, int]:
        """Return the hash and the size of a regular file, as whoever reads it now would find it."""
        with self._opened(name, READ) as descriptor:
            _refuse_unless_regular(self._system(os.fstat, descriptor))
            return hash_descriptor(descriptor, self._system)

    def read_back(self, name: str) -> tuple[str, int]:
        """Return hash and size of a file just written as the disk gives it, not as the cache remembers it."""
        with self._opened(name, READ) as descriptor:
            advise_to_drop(descriptor, 0, 0, self._system)
            return hash_descriptor(descriptor, self._system)

    def replace(self, name: str, by: str) -> None:
        """Give an entry another name in one step, in the place of whatever has it."""
        self._system(os.replace, self.folder / name, self.folder / by)

    def sync(self, folder: Path | None = None) -> None:
        """Make names durable. Where the file system does not know how, it is taken at its word."""
        if FOLDER is None:
            return
        descriptor = self._system(os.open, folder or self.folder, FOLDER)
        try:
            with _suppressed(*_NO_SYNC):
                self._system(os.fsync, descriptor)
        finally:
            self._system(os.close, descriptor)

    def sync_file(self, name: str) -> None:
        """Make the content of a file durable that was written by others."""
        with self._opened(name, READ) as descriptor:
            self._system(os.fsync, descriptor)

    def empty(self, name: str) -> None:
        """Take a file's content away, for a place whose bin would keep it; not when it lives on under a second name."""
        with self._opened(name, os.O_WRONLY | CLOEXEC | BINARY | NO_LINK) as descriptor:
            if self._system(os.fstat, descriptor).st_nlink == 1:
                self._system(os.ftruncate, descriptor, 0)

    def remove(self, name: str) -> None:
        """Remove a regular file, or a folder that is empty. Nothing happens for a name that is not there."""
        found = self.stat(name)
        if found is not None and stat.S_ISDIR(found.st_mode):
            self._system(os.rmdir, self.folder / name)
        elif found is not None and stat.S_ISREG(found.st_mode):
            with contextlib.suppress(FileNotFoundError):
                self._system(os.unlink, self.folder / name)

    def remove_if_empty(self, name: str) -> None:
        """Remove an empty file, or a folder with nothing in it."""
        found = self.stat(name)
        if found is not None and (stat.S_ISDIR(found.st_mode) or found.st_size == 0):
            with _suppressed(errno.ENOTEMPTY, errno.EEXIST):
                self.remove(name)

    def discard(self, name: str) -> None:
        """Remove what we have made under this name, folders with the files in them, as far as the disk lets us."""
        with contextlib.suppress(OSError):
            for each in self.names_in(name):
                self.remove(f"{name}/{each}")
            self.remove(name)

    def _touch(self, name: str) -> None:
        with self._opened(name, NEW):
            pass

    def _claimed(self, name: str, claim: Callable[[], None]) -> bool:
        try:
            claim()
        except FileExistsError:
            return False
        except OSError:  # it may have been done all the same, the answer lost on its way
            with contextlib.suppress(OSError):
                self.remove_if_empty(name)
            raise
        return True

    @contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        descriptor = self._system(os.open, self.folder / name, flags, 0o600)
        try:
            yield descriptor
        except BaseException:
            with contextlib.suppress(OSError):
                self._system(os.close, descriptor)
            raise
        self._system(os.close, descriptor)  # a network mount may keep its complaint until here


@contextmanager
def _suppressed(*numbers: int) -> Iterator[None]:
    """Pass over these errors of the disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def _refuse_unless_regular(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
