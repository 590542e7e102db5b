"""The demo's watchdog: the real service, but so impatient that nobody has to wait a minute for it."""

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
