"""Signals while a run is reported: they wait for our own work, and a second one does not."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from notifybot.training.guard import Guard
from notifybot.training.signals import SIGNALS


@pytest.mark.parametrize("fails", [False, True], ids=["work that is done", "work that fails"])
def test_a_signal_waits_for_the_end_of_the_outermost_section(fails: bool) -> None:
    """It may come amid a transaction; a section within another one is no end."""
    seen, guard = list[int](), Guard()

    def report(number: int) -> bool:
        seen.append(number)
        return True

    SIGNALS.watch(report)
    try:
        with guard("outer"):
            with guard("inner"):
                signal.raise_signal(signal.SIGTERM)
                if fails:
                    raise OSError
            assert seen == []
        assert seen == [signal.SIGTERM]
    finally:
        SIGNALS.unwatch(report)

    assert SIGNALS.depth == 0
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


SECOND = """
import os, signal, threading
from notifybot.training.signals import SIGNALS

def report(number):
    os.kill(os.getpid(), number)
    return threading.Event().wait(60)

SIGNALS.watch(report)
os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_second_signal_ends_the_wait_that_the_first_began() -> None:
    """Whoever sends it will not wait; the process dies of it, as it would without us."""
    done = subprocess.run([sys.executable, "-c", SECOND], timeout=50, check=False)

    assert done.returncode == -signal.SIGTERM
