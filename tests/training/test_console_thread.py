"""The console's own thread."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from notifybot import notify_epoch
from notifybot.events import Event
from notifybot.notifiers.console import ConsoleNotifier
from notifybot.rendering import Renderer
from notifybot.training.console_thread import ConsoleThread
from notifybot.training.guard import Guard
from notifybot.training.session import close
from notifybot.types import Language
from tests.support.store_events import alert, ended, epoch, started


class _Stuck(io.StringIO):
    """A pipe that is full: nobody reads at its other end until `freed` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.freed = threading.Event()

    def write(self, text: str) -> int:
        self.freed.wait(30)
        return super().write(text)


def _speaker(stream: io.StringIO) -> ConsoleThread:
    return ConsoleThread(ConsoleNotifier(stream), Renderer(Language.EN), Guard())


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


class _Tee:
    """Stands in for a stream, as of scripts that write into a file too: it can `write`, and nothing else."""

    def __init__(self, fault: Callable[[], None] = lambda: None) -> None:
        self.fault = fault
        self.text = ""

    def write(self, text: str) -> None:
        self.fault()
        self.text += text


class _Handler(logging.Handler):
    def __init__(self, fault: Callable[[], None]) -> None:
        super().__init__()
        self.fault = fault

    def emit(self, record: logging.LogRecord) -> None:
        self.fault()


def _raise() -> None:
    raise RuntimeError("the program's own")


def _recur() -> None:
    _recur()


def _broken(progress: Any) -> None:
    """A rule of the user's own, whose fault is said on the loop's thread."""
    raise ValueError


def _trained(tmp_path: Path) -> Any:
    settings = {"state_dir": tmp_path / "state", "runs_dir": tmp_path / "runs", "tensorboard": "off", "wandb": "off"}
    with notify_epoch(range(3), name="resnet", alerts=[_broken], config=settings | {"lang": "en"}) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)
    close()
    return epochs.run


def _handled_by(monkeypatch: pytest.MonkeyPatch, *handlers: logging.Handler, name: str = "") -> None:
    """Have a logger these handlers, and the test runner's none."""
    for each in ("", "notifybot"):
        monkeypatch.setattr(logging.getLogger(each), "handlers", list(handlers) if each == name else [])


def test_a_stream_that_can_only_write_has_every_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for print(), which asks for no more."""
    tee = _Tee()
    monkeypatch.setattr(sys, "stderr", tee)
    _handled_by(monkeypatch)

    run = _trained(tmp_path)

    assert [name for name in run.faults if "rule" not in name] == []
    assert "resnet finished" in tee.text
    assert "ValueError" in tee.text


@pytest.mark.parametrize("fault", [_raise, _recur])
@pytest.mark.parametrize("place", ["stream", "handler", "own handler", "filter"])
def test_what_the_programs_own_streams_and_handlers_raise_stays_out_of_its_loop(
    place: str, fault: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They fail on the loop's thread, too, where something is said there."""
    _handled_by(monkeypatch)
    if place == "stream":
        monkeypatch.setattr(sys, "stderr", _Tee(fault))
    elif place == "filter":
        monkeypatch.setattr(logging.getLogger("notifybot"), "filters", [lambda _: fault()])
    else:
        _handled_by(monkeypatch, _Handler(fault), name="notifybot" if place == "own handler" else "")

    run = _trained(tmp_path)

    assert not run.active
    assert run.progress.done == 3
    assert _takes_tqdms_lock()


def _takes_tqdms_lock() -> bool:
    """Whether another thread may draw a bar: the lock is the whole program's."""
    taken = threading.Event()

    def take() -> None:
        with tqdm.get_lock():  # type: ignore[no-untyped-call]
            taken.set()

    threading.Thread(target=take, daemon=True).start()
    return taken.wait(30)
