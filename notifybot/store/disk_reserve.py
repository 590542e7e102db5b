"""Reserve on the disk for urgent records only, so that a training that dies of a full disk can still report it.

SQLite appends every commit to the WAL. Blocks beyond its end are therefore asked of the file system in advance
(fallocate with FALLOC_FL_KEEP_SIZE), and news are refused when they would use the last of them. Measured on tmpfs and
ext4: commits go on when the disk is full, as long as there are such blocks. Where a file system has no such call, all
is taken until the disk is full, and then nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from notifybot.errors import StoreError, reader_text
from notifybot.files import BINARY, CLOEXEC

TIDY_FROM_BYTES = 4 * 1024 * 1024  # of the WAL: then it is moved into the database file
RESERVED_BYTES = 2 * 1024 * 1024  # some fifty records, claims and marks
WAL_BYTES = 12 * 1024 * 1024  # news are refused beyond, as when another program keeps the WAL from being moved
_KEEP_SIZE = 1  # linux/falloc.h
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's own
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class FullError(StoreError):
    """There is no room for more records. React: make room, or keep the record in memory."""


def not_taken(why: str) -> str:
    """Return the sentence for a record that could not be written."""
    return reader_text("store.disk_reserve.not_recorded", why=why)


class DiskReserve:
    """Blocks reserved after the end of the WAL of one open database. Thread-safe."""

    def __init__(self, wal: Path) -> None:
        self._descriptor: int | None = None
        self._wanted = False
        self._reserve: Callable[[int, int], int] | None = None
        with suppress(OSError):  # no WAL: the file system cannot have one
            self._descriptor = os.open(wal, os.O_RDWR | CLOEXEC | BINARY)  # SQLite locks other files, never this one

    @property
    def wal_needs_checkpoint(self) -> bool:
        """True when the WAL should be moved into the database file; False where it cannot be read."""
        try:
            return self._descriptor is not None and os.fstat(self._descriptor).st_size >= TIDY_FROM_BYTES
        except OSError:
            return False

    def begin(self) -> None:
        """Ask for the room, and again whenever the WAL has been moved. A disk without so much does not matter now."""
        if not self._wanted:
            self._wanted = True
            self._reserve = _fallocate()
            self.renew()

    def renew(self) -> None:
        """Ask again for what the file system took back, as it does when the WAL is cut off."""
        if self._wanted:
            with suppress(FullError):
                self._ask(TIDY_FROM_BYTES)

    def keep(self) -> None:
        """Call before news are written. Raises FullError when they would use what is reserved for urgent records."""
        if not self._wanted or self._descriptor is None:
            return
        try:
            stat = os.fstat(self._descriptor)
        except OSError:  # a failing disk, or another thread closes the store at this moment
            return
        if stat.st_size > WAL_BYTES:
            why = reader_text("store.disk_reserve.wal_too_large")
            raise FullError(not_taken(why))
        if self._reserve is not None and stat.st_blocks * _BLOCK_BYTES - stat.st_size < RESERVED_BYTES:
            self._ask(stat.st_size)

    def close(self) -> None:
        """Let go of the file. Closing twice is fine."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _ask(self, size: int) -> None:
        """Have blocks for a WAL of that size and the reserve. Raises FullError."""
        if self._descriptor is None or self._reserve is None:
            return
        error = self._reserve(self._descriptor, size + RESERVED_BYTES)
        if error in _FULL:
            raise FullError(not_taken(reader_text("store.disk_reserve.disk_is_full")))
        if error:
            self._reserve = None  # not on this file system


def _fallocate() -> Callable[[int, int], int] | None:
    """The call that gives a file blocks up to a size, and leaves its own size alone; it returns errno or 0."""
    try:
        import ctypes  # 5 ms to import; only recording processes pay

        library = ctypes.CDLL(None, use_errno=True)
        call = getattr(library, "fallocate64", None) or library.fallocate
    except (ImportError, OSError, AttributeError, TypeError):
        return None  # not Linux, or a Python without ctypes
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return lambda file, size: 0 if call(file, _KEEP_SIZE, 0, size) == 0 else ctypes.get_errno()
