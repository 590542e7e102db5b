"""Entry of the command line, as `notifybot` and as `python -m notifybot`."""

from __future__ import annotations

import sys
from importlib import import_module


def main() -> None:
    """Run the command that `sys.argv` names. `notifybot log` starts without all that the others need."""
    words = sys.argv[1:]
    if words[:1] == ["log"] and not any(word.startswith("-") for word in words):
        from notifybot.command.log import log

        sys.exit(log(words[1:]))
    import_module("notifybot.cli").main()


if __name__ == "__main__":
    main()
