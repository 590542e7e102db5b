"""Charts of learning curves for messages, drawn in child processes, so that the training is not delayed.

One child draws one picture, and the next one is started ahead: the picture of an ending needs a fraction of a second.
On busy cores even that is too long: so a run's picture is drawn in advance from time to time, and an ending
whose own is late is sent with the newest of those, which names the epoch that it shows.
Nothing here raises: a message goes without its picture.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import math
import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config, Switch
from notifybot.delivery.chart_process import NO_MATPLOTLIB, READY
from notifybot.errors import ConfigError, install, reader_text, system_words
from notifybot.events import AlertRaised, EpochFinished, Event, RunEnded
from notifybot.i18n import OVERRIDES, text
from notifybot.redaction import redact
from notifybot.rendering.alert_text import alert_words
from notifybot.rendering.format import about, number
from notifybot.rendering.labels import position, status_word
from notifybot.rendering.text import one_line
from notifybot.runtime import is_installed
from notifybot.types import Language, Metric, RunRef

log = logging.getLogger("notifybot")

AFTER_TEXT_S = 60.0  # nothing waits for it; with all cores busy, the lowest priority gets a hundredth of one
BEFORE_NEWS_S, BEFORE_URGENT_S = 5.0, 1.0  # a text waits for its picture: a process that ends has two seconds for both
IN_ADVANCE_S, IN_ADVANCE_SHARE = 60.0, 0.05  # how often: each minute, and in a long training each 20th of its time
_IN_ADVANCE_MOST_S = 300.0  # 0.7 s of work, at the lowest priority beside a training on all cores
_SQUARE = 1080  # pixels
_MOST_METRICS = 60
_FAILURES_MOST = 3


def has_curves(event: Event) -> bool:
    """True when there is a curve to draw: an epoch, an ending or an alert after two epochs or more."""
    if isinstance(event, AlertRaised):
        return event.about == "" and event.progress.done >= 2
    return isinstance(event, EpochFinished | RunEnded) and event.progress.done >= 2


class ChartRenderer:
    """Draws events' curves for one notifier, from what the database at `database` holds, in `language`.

    Where no font has that language's letters, labels are English. Callable from any delivery thread.
    """

    def __init__(
        self,
        database: Path,
        language: Language,
        *,
        after_text_s: float = AFTER_TEXT_S,
        advance: Advance | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._database = database
        self._language = language
        self._after_text_s = after_text_s
        self._advance = advance
        self._clock = clock
        self._spare: ChartProcess | None = None
        self._lock = threading.Lock()
        self._failures = 0
        self._off = False
        self._pid = os.getpid()
        atexit.register(self.close)

    def square(self, event: Event) -> bytes | None:
        """The picture for a phone, 1080×1080 PNG, where the text waits for it: if it can be had at once, or None.

        For an ending or an alert that is the one drawn in advance, where its own is late.
        """
        is_news = isinstance(event, EpochFinished)
        if not has_curves(event) or self._spare is None or not self._spare.is_ready():
            self._prepare_for_more(event)
            return None if is_news else self._drawn_in_advance(event)
        drawing = self._begin(event, _SQUARE, BEFORE_NEWS_S if is_news else BEFORE_URGENT_S)
        png = drawing.png if drawing is not None and drawing.wait() else None
        return png if png or is_news else self._drawn_in_advance(event)

    def begin(self, event: Event) -> ChartJob | None:
        """Have a picture drawn, 1080 pixels wide; None if there is nothing to draw, or it cannot be drawn."""
        return self._begin(event, None, self._after_text_s) if has_curves(event) else None

    def warm_up(self) -> None:
        """Start the child that will draw the next picture, unless it waits already."""
        with self._lock:
            if os.getpid() != self._pid:
                return
            died = None if self._spare is None else self._spare.process.poll()
            if self._spare is not None and died is not None:
                self._spare.end()
                self._spare = None
                self._heard(died)
            if self._spare is None and not self._off:
                self._spare = self._start()

    def close(self) -> None:
        """End the child that waits; nothing is drawn any more. Closing twice is fine."""
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            return
        with self._lock:
            spare, self._spare = self._spare, None
            self._off = True
        if spare is not None:
            spare.end()

    def _drawn_in_advance(self, event: Event) -> bytes | None:
        return self._advance.png_of(event.run) if self._advance is not None else None

    def _begin(self, event: Event, height_px: int | None, patience_s: float) -> ChartJob | None:
        self.warm_up()
        with self._lock:
            drawer, self._spare = self._spare, None
        self._prepare_for_more(event)
        if drawer is None:
            return None
        order = _ordered(event, self._database, self._language, height_px)
        ends_at_s = self._clock.monotonic() + patience_s
        return ChartJob(drawer, order, ends_at_s, clock=self._clock, report=self._heard)

    def _prepare_for_more(self, event: Event) -> None:
        if not isinstance(event, RunEnded):
            self.warm_up()

    def _start(self) -> ChartProcess | None:
        try:
            return ChartProcess()
        except OSError as error:
            text = reader_text("delivery.chart_renderer.no_process_to_draw", error=system_words(error))
            log.warning("%s", text)
            self._off = True
            return None

    def _heard(self, code: int | None) -> None:
        """After a few failures in a row no more are tried. Nothing to draw is none, nor is a machine that is busy."""
        if code is None:
            log.debug("a picture took too long: its message goes without it")
            return
        if code == 0:
            self._failures = 0
            return
        self._failures += 1
        if code == NO_MATPLOTLIB or self._failures >= _FAILURES_MOST:
            self._off = True
            text = reader_text("delivery.chart_renderer.gave_up_drawing", code=code)
            log.warning("%s", text)
        elif self._failures == 1:
            text = reader_text("delivery.chart_renderer.not_drawn", code=code)
            log.warning("%s", text)


class Advance:
    """Draws a run's curve for a phone in advance, one at a time, and keeps the newest.

    By a child of its own: the one that waits is for the next message. Its faults are told where a message misses it.
    """

    def __init__(self, database: Path, language: Language, *, clock: Clock = SYSTEM) -> None:
        self._database = database
        self._language = language
        self._clock = clock
        self._lock = threading.Lock()
        self._drawing: tuple[RunRef, ChartJob] | None = None
        self._newest: tuple[RunRef, bytes] | None = None
        self._failures = 0
        self._pid = os.getpid()
        atexit.register(self.close)

    def draw(self, event: EpochFinished) -> None:
        """Have the picture of this epoch drawn. Does not wait; does nothing while another one is being drawn."""
        if self.collect():
            return
        with self._lock:
            if os.getpid() != self._pid or self._failures >= _FAILURES_MOST:
                return
            try:
                drawer = ChartProcess()
            except OSError:
                self._failures = _FAILURES_MOST
                return
            plain = replace(event, new_best=None, progress=replace(event.progress, eta_s=None))  # it is seen later
            order = _ordered(plain, self._database, self._language, _SQUARE)
            ends_at_s = self._clock.monotonic() + _IN_ADVANCE_MOST_S
            drawing = ChartJob(drawer, order, ends_at_s, clock=self._clock, report=self._heard)
            drawing.wait(until=lambda: True)
            self._drawing = event.run, drawing

    def collect(self) -> bool:
        """Read a picture that is done: a child blocks until it is read. True while one is being drawn."""
        with self._lock:
            if self._drawing is None or os.getpid() != self._pid:
                return False
            run, drawing = self._drawing
            if not drawing.wait(until=lambda: True):
                return True
            self._drawing = None
            if drawing.png is not None:
                self._newest = run, drawing.png
            return False

    def png_of(self, run: RunRef) -> bytes | None:
        """Return the newest picture, if it is of this run."""
        self.collect()
        drawn, png = self._newest or (None, None)
        return png if drawn is not None and drawn.key == run.key else None

    def close(self) -> None:
        """End the drawing; nothing is drawn any more. Closing twice is fine."""
        atexit.unregister(self.close)
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._failures = _FAILURES_MOST
            if self._drawing is not None:
                self._drawing[1].cancel()
                self._drawing = None

    def _heard(self, code: int | None) -> None:
        log.debug("a picture in advance: exit code %s", code)
        self._failures = self._failures + 1 if code else 0


class ChartRenderers:
    """Chart renderers, one for each notifier: they draw at the same time, and none waits for another's child."""

    def __init__(self, database: Path, *, clock: Clock = SYSTEM) -> None:
        self._database = database
        self._clock = clock
        self._advance: Advance | None = None
        self._began_s: float | None = None
        self._due_s = 0.0

    def painter(self, language: Language) -> ChartRenderer:
        """Return a new renderer for a notifier of this language."""
        return ChartRenderer(self._database, language, clock=self._clock)

    def phone_painter(self, language: Language) -> ChartRenderer:
        """Return a renderer for texts that wait for their picture; all of them share the pictures drawn in advance."""
        self._advance = self._advance or Advance(self._database, language, clock=self._clock)
        return ChartRenderer(self._database, language, advance=self._advance, clock=self._clock)

    def is_due(self, event: Event) -> bool:
        """True when a picture should be drawn in advance, of this event. Cheap; callable from any thread.

        That is from the second epoch on, now and then: nobody knows which epoch is the last of a run that fails.
        """
        if not (self._advance is not None and isinstance(event, EpochFinished) and has_curves(event)):
            return False
        now_s = self._clock.monotonic()
        began_s = self._began_s = now_s if self._began_s is None else self._began_s
        if now_s < self._due_s:
            return False
        self._due_s = now_s + max(IN_ADVANCE_S, IN_ADVANCE_SHARE * (now_s - began_s))
        return True

    def draw_in_advance(self, event: EpochFinished | None) -> bool:
        """Have an event drawn, if given, and read the picture drawn before; True while one is being drawn."""
        if self._advance is None:
            return False
        if event is not None:
            self._advance.draw(event)
        return self._advance.collect()

    def close(self) -> None:
        """Draw nothing more in advance."""
        if self._advance is not None:
            self._advance.close()


