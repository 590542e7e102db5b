"""Pump that stays behind a command, for processes that outlive it and still print into its pipes.

Without it they would die of SIGPIPE at their next line, as what a script has started by `nohup … &`. It is run by its
path, as a process of its own: `left_pump.py SOURCE:TARGET …`, descriptors that it inherits.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress

_PIECE = 64 * 1024
_IGNORED = ("SIGINT", "SIGHUP", "SIGQUIT", "SIGPIPE")  # of the terminal; whoever is printing has its own word on them


def pump(pairs: Sequence[str]) -> None:
    """Pass on what comes, until every source has ended. A target that nobody reads ends nothing."""
    targets = {int(source): int(target) for source, target in (each.split(":") for each in pairs)}
    while targets:
        for source in select.select(list(targets), [], [])[0]:
            piece = b""
            with suppress(OSError):
                piece = os.read(source, _PIECE)
            if not piece:
                del targets[source]
                continue
            rest = memoryview(piece)
            with suppress(OSError):
                while rest:
                    rest = rest[os.write(targets[source], rest) :]


if __name__ == "__main__":
    for name in _IGNORED:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    pump(sys.argv[1:])
