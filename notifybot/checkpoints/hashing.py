"""SHA-256 beside the reading and writing, and a file object that hashes what is written to it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, ParamSpec, Protocol, TypeVar

from notifybot.files import started

BUFFER_BYTES = 1024 * 1024
_BUFFERS = 8
_WRITE_OUT_BYTES = 4 * BUFFER_BYTES

P = ParamSpec("P")
T = TypeVar("T")


class Syscall(Protocol):
    """How this package calls the operating system: the place at which a test puts a disk that fails."""

    def __call__(self, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...


def direct(call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the operating system as it is."""
    return call(*args, **kwargs)


class Hasher:
    """Hashes buffers in the order they are put, on a thread of its own; hashlib lets other threads run meanwhile.

    On two cores that hides the hash behind the disk: 100 MB took 0.06 s to save so, 0.11 s one after the other.
    Memory is bounded: `take` waits until one of eight buffers is free.
    """

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int] | None] = SimpleQueue()
        self._made = 0
        thread = Thread(target=self._work, name="notifybot-hash", daemon=True)
        self._thread = thread if started(thread) else None  # else this one hashes

    def take(self) -> memoryview:
        """Return an empty buffer of `BUFFER_BYTES`. It stays readable until the next call after it was put."""
        if self._made < _BUFFERS and self._free.empty():
            self._made += 1
            return memoryview(bytearray(BUFFER_BYTES))
        return self._free.get()

    def put(self, buffer: memoryview, size: int) -> None:
        """Hand over a buffer of which the first `size` bytes are to be hashed."""
        if self._thread is None:
            self._hash(buffer, size)
        else:
            self._full.put((buffer, size))

    def hexdigest(self) -> str:
        """Return the hash of all that was put. Nothing can be put afterwards."""
        self.close()
        return self._sha256.hexdigest()

    def close(self) -> None:
        """End the thread. Idempotent."""
        if self._thread is not None:
            self._full.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while (item := self._full.get()) is not None:
            self._hash(*item)

    def _hash(self, buffer: memoryview, size: int) -> None:
        self._sha256.update(buffer[:size])
        self._free.put(buffer)


class HashingWriter(io.RawIOBase):
    """A binary file for writing in sequence: what is written is hashed, counted, and sent to the disk in large pieces.

    The first error of the disk is kept in `error` and raised again by every later call: libraries in between may turn
    it into one of their own, as torch does for a full disk.
    """

    def __init__(self, descriptor: int, system: Syscall = direct) -> None:
        super().__init__()
        self.error: OSError | None = None
        self.size_bytes = 0
        self._descriptor = descriptor
        self._system = system
        self._hasher = Hasher()
        self._buffer, self._filled = self._hasher.take(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Take all of `data`, any object with a buffer; return its length in bytes."""
        view = memoryview(data).cast("B")
        offset = 0
        while offset < len(view):
            piece = view[offset : offset + BUFFER_BYTES - self._filled]
            self._buffer[self._filled : self._filled + len(piece)] = piece
            self._filled += len(piece)
            offset += len(piece)
            if self._filled == BUFFER_BYTES:
                self._send()
        return len(view)

    def finish(self) -> str:
        """Write out what is left, make the file durable and return the hash of its content. Raises OSError."""
        self._send()
        self._system(os.fsync, self._descriptor)
        kept = self._system(os.fstat, self._descriptor).st_size
        if kept != self.size_bytes:
            raise OSError(errno.EIO, f"of {self.size_bytes} bytes written the disk kept {kept}")
        return self._hasher.hexdigest()

    def close(self) -> None:
        """End the hashing; the descriptor stays open. Idempotent."""
        self._hasher.close()
        super().close()

    def _send(self) -> None:
        if self.error is not None:
            raise self.error
        size = self._filled
        self._hasher.put(self._buffer, size)  # hashed while it is written: it is not given out again before `take`
        try:
            write_all(self._descriptor, self._buffer[:size], self._system)
        except OSError as error:
            self.error = error
            raise
        self._begin_write_out(self.size_bytes, self.size_bytes + size)
        self.size_bytes += size
        self._buffer, self._filled = self._hasher.take(), 0

    def _begin_write_out(self, start: int, end: int) -> None:
        """Have Linux begin to write to the disk now, so that the last fsync finds little left to wait for."""
        if start // _WRITE_OUT_BYTES != end // _WRITE_OUT_BYTES:
            advise_to_drop(self._descriptor, end - _WRITE_OUT_BYTES, _WRITE_OUT_BYTES, self._system)


def advise_to_drop(descriptor: int, start: int, length: int, system: Syscall = direct) -> None:
    """Let the system's cache forget this part of a file; what is not on the disk yet begins its way there instead.

    No more than advice: where the operating system or the file system does not know it, nothing happens.
    """
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            system(os.posix_fadvise, descriptor, start, length, os.POSIX_FADV_DONTNEED)


def write_all(descriptor: int, data: memoryview, system: Syscall = direct) -> None:
    """Write all of `data`, however little the disk takes at a time. Raises OSError."""
    while data:
        written = system(os.write, descriptor, data)
        if written <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data = data[written:]


def hash_descriptor(descriptor: int, system: Syscall = direct) -> tuple[str, int]:
    """Return the hash and the size of what can be read from here to the end. Raises OSError."""
    hasher = Hasher()
    try:
        size = 0
        buffer = hasher.take()
        while count := system(os.readv, descriptor, [buffer]):
            hasher.put(buffer, count)
            size += count
            buffer = hasher.take()
        return hasher.hexdigest(), size
    finally:
        hasher.close()