def _ordered(event: Event, database: Path, language: Language, height_px: int | None) -> bytes:
    return json.dumps(order_for(event, database, language, height_px=height_px)).encode() + b"\n"


def order_for(event: Event, database: Path, language: Language, *, height_px: int | None) -> dict[str, Any]:
    """Return the child's order, as JSON. Without a height the picture is as high as its curves need."""
    progress = event.progress
    metrics = dict(list(progress.shown.items())[:_MOST_METRICS])
    return {
        "database": str(database),
        "run_key": event.run.key,
        "until": event.at.isoformat(),
        "language": language.value,
        "texts": str(OVERRIDES.folder.absolute()) if OVERRIDES.folder else None,  # the user's own
        "height_px": height_px,
        "unit": progress.unit,
        "hidden": [name for name, each in progress.metrics.items() if each.minor],
        "focus": event.new_best if isinstance(event, EpochFinished) else None,
        "best": {
            name: (each.best_epoch, each.best)
            for name, each in metrics.items()
            if each.best is not None and each.best_epoch is not None and math.isfinite(each.best)
        },
        "latest": {
            "epoch": progress.epoch,
            "done": progress.done,
            "metrics": {name: _course(each) for name, each in metrics.items()},
        },
        "captions": {
            each.value: (one_line(redact(event.run.name)), redact(subtitle(event, each))) for each in Language
        },
    }


