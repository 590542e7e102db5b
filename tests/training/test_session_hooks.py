"""What is ours in the user's process while a run is open, and that nothing of it acts when the run is over."""

from __future__ import annotations

import atexit
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

import numpy as np
import pytest

from notifybot import notify_epoch, notify_run
from notifybot.training.endings import ENDINGS

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)


@pytest.fixture(autouse=True)
def own_hooks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The hooks of the test runner, back where they were."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def process() -> dict[str, object]:
    """Everything of a process that a library could leave its own in."""
    root, ours = logging.getLogger(), logging.getLogger("notifybot")
    return {
        "excepthook": sys.excepthook,
        "unraisablehook": sys.unraisablehook,
        "displayhook": sys.displayhook,
        "exit": sys.exit,
        "streams": (sys.stdout, sys.stderr),
        "trace": (sys.gettrace() is None, sys.getprofile()),
        "threading.excepthook": threading.excepthook,
        "signals": {number: signal.getsignal(number) for number in SIGNALS},
        "wakeup": signal.set_wakeup_fd(-1),
        "warnings": list(warnings.filters),
        "showwarning": warnings.showwarning,
        "root logger": (root.level, list(root.handlers), list(root.filters), logging.lastResort, logging.root.disabled),
        "our logger": (ours.level, ours.propagate),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": (mask := os.umask(0), os.umask(mask)),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),  # type: ignore[index,union-attr,unused-ignore]
    }


def by_with(settings: dict[str, object]) -> None:
    with notify_epoch(range(2), config=settings) as epochs:
        for _ in epochs:
            epochs.log(loss=1.0)


def by_bare_loop(settings: dict[str, object]) -> None:
    for _ in notify_epoch(range(2), config=settings):
        pass


def by_break(settings: dict[str, object]) -> None:
    for _ in notify_epoch(range(2), config=settings):
        break
    ENDINGS.cell_ended(None)


def by_failure(settings: dict[str, object]) -> None:
    with suppress(ValueError), notify_epoch(range(2), config=settings) as epochs:
        for _ in epochs:
            raise ValueError("boom")


def by_block(settings: dict[str, object]) -> None:
    with notify_run("block", config=settings) as run:
        run.log_epoch(0, loss=1.0)


def nested(settings: dict[str, object]) -> None:
    with notify_run("outer", config=settings):
        by_with(settings)
        by_failure(settings)


def again_and_again(settings: dict[str, object]) -> None:
    for _ in range(3):
        by_with(settings)


def abandoned(settings: dict[str, object]) -> None:
    """A cell that was stopped before its loop, and run again."""
    notify_epoch(range(2), config=settings)
    by_with(settings)


WAYS = [by_with, by_bare_loop, by_break, by_failure, by_block, nested, again_and_again, abandoned]


@pytest.mark.parametrize("run", WAYS)
def test_a_run_leaves_the_process_as_it_was(
    settings: dict[str, object], run: Callable[[dict[str, object]], None]
) -> None:
    by_with(settings)  # what stays for good is there from now on: one function at exit
    before, at_exit = process(), atexit._ncallbacks()

    run(settings)

    after = process()
    assert {name: value for name, value in after.items() if value != before[name]} == {}
    assert atexit._ncallbacks() == at_exit


class Library:
    """Another library's hooks, chained as such libraries do."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.excepthook_before: Any = None
        self.handler_before: Any = None

    def install(self) -> None:
        self.excepthook_before, sys.excepthook = sys.excepthook, self.on_exception
        self.handler_before = signal.signal(signal.SIGTERM, self.on_signal)

    def remove(self) -> None:
        sys.excepthook = self.excepthook_before
        signal.signal(signal.SIGTERM, self.handler_before)

    def on_exception(self, kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        self.heard.append("exception")
        self.excepthook_before(kind, error, traceback)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.heard.append("signal")
        if callable(self.handler_before):
            self.handler_before(number, frame)


def raise_both() -> None:
    """An exception that nobody catches, and a signal."""
    error = ValueError("boom")
    sys.excepthook(type(error), error, None)
    signal.raise_signal(signal.SIGTERM)


@pytest.fixture
def program() -> Library:
    """The program's own hooks, there before anything else; they chain to nobody."""
    own = Library()
    own.install()
    own.excepthook_before, own.handler_before = lambda *_: None, None
    return own


@pytest.mark.parametrize("runs", [1, 2, 3])
@pytest.mark.parametrize("put_on", ["before", "within", "between"])
@pytest.mark.parametrize("taken_off", ["never", "after"])
def test_each_hook_is_called_once_whoever_stands_above(
    settings: dict[str, object], program: Library, runs: int, put_on: str, taken_off: str
) -> None:
    """Ours may lie under another library's for good: there it passes on, and calls nobody twice."""
    library = Library()
    for number in range(runs):
        if number == 0 and put_on == "before":
            library.install()
        with notify_run(f"run{number}", config=settings):
            if number == 0 and put_on == "within":
                library.install()
        if number == 0 and put_on == "between":
            library.install()
    if taken_off == "after":
        library.remove()

    raise_both()

    assert program.heard == ["exception", "signal"]
    assert library.heard == (["exception", "signal"] if taken_off == "never" else [])


def test_a_hook_that_comes_to_light_again_does_not_pile_up(settings: dict[str, object], program: Library) -> None:
    for _ in range(5):
        library = Library()
        with notify_run("run", config=settings):
            library.install()
        library.remove()  # gives ours back, long after the run
        by_with(settings)

    assert sys.excepthook == program.on_exception
    assert signal.getsignal(signal.SIGTERM) == program.on_signal


def test_an_open_run_hears_of_an_exception_under_a_hook_that_forgot_it(
    settings: dict[str, object], program: Library
) -> None:
    """Pretty tracebacks replace the hook without a word to the one before; the next run stands above them."""
    first = notify_epoch(range(2), name="first", config=settings)
    next(iter(first))
    sys.excepthook = program.on_exception
    second = notify_run("second", config=settings)
    second.__enter__()

    assert sys.excepthook != program.on_exception
    second.__exit__(None, None, None)
