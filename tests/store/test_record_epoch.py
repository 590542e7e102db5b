"""The quick record of an epoch: the same rows as the careful one, or none at all."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from notifybot.errors import StoreError
from notifybot.policy import Priority
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.store.record_epoch import record_epoch
from notifybot.testing import FakeClock
from notifybot.types import RunRef
from tests.support.store_events import NOON, RUN, epoch, started

ROUTES = [("slack:1", Priority.PROGRESS), ("kakao:2", Priority.PROGRESS)]


def everything(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
            for table in ("runs", "events", "deliveries", "tallies")
        }


def test_it_writes_what_the_careful_way_writes(tmp_path: Path, clock: FakeClock) -> None:
    """Every column of every table, defaults included."""
    begun, events = started(), [epoch(1), epoch(2, at=NOON + timedelta(seconds=3))]
    with Store.open(tmp_path / "quick.db", clock=clock) as quick, Store.open(tmp_path / "slow.db", clock=clock) as slow:
        runs.record(quick, begun)
        runs.record(slow, begun)
        for event in events:
            assert record_epoch(quick, event, ROUTES)
            assert runs.record(slow, event, ROUTES)
        counts = Outbox(quick).counts()

    assert everything(tmp_path / "quick.db") == everything(tmp_path / "slow.db")
    assert all(each.conserved and each.put == 2 for each in counts.values())


@pytest.mark.parametrize(
    "event",
    [
        epoch(3, RunRef("another", "x", "default", "s1")),
        epoch(3, RunRef(RUN.id, RUN.name, RUN.project, "s0")),
        epoch(3, RunRef(RUN.id, RUN.name, RUN.project, "s9")),
        epoch(3, at=NOON - timedelta(seconds=1)),
    ],
    ids=["unknown run", "older session", "newer session", "late"],
)
def test_whatever_is_unusual_is_left_to_the_careful_way(tmp_path: Path, event: Any) -> None:
    """Nothing is written then, not even a part."""
    with Store.open(tmp_path / "n.db") as store:
        runs.record(store, started())
        runs.record(store, epoch(2))
        before = everything(tmp_path / "n.db")

        assert not record_epoch(store, event, ROUTES)

        assert everything(tmp_path / "n.db") == before


def test_an_event_that_is_known_is_not_written_again(tmp_path: Path) -> None:
    with Store.open(tmp_path / "n.db") as store:
        runs.record(store, started())
        event = epoch(2)
        assert record_epoch(store, event, ROUTES)
        before = everything(tmp_path / "n.db")

        assert not record_epoch(store, event, ROUTES)

        assert everything(tmp_path / "n.db") == before


def test_a_failure_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    """A route without a key breaks the third statement; the database goes on working."""
    with Store.open(tmp_path / "n.db") as store:
        runs.record(store, started())
        before = everything(tmp_path / "n.db")

        with pytest.raises(StoreError, match="did not take a record"):
            record_epoch(store, epoch(2), [(None, Priority.PROGRESS)])  # type: ignore[list-item]

        assert everything(tmp_path / "n.db") == before
        assert record_epoch(store, epoch(2), ROUTES)


def test_a_busy_database_is_not_waited_for(tmp_path: Path) -> None:
    """The recorder keeps the epoch in memory instead."""
    with Store.open(tmp_path / "n.db") as store, closing(sqlite3.connect(tmp_path / "n.db")) as other:
        runs.record(store, started())
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreError, match="locked"):
            record_epoch(store, epoch(2), ROUTES)