def _course(metric: Metric) -> dict[str, Any]:
    return {"value": metric.value, "history": metric.history or (metric.value,), "epochs": metric.epochs}


def subtitle(event: Event, language: Language) -> str:
    """Return the state of the run in one line: "epoch 17/30 · 12 min left", "epoch 30/30 · finished"."""
    progress = event.progress
    parts = [position(progress, language)]
    if not isinstance(event, EpochFinished):
        alert = alert_words(event, language) if isinstance(event, AlertRaised) else None
        parts.append(one_line(alert.title) if alert else status_word(event, language))
    elif progress.eta_s and (left := about(progress.eta_s, language)):
        parts.append(text(language, "delivery.chart_renderer.time_left", time=left))
    best = event.new_best if isinstance(event, EpochFinished) else None
    if best in progress.shown:
        parts.append(f"★ {one_line(best)} {number(progress.metrics[best].value)}")
    return " · ".join(part for part in parts if part)


def chart_renderers_for(config: Config, database: Path, clock: Clock = SYSTEM) -> ChartRenderers | None:
    """Return the chart renderers for the settings. Raises ConfigError if pictures are on and cannot be drawn."""
    if config.pictures is Switch.OFF:
        return None
    there = is_installed("matplotlib") and bool(sys.executable)
    if not there and config.pictures is Switch.ON:
        raise ConfigError(reader_text("delivery.chart_renderer.needs_matplotlib", command=install("pictures")))
    return ChartRenderers(database, clock=clock) if there else None


_LOOK_S, _HAND_OVER_S = 0.1, 0.01
_NICE = 19  # from the first line on, since its imports are most of its work: a training on the same cores goes first
# The child finds what this process finds, also what a notebook has put on its path. Nothing secret is on a path.
_CODE = f"""
import os, sys
getattr(os, 'nice', int)({_NICE})  # not on Windows
import json
sys.path[:] = json.loads(sys.argv[1])
from notifybot.delivery.chart_process import main
sys.exit(main())
"""


_dying: list[subprocess.Popen[bytes]] = []  # until they are dead: Python warns about one collected before


class ChartProcess:
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


class ChartJob:
    """Picture being drawn. `report` is called with the exit code of the child; None: it was late and was ended."""

    def __init__(
        self,
        drawer: ChartProcess,
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
        """End the child: the picture is not needed any more."""
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
