"""A child process that draws one picture, as the parent holds it: started ahead, asked once, ended when it is late."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Callable

from notifybot.clock import Clock
from notifybot.delivery.chart_process import READY

_LOOK_S, _HAND_OVER_S = 0.1, 0.01
_NICE = 19  # from the first line on, since its imports are most of its work: a training on the same cores goes first
# The child finds what this process finds, also what a notebook has put on its path. Nothing secret is on a path.
_CODE = f"""
import os, sys
getattr(os, 'nice', int)({_NICE})  # not on Windows
import json
sys.path[:] = json.loads(sys.argv[1])
from notifybot.delivery.drawing import main
sys.exit(main())
"""


_dying: list[subprocess.Popen[bytes]] = []  # until they are dead: Python warns of one that is let go of before


class Drawer:
    """A child that waits for its order. Raises OSError when it cannot be started."""

    def __init__(self) -> None:
        arguments = [sys.executable, "-c", _CODE, json.dumps([each or os.curdir for each in sys.path])]
        self.process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            process_group=0,  # the terminal's Ctrl-C is meant for the training
        )  # fmt: skip
        self._ready = False

    def is_ready(self) -> bool:
        """True once it has imported everything and would begin at once. Does not wait."""
        stdout = self.process.stdout
        try:
            if not self._ready and stdout is not None and select.select([stdout], [], [], 0)[0]:
                self._ready = os.read(stdout.fileno(), 1) == READY
        except OSError:  # Windows can ask sockets only: it gets its order now, and reads it when it is ready
            self._ready = True
        return self._ready

    def end(self) -> None:
        """Kill it. Ending twice is fine."""
        self.process.kill()
        try:
            self.process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:  # on busy cores it takes a while to die; nobody has to wait for that
            _dying.append(self.process)
        _dying[:] = [each for each in _dying if each.poll() is None]
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # an order that was never read
                    stream.close()


class Drawing:
    """A picture on its way. `report` is told the exit code of the child; None: it was late and had to be ended."""

    def __init__(
        self,
        drawer: Drawer,
        order: bytes,
        ends_at_s: float,
        *,
        clock: Clock,
        report: Callable[[int | None], None],
    ) -> None:
        self.png: bytes | None = None
        self.drawer = drawer
        self._order: bytes | None = order
        self._ends_at_s = ends_at_s
        self._clock = clock
        self._report = report
        self._done = False

    def wait(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait until it is done or took too long, or `until` says that there is better to do; True when done.

        `png` is the picture then, or None where none came of it.
        """
        self._look(_HAND_OVER_S)
        while not self._done and not until():
            self._look(_LOOK_S)
        return self._done

    def cancel(self) -> None:
        """Nobody wants it any more."""
        if not self._done:
            self._done = True
            self.drawer.end()

    def _look(self, seconds: float) -> None:
        if self._done:
            return
        order, self._order = self._order, None
        left_s = self._ends_at_s - self._clock.monotonic()
        try:
            out, _ = self.drawer.process.communicate(order, timeout=max(min(seconds, left_s), 0.0))
        except subprocess.TimeoutExpired:
            if left_s <= 0:
                self.cancel()
                self._report(None)
            return
        self._done = True
        code = self.drawer.process.returncode
        self.png = (out.removeprefix(READY) or None) if code == 0 else None
        self._report(code)
