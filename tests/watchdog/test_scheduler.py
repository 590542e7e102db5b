"""The scheduler wakes jobs; a jump of the clock cannot put it to sleep."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from notifybot.clock import SYSTEM
from notifybot.testing import FakeClock
from notifybot.watchdog.scheduler import Job, JobSchedule


def test_every_job_runs_at_once_and_again() -> None:
    ran = threading.Semaphore(0)
    schedule = JobSchedule([Job("scan", 0.05, ran.release)])
    schedule.start()

    assert all(ran.acquire(timeout=5) for _ in range(3))
    schedule.stop()
    schedule.stop()


def test_a_job_never_overlaps_itself() -> None:
    go, entered = threading.Event(), []

    def work() -> None:
        entered.append(1)
        go.wait(5)

    ticks = threading.Semaphore(0)
    schedule = JobSchedule([Job("slow", 0.02, work), Job("quick", 0.02, ticks.release)])
    schedule.start()
    assert all(ticks.acquire(timeout=5) for _ in range(10))

    assert len(entered) == 1
    go.set()
    schedule.stop()


def test_a_job_that_fails_runs_again(caplog: pytest.LogCaptureFixture) -> None:
    ran = threading.Semaphore(0)

    def work() -> None:
        ran.release()
        raise RuntimeError("the disk is full")

    schedule = JobSchedule([Job("scan", 0.05, work)])
    schedule.start()

    assert all(ran.acquire(timeout=5) for _ in range(2))
    schedule.stop()
    assert "the disk is full" in caplog.text


def test_a_job_that_a_clock_jump_put_off_is_run_at_once() -> None:
    """Set back by an hour, the wall clock shows the next scan an hour ahead."""
    ran, clock = threading.Semaphore(0), FakeClock(SYSTEM.now() + timedelta(hours=1))
    schedule = JobSchedule([Job("scan", 1.0, ran.release)], clock=clock)
    schedule.start()
    clock.jump(-3600)

    assert schedule.catch_up() == 1
    assert ran.acquire(timeout=5)
    assert schedule.catch_up() == 0
    schedule.stop()
