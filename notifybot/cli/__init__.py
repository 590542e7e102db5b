"""The command line. `main` is the console script `notifybot`."""

from __future__ import annotations

import sys

from notifybot.cli.app import app
from notifybot.errors import NotifybotError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command that `sys.argv` names. Our own errors become plain lines on stderr and exit code 2."""
    try:
        app(prog_name="notifybot")
    except NotifybotError as error:
        for line in str(error).splitlines():
            print(f"notifybot: {line}", file=sys.stderr)
        sys.exit(2)
