"""The console: what a run does, in compact lines between those of the program itself."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TextIO

from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, RunEnded, RunLost, RunStalled, RunStarted
from notifybot.i18n import text
from notifybot.notifiers.base import Envelope
from notifybot.policy import Pace
from notifybot.rendering.format import about, duration, row_text
from notifybot.rendering.labels import epoch_name, has_end, position
from notifybot.rendering.text import one_line, shorten, width
from notifybot.types import Message, Progress, Status, Tier

_LIMIT_NAME = 40
_LIMIT_METRICS = 8
_SAVED = "💾"
_DROPPED = ("saved_in", "epoch_s", "changes", "name", "saved", "eta")  # dropped in this order from too wide a line
_PLAIN = str.maketrans(  # for terminals that speak CP949 or ASCII: what our own marks mean, rather than "?"
    {"−": "-", "±": "+/-", "…": "...", "★": "*", "·": "|", "→": "->", "∞": "inf"}
    | dict.fromkeys("🚀📈🏆💾✅⏹✋❌🔴🟠🟢⚠🔔🏁\ufe0f", "")
)


class ConsoleNotifier:
    """Prints a run's line an epoch, and a few for a start, an alert and a failure.

    `whereabouts` stands below a start: from where the settings came, and where things go.
    The first checkpoint has a line that says where it lies and how safe it is there; later ones are a mark in the next
    line, until that changes.
    Writes to `stream`; without one to standard error, or in a notebook, where that is painted red, to standard
    output. A progress bar of tqdm stays whole. A stream that is closed or broken costs the line, which `lost` counts.
    """

    name = "console"
    key = "console:00000000"
    pace = Pace()

    def __init__(
        self, stream: TextIO | None = None, *, notebook: bool = False, whereabouts: Callable[[], str] = str
    ) -> None:
        self._stream = stream
        self._whereabouts = whereabouts
        self._notebook = notebook
        self.lost = 0
        self._tiers: set[Tier | None] = set()  # tiers whose first checkpoint had its full line already
        self._saved = ""  # the newest checkpoint that no line has named yet
        self._columns: int | None = None
        self._dropped = 0  # fields dropped at this width, so that consecutive lines show the same ones

    def send(self, envelope: Envelope) -> None:
        """Print the message. Never raises."""
        # Looked up each time: notebooks and test runners replace the streams. None under pythonw.
        stream: TextIO | None = self._stream or (sys.stdout if self._notebook else sys.stderr)
        if stream is None:
            self.lost += 1
            return
        text = self._text(envelope, stream)
        if not text:
            return
        try:
            (_put if self._notebook else print_between_bars)(encodable(text, stream), stream)
        except (OSError, ValueError):  # a pipe whose reader left; a file that was closed
            self.lost += 1

    def _text(self, envelope: Envelope, stream: TextIO) -> str:
        event, message = envelope.event, envelope.message
        if isinstance(event, CheckpointSaved):
            saved = event.checkpoint
            if saved.tier in self._tiers:
                named = epoch_name(saved.epoch, message.language, message.unit) if saved.epoch is not None else ""
                self._saved = f"{_SAVED} {named}".rstrip()
                return ""
            self._tiers.add(saved.tier)
        if isinstance(event, EpochFinished):
            saved_in, self._saved = self._saved, ""
            return self._epoch_line(event.progress, message, saved_in, stream)
        text = _text(envelope)
        if isinstance(event, RunStarted):
            text = f"{text}\n{self._whereabouts()}".rstrip()
        if isinstance(event, RunEnded) and self._saved and "\n" not in text:
            text, self._saved = f"{text} · {self._saved}", ""
        return text

    def _epoch_line(self, progress: Progress, message: Message, saved: str, stream: TextIO) -> str:
        """The fullest line of those that take the fewest rows, and no fuller than the one before it."""
        columns = _columns_of(stream)
        if columns != self._columns:
            self._columns, self._dropped = columns, 0
        if columns is None:
            return _epoch_line(progress, message, saved)
        lines = {
            dropped: _epoch_line(progress, message, saved, _DROPPED[:dropped])
            for dropped in range(self._dropped, len(_DROPPED) + 1)
        }
        rows = {dropped: -(-width(encodable(line, stream)) // columns) for dropped, line in lines.items()}
        self._dropped = min(rows, key=lambda dropped: (rows[dropped], dropped))
        return lines[self._dropped]

    def close(self) -> None:
        """Do nothing: the stream belongs to somebody else."""


def print_between_bars(text: str, stream: TextIO) -> None:
    """Write a line where tqdm's bars are, if there are any: they leave the screen and are drawn again below.

    Raises OSError or ValueError where the stream takes nothing.
    """
    tqdm: Any = getattr(sys.modules.get("tqdm"), "tqdm", None)
    with nullcontext() if tqdm is None else tqdm.external_write_mode(file=stream):
        _put(encodable(text, stream), stream)


def _put(text: str, stream: TextIO) -> None:
    """Write a line now, or lose it now.

    What stays in a standard stream's buffer because a disk is full fails again when Python flushes it at exit, and
    then the program's exit code is 120: https://docs.python.org/3/library/sys.html#sys.exit
    """
    if os.name != "posix" or stream not in (sys.__stderr__, sys.__stdout__):
        stream.write(text + "\n")
        flush = getattr(stream, "flush", None)  # print() asks for `write` alone, of what stands in for a stream
        if flush is not None:
            flush()
        return
    stream.flush()  # so that the program's earlier output stands above
    left = f"{text}\n".encode(stream.encoding, stream.errors or "strict")
    while left:
        left = left[os.write(stream.fileno(), left) :]


def _text(envelope: Envelope) -> str:
    event, message = envelope.event, envelope.message
    match event:
        case RunStarted():
            return "\n".join([message.title, *message.body.splitlines()[:1]])
        case CheckpointSaved():
            return " · ".join([message.title, *message.body.splitlines()])
        case AlertRaised() | RunLost() | RunStalled() | RunEnded(status=Status.FAILED):
            return f"{message.title}\n{message.body}".rstrip("\n")
    return " · ".join([message.title, *message.body.splitlines()[:1]])


def _epoch_line(progress: Progress, message: Message, saved: str, dropped: Sequence[str] = ()) -> str:
    language = message.language
    name = "" if "name" in dropped else f"[{shorten(one_line(message.run.name), _LIMIT_NAME)}]"
    rows = message.rows[:_LIMIT_METRICS]
    if "changes" in dropped:
        rows = tuple(replace(row, change="") for row in rows)
    parts = [f"{name} {position(progress, language)}".strip(), *map(row_text, rows)]
    if progress.unit_s and "epoch_s" not in dropped:
        took = duration(progress.unit_s, language)
        parts.append(took if progress.unit == "epoch" else text(language, f"console.per_{progress.unit}", time=took))
    eta = about(progress.eta_s, language) if progress.eta_s and has_end(progress.total or 1) else ""
    if eta and "eta" not in dropped:
        parts.append(text(language, "console.eta", time=eta))
    if saved and "saved" not in dropped:
        parts.append(_SAVED if "saved_in" in dropped else saved)
    return " · ".join(part for part in parts if part)


def _columns_of(stream: TextIO) -> int | None:
    """The columns that a line may take on a terminal; None where the stream leads elsewhere, or tells none."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 0
    except (AttributeError, OSError, ValueError):  # what stands in for a stream lacks some of its methods
        return None
    return columns - 1 if columns > 1 else None  # in the last column some terminals go on to the next row at once


def encodable(text: str, stream: TextIO) -> str:
    """Return `text` as the stream can write it: our marks spelled out, anything else it lacks as a question mark."""
    encoding = getattr(stream, "encoding", None)
    if not encoding:
        return text
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        lines = text.removesuffix(f" · {_SAVED}").translate(_PLAIN).splitlines()
        text = "\n".join(line.strip() for line in lines).encode(encoding, "replace").decode(encoding)
    except LookupError:
        return text
    return text
