"""The console: what a run does, in compact lines between those of the program itself."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import Any, TextIO

from notifybot.events import AlertRaised, CheckpointSaved, EpochFinished, RunEnded, RunLost, RunStalled, RunStarted
from notifybot.model import Message, Progress, Status, Tier
from notifybot.notifiers.base import Envelope
from notifybot.policy import Pace
from notifybot.rendering.numbers import about, duration, has_end
from notifybot.rendering.table import row_text
from notifybot.rendering.text import one_line, shorten
from notifybot.rendering.words import LABELS, epoch_name, position

_LIMIT_NAME = 40
_LIMIT_METRICS = 8
_PLAIN = str.maketrans(  # for terminals that speak CP949 or ASCII: what our own marks mean, rather than "?"
    {"−": "-", "±": "+/-", "…": "...", "★": "*", "·": "|", "∞": "inf"}
    | dict.fromkeys("🚀📈🏆💾✅⏹✋❌🔴🟠🟢⚠🔔🏁\ufe0f", "")
)


class ConsoleNotifier:
    """Prints a run's line an epoch, and a few for a start, an alert and a failure.

    The first checkpoint has a line that says where it lies and how safe it is there; later ones are a mark in the next
    line, until that changes.
    Writes to `stream`; without one to standard error, or in a notebook, where that is painted red, to standard
    output. A progress bar of tqdm stays whole. A stream that is closed or broken costs the line, which `lost` counts.
    """

    name = "console"
    key = "console:00000000"
    pace = Pace()

    def __init__(self, stream: TextIO | None = None, *, notebook: bool = False) -> None:
        self._stream = stream
        self._notebook = notebook
        self.lost = 0
        self._tiers: set[Tier | None] = set()  # of which a checkpoint was told in full
        self._saved = ""  # the newest checkpoint that no line has named yet

    def send(self, envelope: Envelope) -> None:
        """Print the message. Never raises."""
        # Looked up each time: notebooks and test runners replace the streams. None under pythonw.
        stream: TextIO | None = self._stream or (sys.stdout if self._notebook else sys.stderr)
        if stream is None:
            self.lost += 1
            return
        text = self._text(envelope)
        if not text:
            return
        try:
            self._write(encodable(text, stream), stream)
        except (OSError, ValueError):  # a pipe whose reader left; a file that was closed
            self.lost += 1

    def _write(self, text: str, stream: TextIO) -> None:
        if self._notebook:
            _put(text, stream)
        else:
            print_between_bars(text, stream)

    def _text(self, envelope: Envelope) -> str:
        event, language = envelope.event, envelope.message.language
        if isinstance(event, CheckpointSaved):
            saved = event.checkpoint
            if saved.tier in self._tiers:
                self._saved = f" · 💾 {epoch_name(saved.epoch, language)}" if saved.epoch is not None else " · 💾"
                return ""
            self._tiers.add(saved.tier)
        text = _text(envelope)
        if isinstance(event, EpochFinished | RunEnded) and "\n" not in text:
            named, self._saved = self._saved, ""
            return text + named
        return text

    def close(self) -> None:
        """Nothing to give back: the stream is not ours."""


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
        stream.flush()
        return
    stream.flush()  # what the program wrote stands above
    left = f"{text}\n".encode(stream.encoding, stream.errors or "strict")
    while left:
        left = left[os.write(stream.fileno(), left) :]


def _text(envelope: Envelope) -> str:
    event, message = envelope.event, envelope.message
    match event:
        case EpochFinished():
            return _epoch_line(event.progress, message)
        case RunStarted():
            return "\n".join([message.title, *message.body.splitlines()[:1]])
        case CheckpointSaved():
            return " · ".join([message.title, *message.body.splitlines()])
        case AlertRaised() | RunLost() | RunStalled() | RunEnded(status=Status.FAILED):
            return f"{message.title}\n{message.body}".rstrip("\n")
    return " · ".join([message.title, *message.body.splitlines()[:1]])


def _epoch_line(progress: Progress, message: Message) -> str:
    language = message.language
    name = shorten(one_line(message.run.name), _LIMIT_NAME)
    parts = [f"[{name}] {position(progress, language)}".rstrip()]
    parts += [row_text(row) for row in message.rows[:_LIMIT_METRICS]]
    if progress.epoch_s:
        parts.append(duration(progress.epoch_s, language))
    if progress.eta_s and has_end(progress.total or 1) and (eta := about(progress.eta_s, language)):
        parts.append(f"{LABELS[language].eta} {eta}")
    return " · ".join(parts)


def encodable(text: str, stream: TextIO) -> str:
    """Return `text` as the stream can write it: our marks spelled out, anything else it lacks as a question mark."""
    encoding = getattr(stream, "encoding", None)
    if not encoding:
        return text
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        lines = text.translate(_PLAIN).splitlines()
        text = "\n".join(line.strip() for line in lines).encode(encoding, "replace").decode(encoding)
    except LookupError:
        return text
    return text
