"""Periodic jobs. The scheduler decides only when to look; the database holds what is due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.background import BackgroundScheduler

from notifybot.clock import SYSTEM, Clock


@dataclass(frozen=True, slots=True)
class Job:
    """Work to be done every `every_s` seconds, first at once. It never overlaps itself."""

    name: str
    every_s: float
    work: Callable[[], object]


class JobSchedule:
    """Runs jobs on threads of its own until stopped.

    A job that comes due while it still runs is left out, several missed ones are made up for by one, and none is
    ever too late to run: by default APScheduler drops what is a second late.
    """

    def __init__(self, jobs: Sequence[Job], *, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._jobs = {job.name: job for job in jobs}
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            daemon=True,
            jobstores={"default": MemoryJobStore()},
            executors={"default": ThreadPoolExecutor(max(len(jobs), 1))},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def start(self) -> None:
        """Begin, with every job at once."""
        for job in self._jobs.values():
            self._scheduler.add_job(
                job.work, "interval", seconds=job.every_s, id=job.name, name=job.name, next_run_time=self._clock.now()
            )
        self._scheduler.start()

    def stop(self) -> None:
        """Start nothing more and wait for what runs. Stopping twice is fine."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def catch_up(self) -> int:
        """Run at once what is planned further ahead than its interval; return how many jobs that were.

        APScheduler plans by the wall clock: set back by an hour, it would sleep for an hour.
        """
        now = self._clock.now()
        late = []
        for job in self._scheduler.get_jobs():
            latest = now + timedelta(seconds=2 * self._jobs[job.id].every_s + 1)
            if job.next_run_time is not None and job.next_run_time > latest:
                job.modify(next_run_time=now)
                late.append(job)
        return len(late)
