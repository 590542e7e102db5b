"""The watchdog is killed anywhere between finding a dead run and having told of it: nothing is lost."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest

from notifybot.clock import SYSTEM
from notifybot.events import RunStarted
from notifybot.store import heartbeats, runs
from notifybot.store.database import Store
from notifybot.types import RunRef, Status, uuid7

ROOT = Path(__file__).parents[2]

# Five steps a run: inside the transaction, after it, after the claim, after the send, after the mark.
WATCHDOG = """
import os, signal, sys
from pathlib import Path
from notifybot.policy import Priority
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.watchdog.scan import Checker
from notifybot.watchdog.rules import Limits

left = int(sys.argv[3])

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def route(event):
    step()
    return [("file:00000000", Priority.URGENT)]

store = Store.open(Path(sys.argv[1]), patience_s=5.0)
Checker(store, limits=Limits(), route=route).scan()
step()
outbox = Outbox(store)
outbox.release_dead()
while delivery := outbox.claim("file:00000000"):
    step()
    with open(sys.argv[2], "a") as sent:
        sent.write(f"{delivery.event.run.id} {delivery.event.kind}\\n")
        sent.flush()
        os.fsync(sent.fileno())
    step()
    outbox.mark_sent(delivery)
    step()
store.close()
"""


def _watchdog(folder: Path, die_at: int) -> int:
    command = [sys.executable, "-c", WATCHDOG, str(folder / "watchdog.db"), str(folder / "sent"), str(die_at)]
    return subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode


def _die_silently(store: Store, run_id: str) -> None:
    """A run that was last heard of ten minutes ago, while the watchdog was at work."""
    now = SYSTEM.now()
    run = RunRef(run_id, run_id, "vision", uuid7())
    with store.transaction() as connection:
        heard_at = now - timedelta(minutes=10)
        runs.record_in(connection, heard_at, RunStarted(id=uuid7(), run=run, at=heard_at, beat_s=30.0))
        heartbeats.set_deadline(connection, run.key, heard_at + timedelta(minutes=2))
        for part in ("scan", "ingest"):
            heartbeats.stamp(connection, part, now)
        heartbeats.stamp(connection, "watching", now - timedelta(hours=1))


def _campaign(folder: Path, kills: int, seed: int) -> None:
    """Each dead run meets one kill, at a step of its own; then the watchdog is started again."""
    rng = random.Random(seed)
    for number in range(kills):
        with Store.open(folder / "watchdog.db", patience_s=5.0) as store:
            _die_silently(store, f"run-{number}")
        assert _watchdog(folder, die_at=rng.randint(1, 5)) == -9
        assert _watchdog(folder, die_at=0) == 0

    with Store.open(folder / "watchdog.db", patience_s=5.0) as store:
        for number in range(kills):
            row = runs.get(store, f"run-{number}")
            assert row is not None
            assert (row.status, row.incident) == (Status.LOST, 1)
            assert len(runs.events_of(store, row.id, kinds=["run_lost"])) == 1
    told = Counter((folder / "sent").read_text().splitlines())
    assert told.keys() == {f"run-{number} run_lost" for number in range(kills)}
    assert max(told.values()) <= 2  # the kill between the send and its mark


@pytest.mark.parametrize("die_at", range(1, 7))
def test_an_alert_survives_a_kill_at_every_step_between_the_verdict_and_the_message(
    tmp_path: Path, die_at: int
) -> None:
    with Store.open(tmp_path / "watchdog.db", patience_s=5.0) as store:
        _die_silently(store, "run")

    assert _watchdog(tmp_path, die_at) == (-9 if die_at <= 5 else 0)
    assert _watchdog(tmp_path, die_at=0) == 0
    assert set((tmp_path / "sent").read_text().splitlines()) == {"run run_lost"}


def test_kills_at_random_steps_lose_no_alert(tmp_path: Path) -> None:
    _campaign(tmp_path, kills=5, seed=2)


@pytest.mark.torture
@pytest.mark.timeout(900)
def test_two_hundred_kills_lose_no_alert(tmp_path: Path) -> None:
    _campaign(tmp_path, kills=200, seed=3)
