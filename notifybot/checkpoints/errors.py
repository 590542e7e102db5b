"""Checkpoint errors that carry a language-neutral `Reason`, and their texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from errno import errorcode
from pathlib import Path

from notifybot.errors import READER, CheckpointError, reader_text, system_words
from notifybot.rendering.error_text import reason_line, unread_words
from notifybot.types import Language, Reason


class Flawed(CheckpointError):
    """A CheckpointError with its reason. Its text is the reason's, unless another is given."""

    def __init__(self, reason: Reason, text: str = "") -> None:
        super().__init__(reason, text)  # unpickling calls __init__ with these
        self.reason, self.text = reason, text

    def __str__(self) -> str:
        return self.text or reader_reason(self.reason)


class Unread(CheckpointError):
    """Checkpoints cannot be read now, which is no damage. React: try later, or step back on purpose.

    `used` names the newest one that can be read.
    """

    def __init__(self, unread: Sequence[Reason], used: str = "") -> None:
        super().__init__(unread, used)  # unpickling calls __init__ with these
        self.unread, self.used = tuple(unread), used

    def __str__(self) -> str:
        return unread_words(self.unread, self.used, _reader())


class Unreadable(ValueError):
    """A file's text is no manifest; the reason says why."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return reader_reason(self.reason)


class Late(TimeoutError):
    """A save takes too long; the reason says which."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return reader_reason(self.reason)


def reader_reason(reason: Reason) -> str:
    """Return a reason's text in the language of the reader."""
    return reason_line(reason, _reader())


def _reader() -> Language:
    return Language.KO if READER.language == "ko" else Language.EN


def reason_of(error: Exception, about: str = "") -> Reason:
    """Return an error's reason, without the number and path of an OSError; other errors come with their type."""
    if isinstance(error, Flawed | Unreadable | Late):
        return replace(error.reason, about=about or error.reason.about)
    if isinstance(error, OSError) and error.strerror:
        return Reason("disk", about, {"name": errorcode.get(error.errno or 0, ""), "text": error.strerror})
    kind = type(error).__name__
    return Reason("other", about, {"text": f"{kind}: {error}" if str(error) else kind})


def unfit(problems: Sequence[str], remedy: str = "") -> str:
    """Return the error text for a checkpoint that does not fit, with its problems and the ways on, or the remedy."""
    listed = "".join(f"\n- {each}" for each in problems)
    return reader_text("checkpoints.describe.does_not_fit", problems=listed, ways_on=remedy or ways_on())


def ways_on() -> str:
    """Return the text on what to do about a checkpoint that does not fit."""
    return reader_text("checkpoints.describe.ways_on")


def unusable(folder: Path, error: OSError) -> str:
    """Return the error text for a folder that cannot hold checkpoints, with the remedy."""
    return reader_text("checkpoints.describe.folder_cannot_be_used", folder=folder, error=system_words(error))
