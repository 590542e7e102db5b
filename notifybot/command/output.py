"""Output of a command as it passes: its last lines for a message, and its lines for whoever reads progress in them."""

from __future__ import annotations

import re
import threading
from collections import deque
from dataclasses import dataclass, field

from notifybot.clock import SYSTEM, Clock

TAIL_BYTES = 64 * 1024
_LINE_BYTES = 8 * 1024  # of a line, the rest is of no use to a reader of progress
_READ_BYTES_PER_S = 512 * 1024  # what is looked at for progress: a training prints a thousandth of it
_BAR_EVERY_S = 1.0  # a progress bar repaints its line many times a second

_REPAINTED = re.compile(rb"[^\n]*\r(?!\r*\n)")  # what a carriage return has written over
# Control sequences of a terminal: CSI (colours, cursor), OSC (title, links), and the two-byte ones.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]|[\x00-\x08\x0b-\x1f\x7f]"
)


def plain(line: bytes) -> str:
    """Return a line as a terminal shows it at its end: after the last carriage return, without control sequences."""
    shown = line.rstrip(b"\r").rpartition(b"\r")[2]
    return _CONTROL.sub("", shown.decode("utf-8", "replace")).rstrip()


def collapsed(text: bytes) -> bytes:
    """Return text without what carriage returns have written over: an hour of a progress bar is its last line."""
    return _REPAINTED.sub(b"", text) if b"\r" in text else text


class Tail:
    """Last lines of an output, in bounded memory whatever is printed. One object for all streams of a command."""

    def __init__(self, limit_bytes: int = TAIL_BYTES) -> None:
        self._limit = limit_bytes
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._size = 0
        self._before: list[bytes] = []
        self._lock = threading.Lock()

    def feed(self, piece: bytes, stream: int = 1) -> None:
        """Take what was printed next on a stream. What is printed fast costs next to nothing here."""
        piece = piece[-2 * self._limit :]
        with self._lock:
            self._pieces.append((stream, piece))
            self._size += len(piece)
            if self._size > 4 * self._limit:
                if b"\r" in piece:  # else an hour of a progress bar would push out the lines before it
                    self._pieces = deque((stream, collapsed(text)) for stream, text in self._joined())
                    self._size = sum(len(text) for _, text in self._pieces)
                while self._size > 2 * self._limit:
                    self._size -= len(self._pieces.popleft()[1])

    def precede(self, text: bytes) -> None:
        """Take lines that stand before all others whenever they were printed: an error is looked for at the end."""
        with self._lock:
            self._before.append(text)

    def lines(self, count: int) -> list[str]:
        """Return the last lines that show anything, oldest first."""
        with self._lock:
            texts = [*self._before, *(text for _, text in self._joined())]
        shown = [shown for text in texts for line in text.split(b"\n") if (shown := plain(line[-self._limit :]))]
        return shown[-count:] if count > 0 else []

    def _joined(self) -> list[tuple[int, bytes]]:
        """The pieces with no line cut by one of the other stream: a line stands where it ended."""
        begun: dict[int, list[bytes]] = {}
        joined: list[tuple[int, bytes]] = []
        for stream, piece in self._pieces:
            lines, newline, rest = piece.rpartition(b"\n")
            parts = begun.setdefault(stream, [])
            if newline:
                joined.append((stream, b"".join([*parts, lines, newline])))
                parts.clear()
            parts.append(rest)
        return joined + [(stream, b"".join(parts)) for stream, parts in begun.items()]


@dataclass(slots=True)
class LineReader:
    """Cuts one stream into lines; a repainted line is one at most once a second.

    Of a pipe, more than half a megabyte a second is not read: what floods shows no progress that a person could follow.
    """

    clock: Clock = SYSTEM
    limit_bytes_per_s: float = _READ_BYTES_PER_S
    _begun: bytes = b""
    _cut: bool = False  # the line that goes on now began in what was not read
    _second: float = field(default=float("-inf"))
    _budget: float = 0.0
    _bar_at_s: float = field(default=float("-inf"))

    def skip(self) -> None:
        """Take in that something was printed that is not read: the line that goes on after it is none."""
        self._begun, self._cut = b"", True

    def feed(self, piece: bytes) -> list[str]:
        """Take what was printed next; return the lines that are whole now and show anything."""
        now_s = self.clock.monotonic()
        if now_s - self._second >= 1.0:
            self._second, self._budget = now_s, self.limit_bytes_per_s
        self._budget -= len(piece)
        if self._budget < 0:
            self.skip()
            return []
        *lines, self._begun = (self._begun + piece).split(b"\n")
        if lines and self._cut:
            self._cut = False
            del lines[0]
        if b"\r" in self._begun and now_s - self._bar_at_s >= _BAR_EVERY_S:
            bar, _, self._begun = self._begun.rpartition(b"\r")
            self._bar_at_s = now_s
            lines.append(bar)
        if len(self._begun) > 2 * _LINE_BYTES:
            self._begun = self._begun[-_LINE_BYTES:]
        return [text for line in lines if (text := plain(line[-_LINE_BYTES:]))]
