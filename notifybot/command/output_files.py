"""Files that a command writes by itself, read behind it from where they stood at its start.

The command has the file as without us, and writes on where we are killed. Each file is opened once more for reading, so
that no position is moved that the command shares; by its descriptor, so that it may be renamed or deleted meanwhile.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from notifybot.command.output import TAIL_BYTES, collapsed

PIECE_BYTES = 512 * 1024  # read at once, and so in a second: a training prints a thousandth of it
MOST_WAITING_BYTES = 4 * 1024 * 1024  # what is printed faster than it is read shows no progress
_OWN_STREAMS = "/proc/self/fd"
_BARS_BYTES = 16 * TAIL_BYTES  # an hour of a progress bar may stand before the last lines


@dataclass(frozen=True, slots=True)
class FilePiece:
    """New text of a stream's file. `cut`: more than is read has come before it, and it begins within a line."""

    stream: int
    text: bytes
    cut: bool = False


class OutputFile:
    """File behind one of our streams, which a command writes from `began` on; that of stderr may be the same."""

    def __init__(self, stream: int) -> None:
        self.stream = stream
        status = os.fstat(stream)
        self.identity = status.st_dev, status.st_ino
        self.began = status.st_size if _appends(stream) else os.lseek(stream, 0, os.SEEK_CUR)
        self._read_to, self._truncated = self.began, False
        self._seen = (0, 0)
        self._seen = self._place()
        self._file: BinaryIO | None = None

    def has_grown(self) -> bool:
        """True where something was written since the last call. Attributes that a network caches have no say alone."""
        seen, self._seen = self._seen, self._place()
        return seen != self._seen

    def news(self) -> FilePiece | None:
        """Return what was written next, at most half a megabyte; None where that is nothing. Raises OSError.

        A file that is shorter than what was read has been truncated, as by logrotate: it is read from its beginning.
        """
        if self._file is None:
            self._file = _opened(self.stream)
        size = os.fstat(self._file.fileno()).st_size
        if size < self._read_to:
            self.began = self._read_to = 0
            self._truncated = True
        if self._truncated and self._read_to < size:  # whoever does not append writes on after a hole
            self._read_to, self._truncated = _data_from(self._file, self._read_to), False
        cut = size - self._read_to > MOST_WAITING_BYTES
        if cut:
            self._read_to = size - PIECE_BYTES
        self._file.seek(self._read_to)
        text = self._file.read(PIECE_BYTES)
        self._read_to += len(text)
        return FilePiece(self.stream, text, cut) if text else None

    def tail(self) -> bytes:
        """Return its last lines, at most 64 KiB, each as it was repainted last; none where it cannot be read."""
        with suppress(OSError), _opened(self.stream) as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(self.began if self.began <= size else 0, size - _BARS_BYTES))
            return collapsed(file.read(_BARS_BYTES).lstrip(b"\0"))[-TAIL_BYTES:]
        return b""

    def close(self) -> None:
        """Close it for reading. Closing twice is fine."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _place(self) -> tuple[int, int]:
        """Size, and the position that the command shares, which no network file system caches."""
        try:
            return os.fstat(self.stream).st_size, os.lseek(self.stream, 0, os.SEEK_CUR)
        except OSError:
            return self._seen


class OutputFiles:
    """All files that a command writes by itself: none, one for both streams, or two."""

    def __init__(self) -> None:
        self._files: list[OutputFile] = []

    def add(self, stream: int) -> None:
        """Take a stream that leads to a regular file, from where it stands."""
        file = OutputFile(stream)
        for known in self._files:
            if known.identity == file.identity:
                known.began = known._read_to = min(known.began, file.began)
                return
        self._files.append(file)

    def have_grown(self) -> bool:
        """True where something was written since the last call."""
        grown = [each.has_grown() for each in self._files]
        return any(grown)

    def news(self) -> Iterator[FilePiece]:
        """Return what was written next to each. Raises OSError where one cannot be read."""
        for each in self._files:
            if (piece := each.news()) is not None:
                yield piece

    def tails(self) -> Iterator[tuple[int, bytes]]:
        """Return each stream's last lines."""
        for each in self._files:
            yield each.stream, each.tail()

    def close(self) -> None:
        """Close all for reading. Closing twice is fine."""
        for each in self._files:
            each.close()


def _opened(stream: int) -> BinaryIO:
    """Open a stream's file for reading, by a descriptor with a position of its own. Raises OSError."""
    if sys.platform == "darwin":
        import fcntl

        path: Any = fcntl.fcntl(stream, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")
    else:
        path = f"{_OWN_STREAMS}/{stream}"
    file = open(path, "rb", buffering=0)  # noqa: SIM115  its lifetime is the caller's
    if not os.path.samestat(os.fstat(file.fileno()), os.fstat(stream)):
        file.close()
        raise FileNotFoundError(path)
    return file


def _data_from(file: BinaryIO, place: int) -> int:
    """Return where the bytes after a hole begin. Asked for after a truncation alone, as NFS first writes all back."""
    with suppress(OSError, AttributeError):
        return file.seek(place, os.SEEK_DATA)
    return place


def _appends(stream: int) -> bool:
    if sys.platform == "win32":
        return False
    import fcntl

    return bool(fcntl.fcntl(stream, fcntl.F_GETFL) & os.O_APPEND)
