"""A machine as the commands find it: runs in its database, and the console script as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

from notifybot.cli.samples import progress_at, samples
from notifybot.events import EpochFinished, RunEnded, RunStarted
from notifybot.policy import Priority
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.store.runs import record
from notifybot.types import Host, Language, Status, uuid7

NOW = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
KEY = "slack:00000000"


def command(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the console script's entry point as a process of its own."""
    line = [sys.executable, "-m", "notifybot", *args]
    env = {**os.environ, "COLUMNS": "200", **environment}
    return subprocess.run(line, capture_output=True, text=True, env=env, timeout=60)


def live(store: Store, name: str, *, status: Status | None = None, done: int = 12, host: Host | None = None) -> str:
    """Record a run that has come `done` epochs far, and ended if `status` says so."""
    started, epoch, *_ = samples(Language.EN, store.clock.now(), project="vision")
    assert isinstance(started, RunStarted)
    assert isinstance(epoch, EpochFinished)
    run = replace(started.run, name=name)
    record(store, replace(started, run=run, host=host or started.host))
    record(store, replace(epoch, run=run, progress=progress_at(done)))
    if status is not None:
        record(store, RunEnded(id=uuid7(), run=run, at=store.clock.now(), status=status, progress=progress_at(done)))
    return run.id


def put_two(store: Store) -> Outbox:
    """Two messages that wait for a notifier of that key."""
    for event in samples(Language.EN, store.clock.now())[:2]:
        record(store, event, [(KEY, Priority.NORMAL)])
    return Outbox(store)
