"""Child process that draws one picture: an order as a line of JSON on stdin, a PNG on stdout, then exit.

It is started before it is needed, writes a byte when it has imported everything, and waits for its order.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from notifybot.errors import StoreError
from notifybot.i18n import OVERRIDES
from notifybot.store.history import History, history_of
from notifybot.types import Language

NO_MATPLOTLIB = 3  # exit code
READY = b"+"  # before the picture: everything is imported
_MOST_S = 90  # seconds of work at most, even if the parent is gone


def main() -> int:
    """Draw what stdin orders; return the exit code."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the training
    try:
        render = _renderer()
    except ImportError:
        return NO_MATPLOTLIB
    _write(sys.stdout.buffer, READY)
    order = sys.stdin.buffer.readline()  # not up to the end: a forked data loader may hold the pipe open
    if not order:  # the parent gave it up
        return 0
    signal.alarm(_MOST_S)
    _write(sys.stdout.buffer, render(json.loads(order)))
    return 0


def _renderer() -> Callable[[Mapping[str, Any]], bytes]:
    from notifybot.charts.fonts import lettering  # matplotlib: an optional dependency
    from notifybot.charts.png import Caption, Picture, png
    from notifybot.charts.series import Curve

    fonts = lettering()  # before the order comes: it may have to look at every font of the machine

    def render(order: Mapping[str, Any]) -> bytes:
        OVERRIDES.use(Path(order["texts"]) if order["texts"] else None)
        history = _history(order)
        best = {name: (float(epoch), float(value)) for name, (epoch, value) in order["best"].items()}
        points = history.points()
        named = [*(each for each in order["latest"]["metrics"] if each in points), *sorted(points)]
        names = [name for name in dict.fromkeys(named) if name not in order["hidden"]]
        picture = Picture(
            curves=tuple(Curve(name, points[name], best.get(name)) for name in names),
            captions={Language(each): Caption(*words) for each, words in order["captions"].items()},
            language=Language(order["language"]),
            resumed=tuple(map(float, history.resumed)),
            focus=order["focus"],
            height_px=order["height_px"],
            unit=order["unit"],
        )
        return png(picture, fonts)

    return render


def _history(order: Mapping[str, Any]) -> History:
    """Return the run's history from the database; the event's own latest values if the database has none."""
    try:
        found = history_of(Path(order["database"]), order["run_key"], datetime.fromisoformat(order["until"]))
    except StoreError:
        found = History()
    if not found.values and order["latest"]["metrics"]:
        found.add("", order["latest"])
    return found


def _write(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)
    stream.flush()
