"""The console's own thread."""

from __future__ import annotations

import io
import threading

from notifybot.events import Event
from notifybot.model import Language
from notifybot.notifiers.console import ConsoleNotifier
from notifybot.rendering import Renderer
from notifybot.training.guard import Guard
from notifybot.training.speaker import Speaker
from tests.store_events import alert, ended, epoch, started


class _Stuck(io.StringIO):
    """A pipe that is full: nobody reads at its other end until `freed` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.freed = threading.Event()

    def write(self, text: str) -> int:
        self.freed.wait(30)
        return super().write(text)


def _speaker(stream: io.StringIO) -> Speaker:
    return Speaker(ConsoleNotifier(stream), Renderer(Language.EN), Guard())


def test_lines_keep_the_order_of_their_events() -> None:
    """An epoch's line never comes after that of the end."""
    stream = io.StringIO()
    speaker = _speaker(stream)

    events: list[Event] = [started(), epoch(0), epoch(1), ended()]
    for event in events:
        speaker.say(event)
    speaker.close()

    lines = [line for line in stream.getvalue().splitlines() if "resnet" in line]
    assert [("started" in line, "finished" in line) for line in lines] == [
        (True, False), (False, False), (False, False), (False, True),
    ]  # fmt: skip


def test_a_full_pipe_does_not_hold_the_loop_for_ever() -> None:
    """Epochs are not waited for at all, a start and an end for a moment only; what was held comes out later."""
    stream = _Stuck()
    speaker = _speaker(stream)

    events: list[Event] = [started(), *(epoch(number) for number in range(50)), ended()]
    for event in events:
        speaker.say(event)
    speaker.close()
    assert stream.getvalue() == ""

    stream.freed.set()
    assert speaker._thread is not None
    speaker._thread.join(30)
    assert stream.getvalue().count("epoch") >= 50


def test_an_alert_after_the_end_is_still_said() -> None:
    """The thread is gone then, and at exit none can be started."""
    stream = io.StringIO()
    speaker = _speaker(stream)
    speaker.say(started())
    speaker.close()

    speaker.say(alert("late"))

    assert "late" in stream.getvalue()
