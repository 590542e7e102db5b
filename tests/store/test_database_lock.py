"""The lock of a database's threads: one holds it, whoever waits is the next, and a signal never hangs in it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from notifybot.clock import SYSTEM
from notifybot.store.database import FairLock

LONG_S = 60.0  # far more than it takes, on a machine that has much else to do


def in_thread(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_only_one_thread_holds_it() -> None:
    """A counter that is not safe by itself comes out right."""
    lock, count = FairLock(), [0]

    def work() -> None:
        for _ in range(2000):
            with lock:
                seen = count[0]
                count[0] = seen + 1

    threads = [in_thread(work) for _ in range(4)]
    for each in threads:
        each.join(LONG_S)

    assert count == [8000]


def test_whoever_waits_is_the_next() -> None:
    """The thread that gives it back does not get it again before, as it does with `threading.RLock`."""
    lock, got, enough = FairLock(), threading.Event(), threading.Event()

    def other() -> None:
        with lock:
            got.set()
            enough.wait(LONG_S)

    lock.acquire(timeout=0)
    thread = in_thread(other)
    while lock._turnstile.acquire(blocking=False):  # nobody waits yet
        lock._turnstile.release()
        SYSTEM.wait(got, 0.001)
    lock.release()

    assert not lock.acquire(timeout=0)
    assert got.wait(LONG_S)
    enough.set()
    thread.join(LONG_S)
    assert lock.acquire(timeout=0)
    lock.release()


def test_its_holder_may_take_it_again_while_others_wait() -> None:
    """One who waits in the turnstile does not stop the one who is through."""
    lock, waiting, done = FairLock(), threading.Event(), threading.Event()

    def other() -> None:
        waiting.set()
        with lock:
            done.set()

    with lock:
        thread = in_thread(other)
        assert waiting.wait(LONG_S)
        for _ in range(100):
            assert lock.acquire(timeout=LONG_S)
            lock.release()
        assert not done.is_set()
    assert done.wait(LONG_S)
    thread.join(LONG_S)


def test_who_waits_too_long_gets_nothing_and_leaves_the_way_free() -> None:
    """Neither the lock nor the turnstile stays taken."""
    lock, refused = FairLock(), list[bool]()
    with lock:
        thread = in_thread(lambda: refused.append(lock.acquire(timeout=0.01)))
        thread.join(LONG_S)

    assert refused == [False]
    assert lock.acquire(timeout=0)
    lock.release()


_SIGNALLED = """
import signal, threading
from notifybot.store.database import FairLock

lock, stop, handled, failed = FairLock(), threading.Event(), [0], [0]

def loop():
    while not stop.is_set():
        with lock:
            pass

def handler(*_):
    handled[0] += 1
    if lock.acquire(timeout=60):
        lock.release()
    else:
        failed[0] += 1
    signal.setitimer(signal.ITIMER_REAL, 0.001)

thread = threading.Thread(target=loop)
signal.signal(signal.SIGALRM, handler)
thread.start()
signal.setitimer(signal.ITIMER_REAL, 0.001)
while handled[0] < 500:
    assert lock.acquire(timeout=60) and lock.acquire(timeout=60)
    lock.release()
    lock.release()
signal.signal(signal.SIGALRM, signal.SIG_IGN)
stop.set()
thread.join(60)
print(failed[0], thread.is_alive())
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals here")
def test_a_signal_at_any_moment_may_take_it_too() -> None:
    """The handler runs between any two steps of the main thread, while another thread holds the lock half the time.

    In a process of its own: whatever else listens to Python's steps has locks that no handler may meet.
    """
    done = subprocess.run([sys.executable, "-c", _SIGNALLED], capture_output=True, text=True, timeout=LONG_S)

    assert (done.stdout, done.returncode) == ("0 False\n", 0), done.stderr
