"""How a run ended, by what left it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys

import pytest

from notifybot.testing import FakeClock
from notifybot.training.endings import Ending, Endings, ending_of
from notifybot.types import Status


def named(name: str, base: type[BaseException] = Exception) -> BaseException:
    """An exception whose class is called so, as a library that is not installed here has it."""
    module, _, kind = name.rpartition(".")
    error: BaseException = type(kind, (base,), {"__module__": module or "search"})("told")
    return error


def after_ctrl_c(error: BaseException) -> BaseException:
    """The error as it is when it was raised while Ctrl-C was being handled."""
    try:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise error  # noqa: B904  the context is what this is about
    except BaseException as raised:  # noqa: BLE001
        return raised


@pytest.mark.parametrize(
    ("error", "status"),
    [
        pytest.param(KeyboardInterrupt(), Status.INTERRUPTED, id="Ctrl-C"),
        pytest.param(after_ctrl_c(SystemExit(1)), Status.INTERRUPTED, id="Lightning's Ctrl-C"),
        pytest.param(after_ctrl_c(OSError("disk full")), Status.FAILED, id="a failure while Ctrl-C was handled"),
        pytest.param(SystemExit(1), Status.FAILED, id="exit code"),
        pytest.param(SystemExit(0), Status.STOPPED, id="exit"),
        pytest.param(asyncio.CancelledError(), Status.INTERRUPTED, id="a cancelled task"),
        pytest.param(concurrent.futures.CancelledError(), Status.INTERRUPTED, id="a cancelled future"),
        pytest.param(named("trio.Cancelled", BaseException), Status.INTERRUPTED, id="trio"),
        pytest.param(BaseExceptionGroup("", [KeyboardInterrupt()]), Status.INTERRUPTED, id="a group of Ctrl-C"),
        pytest.param(
            BaseExceptionGroup("", [KeyboardInterrupt(), ValueError()]), Status.FAILED, id="a group with a failure"
        ),
        pytest.param(named("optuna.exceptions.TrialPruned"), Status.STOPPED, id="Optuna"),
        pytest.param(named("TrialPruned"), Status.STOPPED, id="a pruning of one's own"),
        pytest.param(named("mine.Pruned", type(named("TrialPruned"))), Status.STOPPED, id="derived from it"),
        pytest.param(named("ray.exceptions.TaskCancelledError"), Status.STOPPED, id="Ray"),
        pytest.param(
            named("lightning.pytorch.utilities.exceptions._TunerExitException"), Status.STOPPED, id="Lightning's tuner"
        ),
        pytest.param(named("mine.TaskCancelledError"), Status.FAILED, id="a namesake"),
        pytest.param(ValueError(), Status.FAILED, id="exception"),
    ],
)
def test_what_left_the_loop_tells_how_it_ended(error: BaseException, status: Status) -> None:
    ending = ending_of(error, exhausted=False)

    assert ending.status is status
    assert (ending.error != "") == (status is Status.FAILED)


class Told:
    """A run that notes how it was ended."""

    def __init__(self) -> None:
        self.endings: list[tuple[Status, bool]] = []

    def end(self, ending: Ending, *, instead: bool = False) -> None:
        self.endings.append((ending.status, instead))

    def forget_after_fork(self) -> None:
        pass


@pytest.mark.parametrize(
    ("error", "after_s", "corrected"),
    [
        pytest.param(TimeoutError(), 0.1, True, id="a timeout"),
        pytest.param(ExceptionGroup("tasks", [ValueError("boom")]), 0.1, True, id="another task"),
        pytest.param(KeyboardInterrupt(), 0.1, False, id="Ctrl-C"),
        pytest.param(ValueError("much later"), 5.0, False, id="something else, later"),
    ],
)
def test_what_cancelled_a_task_is_told_when_the_program_dies_of_it(
    error: BaseException, after_s: float, corrected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncio cancels the training for a timeout, for another task's failure and for Ctrl-C alike."""
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)
    clock, run = FakeClock(), Told()
    endings = Endings(clock)

    endings.cancelled(run)
    clock.advance(after_s)
    sys.excepthook(type(error), error, None)

    assert run.endings == ([(Status.FAILED, True)] if corrected else [])


def test_a_ctrl_c_at_exit_ends_what_is_waited_for_there() -> None:
    """Without a traceback: nobody is left to catch it."""
    endings, waited = Endings(), list[float]()

    def pressed(_: float) -> None:
        raise KeyboardInterrupt

    endings.register_flush(pressed)
    endings.register_flush(waited.append)

    endings.at_exit()

    assert waited == []
