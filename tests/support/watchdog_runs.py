"""A watchdog on a moved clock, and processes that report to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notifybot.events import EpochFinished, Event, RunEnded, RunLost, RunStalled, RunStarted
from notifybot.policy import Priority, priority_of
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.runs import RunRow
from notifybot.testing import FakeClock
from notifybot.types import Checkpoint, Host, Metric, Progress, RunRef, Status, uuid7
from notifybot.watchdog import tokens
from notifybot.watchdog.ingest import Ingest, Ingested
from notifybot.watchdog.rules import Limits
from notifybot.watchdog.scan import Checker
from notifybot.watchdog.schemas import Batch, parse_beat

PEOPLE = "recording:00000000"
VERDICTS = ("run_lost", "run_stalled", "run_recovered")


def route(event: Event) -> Sequence[tuple[str, Priority]]:
    """Everybody is told everything."""
    return [(PEOPLE, priority_of(event))]


@dataclass
class Process:
    """One training process: it reports when a test says so."""

    watchdog: Watchdog
    run: RunRef
    beat_s: float | None = 30.0
    seq: int = 0
    done: int = 0
    hangs: bool = False
    moved_s: float = 0.0
    host: Host = field(default_factory=lambda: Host(name="colab-1", device="T4", pid=41))

    @property
    def progress(self) -> Progress:
        metrics = {"loss": Metric(1 / (self.done + 1))} if self.done else {}
        checkpoint = Checkpoint(f"/content/drive/ck/epoch-{self.done}.pt", self.done) if self.done else None
        return Progress(
            epoch=self.done - 1, done=self.done, total=30, metrics=metrics, epoch_s=60.0, checkpoint=checkpoint
        )

    def started(self, attempt: int = 1) -> RunStarted:
        stamp = self._stamp()
        return RunStarted(
            **stamp, attempt=attempt, total=30, host=self.host, progress=self.progress, beat_s=self.beat_s
        )

    def epoch(self) -> EpochFinished:
        self.done += 1
        return EpochFinished(**self._stamp(), progress=self.progress)

    def ended(self, status: Status = Status.FINISHED) -> RunEnded:
        return RunEnded(**self._stamp(), status=status, progress=self.progress)

    def send(self, *batch: Event, direct: bool = False) -> Ingested:
        return self.watchdog.ingest.accept_events(self.watchdog.token, Batch(batch, direct))

    def beat(self, *, age_s: float | None = None, next_in_s: float | None = None, seq: int | None = None) -> str:
        self.seq += 1
        now_s = self.watchdog.clock.monotonic()
        if not self.hangs:
            self.moved_s = now_s
        body = {
            "run": {"id": self.run.id, "name": self.run.name, "project": "said", "session": self.run.session},
            "seq": self.seq if seq is None else seq,
            "beat_s": self.beat_s or 30.0,
            "progress_age_s": now_s - self.moved_s if age_s is None else age_s,
            "next_in_s": next_in_s,
            "stack": "train.py:12 next(loader)" if self.hangs else "",
        }
        watchdog = self.watchdog
        beat = parse_beat(json.dumps(body).encode(), watchdog.clock.now(), watchdog.limits.promise_max_s)
        return watchdog.ingest.accept_heartbeat(watchdog.token, beat).state

    def row(self) -> RunRow:
        row = runs.get(self.watchdog.store, self.run.id)
        assert row is not None
        return row

    def _stamp(self) -> dict[str, Any]:
        now = self.watchdog.clock.now()
        return {"id": uuid7(now.timestamp()), "run": self.run, "at": now}


class Watchdog:
    """The parts of the service without its threads."""

    def __init__(self, folder: Path, clock: FakeClock) -> None:
        self.clock = clock
        self.limits = Limits()
        self.store = Store.open(folder / "watchdog.db", clock=clock, patience_s=2.0)
        self.token = tokens.create(self.store, "vision")
        self.begin()

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *error: object) -> None:
        self.store.close()

    def begin(self) -> None:
        """Start anew with the limits as they are now, as a restarted service does."""
        self.ingest = Ingest(self.store, limits=self.limits, route=route)
        self.checker = Checker(self.store, limits=self.limits, route=route)

    def of(self, project: str) -> Watchdog:
        """The same watchdog, for who has another project's token."""
        other = copy(self)
        other.token = tokens.create(self.store, project)
        return other

    def process(self, run_id: str = "run-1", session: str | None = None, *, beat_s: float | None = 30.0) -> Process:
        now = self.clock.now().timestamp()
        return Process(self, RunRef(run_id, f"name of {run_id}", "vision", session or uuid7(now)), beat_s)

    def running(self, run_id: str = "run-1", *, beat_s: float | None = 30.0) -> Process:
        """A process that has just started, and was scanned once."""
        process = self.process(run_id, beat_s=beat_s)
        process.send(process.started())
        self.checker.scan()
        return process

    def watch(self, seconds: float, *alive: Process) -> list[RunLost | RunStalled]:
        """Let time pass, second by second; those alive beat when it is time."""
        told: list[RunLost | RunStalled] = []
        every_s = max(int(self.limits.scan_every_s), 1)
        for second in range(0, int(seconds), every_s):
            self.clock.advance(every_s)
            for each in alive:
                if second % int(each.beat_s or 30) < every_s:
                    each.beat()
            told += self.checker.scan()
        return told

    def told(self, run_id: str = "run-1") -> list[str]:
        """What was told of a run about being late, in order."""
        return [each.kind for each in runs.events_of(self.store, run_id, kinds=VERDICTS)]

    def deliveries(self) -> list[tuple[str, str]]:
        """(event kind, notifier) of all deliveries that were put."""
        with self.store.transaction() as connection:
            query = "SELECT kind, notifier FROM deliveries JOIN events ON events.id = event_id ORDER BY deliveries.id"
            return [(row[0], row[1]) for row in connection.exec_driver_sql(query)]


def trained(watchdog: Watchdog, epochs: int = 3) -> Process:
    """A process that has reported some epochs."""
    process = watchdog.running()
    for _ in range(epochs):
        watchdog.clock.advance(60)
        process.send(process.epoch())
    return process


class Courier:
    """Counts how often it was woken."""

    def __init__(self) -> None:
        self.log: list[str] = []

    def start(self) -> None:
        self.log.append("start")

    def wake(self) -> None:
        self.log.append("wake")

    def stop(self, timeout_s: float) -> None:
        self.log.append("stop")


def auth(watchdog: Watchdog) -> dict[str, str]:
    """The header of a request with the project's token."""
    return {"authorization": f"Bearer {watchdog.token}"}
