"""Watchdog of the demo: the real service, with limits of seconds, so that the demo need not wait a minute."""

from __future__ import annotations

import sys
from pathlib import Path

from notifybot.config import load
from notifybot.demo.processes import SILENT_S
from notifybot.watchdog.rules import Limits
from notifybot.web.server import serve


def main() -> None:
    serve("127.0.0.1", 0, Path(sys.argv[1]), config=load(), limits=Limits(silent_floor_s=SILENT_S))


if __name__ == "__main__":
    main()
