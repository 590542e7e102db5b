"""Command line: start-up, encoding of the terminal, and plain-line errors. `main` runs every command but `log`."""

from __future__ import annotations

import codecs
import io
import sys
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import typer

from notifybot.cli.app import app
from notifybot.cli.options import is_utf8
from notifybot.errors import READER, DeliveryError, NotifybotError
from notifybot.types import Language

REFUSED = 125  # `notifybot run` refuses before anything is started

__all__ = ["app", "main"]


def main() -> None:
    """Run the command that `sys.argv` names. Our own errors become plain lines on stderr and exit code 2."""
    _speak_any_encoding()
    try:
        if sys.argv[1:] == ["--version"]:
            app(prog_name="notifybot")  # it need not wait for any text
        import_module("notifybot.config")  # it knows the environment; 90 ms, which `--version` need not wait for
        from notifybot.cli.help import dress

        language = READER.language  # by the environment: no setting is read for help
        command: Any = typer.main.get_command(app)
        if not _starts_at_once():
            dress(command, language)
        if language == Language.EN and not _runs_a_command():
            command(prog_name="notifybot")
        else:
            sys.exit(_run(command, language))
    except DeliveryError as error:  # with its remedy in the reader's language
        from notifybot.config import load
        from notifybot.rendering.error_text import error_line

        _print_error(error_line(error, load().lang))
        sys.exit(_refused(2))
    except NotifybotError as error:
        _print_error(str(error))
        sys.exit(_refused(2))


def _runs_a_command() -> bool:
    return sys.argv[1:2] == ["run"]


def _starts_at_once() -> bool:
    """True where no help is asked for: a command that is to run need not wait for the texts of all others."""
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    return _runs_a_command() and "--help" not in own


def _refused(code: int) -> int:
    """The exit code of a refusal: 125 where other codes are those of the command that was to run."""
    return REFUSED if _runs_a_command() else code


def _run(command: Any, language: str) -> int:
    """Run the command and return the exit code; errors of the command line are shown in the reader's language."""
    from notifybot.cli.help import explained, frames_in

    try:
        with nullcontext() if _starts_at_once() else frames_in(language):
            code = command.main(prog_name="notifybot", standalone_mode=False)
    except typer.Abort:
        return 1
    except _REFUSED as error:
        if type(error).__name__ != "NoArgsIsHelpError":  # that has shown the help
            _print_error(explained(error, language))
        return _refused(int(error.exit_code))
    return code if isinstance(code, int) else 0


# The parser's errors: typer has an own parser from 0.20 on, and names one of them only.
_REFUSED: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")


def _print_error(text: str) -> None:
    for line in text.splitlines():
        print(f"notifybot: {line}", file=sys.stderr)


_MARKS = str.maketrans(  # what signs mean where they cannot be shown; anything else becomes a question mark
    {"✓": "o", "✗": "x", "✔": "o", "✘": "x", "·": "|", "…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "★": "*"}
    | {"‘": "'", "’": "'", "“": '"', "”": '"', "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "\ufe0f": ""}
)


def _speak_any_encoding() -> None:
    """Keep a character that a terminal or a pipe lacks (cp949, Latin-1, ASCII) from ending a command in the middle."""
    codecs.register_error("notifybot-marks", _marks)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not is_utf8(stream):
            stream.reconfigure(errors="notifybot-marks")


def _marks(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end].translate(_MARKS)
    return "".join(each if each.isascii() else "?" for each in lacking), error.end
