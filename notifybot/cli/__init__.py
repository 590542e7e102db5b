"""The command line. `main` is the console script `notifybot`."""

from __future__ import annotations

import codecs
import io
import sys

from notifybot.cli.app import app
from notifybot.cli.options import is_utf8
from notifybot.errors import DeliveryError, NotifybotError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command that `sys.argv` names. Our own errors become plain lines on stderr and exit code 2."""
    _speak_any_encoding()
    try:
        app(prog_name="notifybot")
    except NotifybotError as error:
        for line in _told(error).splitlines():
            print(f"notifybot: {line}", file=sys.stderr)
        sys.exit(2)


_MARKS = str.maketrans(  # what signs mean where they cannot be shown; anything else becomes a question mark
    {"✓": "o", "✗": "x", "✔": "o", "✘": "x", "·": "|", "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "★": "*"}
    | {"‘": "'", "’": "'", "“": '"', "”": '"', "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "\ufe0f": ""}
)


def _speak_any_encoding() -> None:
    """Let no character that a terminal or a pipe lacks (cp949, Latin-1, ASCII) end a command in the middle."""
    codecs.register_error("notifybot-marks", _marks)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not is_utf8(stream):
            stream.reconfigure(errors="notifybot-marks")


def _marks(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_MARKS)
    return "".join(each if each.isascii() else "?" for each in lacking), error.end


def _told(error: NotifybotError) -> str:
    """What a service did not take, and what to do, in the reader's language; other errors in their own words."""
    if not isinstance(error, DeliveryError):
        return str(error)
    from notifybot.config import load
    from notifybot.rendering.reasons import error_line

    return error_line(error, load().lang)
