"""The command line. `main` is the console script `notifybot`."""

from __future__ import annotations

import sys

from notifybot.cli.app import app
from notifybot.errors import DeliveryError, NotifybotError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command that `sys.argv` names. Our own errors become plain lines on stderr and exit code 2."""
    try:
        app(prog_name="notifybot")
    except NotifybotError as error:
        for line in _told(error).splitlines():
            print(f"notifybot: {line}", file=sys.stderr)
        sys.exit(2)


def _told(error: NotifybotError) -> str:
    """What a service did not take, and what to do, in the reader's language; other errors in their own words."""
    if not isinstance(error, DeliveryError):
        return str(error)
    from notifybot.config import load
    from notifybot.rendering.reasons import error_line

    return error_line(error, load().lang)
