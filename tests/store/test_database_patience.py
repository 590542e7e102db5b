"""How long a busy database is waited for: hardly at all while a training trains, and for seconds when it begins."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from notifybot.clock import SYSTEM
from notifybot.config import Config
from notifybot.delivery.build import open_delivery
from notifybot.errors import StoreError
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.testing import RecordingNotifier
from notifybot.training.guard import Guard
from notifybot.training.session import Session, close
from tests.support.store_events import RUN, epoch, started

LONG_S = 60.0
BUSY_S = 0.3  # several times as long as an epoch's end waits


@contextmanager
def busy_thread(store: Store) -> Iterator[None]:
    """Another thread holds the database for a moment from now on."""
    holds = threading.Event()

    def hold() -> None:
        with store.transaction():
            holds.set()
            SYSTEM.wait(threading.Event(), BUSY_S)

    thread = threading.Thread(target=hold)
    thread.start()
    assert holds.wait(LONG_S)
    yield
    thread.join()


@contextmanager
def busy_process(store: Store) -> Iterator[None]:
    """Another connection does, as another process has it."""
    with closing(sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(BUSY_S, lambda: other.execute("ROLLBACK"))
        timer.start()
        yield
        timer.join()


@pytest.mark.parametrize("busy", [busy_thread, busy_process])
def test_only_who_says_so_waits_for_a_busy_database(tmp_path: Path, busy: type) -> None:
    """And no longer than within that block, nor on another thread's account."""
    with Store.open(tmp_path / "a.db") as store:
        with busy(store):
            with pytest.raises(StoreError):
                runs.record(store, started())
            with store.patient(LONG_S):
                assert runs.record(store, started())
        with busy(store), pytest.raises(StoreError):
            runs.record(store, epoch(1))


@pytest.mark.parametrize("busy", [busy_thread, busy_process])
def test_a_run_that_begins_learns_its_past_from_a_busy_database(tmp_path: Path, busy: type) -> None:
    """Else a resumed run would count from nothing, and tell people so."""
    session = Session.open(Config(state_dir=tmp_path), [RecordingNotifier()], guard=Guard(), clock=SYSTEM)
    try:
        store = session.shared.store
        runs.record(store, started(attempt=3))
        runs.record(store, epoch(7))
        with busy(store):
            past = session.past(RUN)
    finally:
        close()

    assert (past.attempt, past.progress.epoch if past.progress else None) == (3, 7)
    assert session.guard.faults == {}


def test_delivery_opens_on_a_busy_database(tmp_path: Path) -> None:
    """Else the whole run would go unreported."""
    with Store.open(tmp_path / "a.db") as store, busy_thread(store):
        assert open_delivery(store, Config(state_dir=tmp_path), notifiers=[]).notifiers == ()
