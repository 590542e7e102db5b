"""What an event does to its run's row."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from notifybot.errors import StoreError
from notifybot.store import runs, schema
from notifybot.store.database import Store
from notifybot.types import RunRef
from tests.support.store_events import NOON, RUN, alert, epoch, started

NEXT = RunRef(RUN.id, RUN.name, RUN.project, "s2")


@pytest.mark.parametrize("project", [None, "default"])
def test_the_board_is_found_by_an_index_and_sorts_nothing(tmp_path: Path, project: str | None) -> None:
    steps = []
    with Store.open(tmp_path / "a.db") as store, store.transaction() as connection:
        asked: list[str] = []
        event.listen(connection, "before_cursor_execute", lambda *each: asked.append(each[2].replace("?", "'1'")))
        runs.board(connection, project=project)
        for each in asked[:2]:
            steps += [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}")]

    assert not any("TEMP B-TREE" in step for step in steps), steps
    assert all("INDEX runs_by" in step for step in steps), steps


def test_readers_neither_wait_for_a_writer_nor_see_half_of_what_it_writes(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db", patience_s=0.01) as store:
        with store.reading() as connection:
            assert runs.board(connection).total == 0
        with store.transaction() as writing:
            runs.record_in(writing, store.clock.now(), started())
            with store.reading() as connection:
                assert runs.board(connection).total == 0
        with store.reading() as connection:
            assert runs.board(connection).total == 1
        with pytest.raises(StoreError), store.reading() as connection:
            connection.execute(schema.runs.delete())
    with pytest.raises(StoreError), store.reading():
        pass


def test_an_alert_that_says_nothing_of_the_progress_leaves_it_alone(tmp_path: Path) -> None:
    """A dead letter's alert carries no progress; the run must not fall back to epoch nothing."""
    with Store.open(tmp_path / "n.db") as store:
        for event in (started(), epoch(4), alert("a message was not taken")):
            runs.record(store, event)
        row = runs.get(store, RUN.id)

    assert row is not None
    assert row.progress.epoch == 4


def test_an_epoch_recorded_twice_is_there_once_and_moves_nothing(tmp_path: Path) -> None:
    """The second time is harmless even after newer epochs."""
    with Store.open(tmp_path / "n.db") as store:
        first = epoch(1)
        runs.record(store, started())
        assert runs.record(store, first)
        runs.record(store, epoch(2))
        assert not runs.record(store, first)
        row = runs.get(store, RUN.id)
        kinds = sorted(event.kind for event in runs.events_of(store, RUN.id))

    assert row is not None
    assert row.progress.epoch == 2
    assert kinds == ["epoch_finished", "epoch_finished", "run_started"]


def test_an_epoch_that_arrives_late_or_from_an_older_session_is_kept_but_is_not_the_state(tmp_path: Path) -> None:
    """The fast path must see what the slow one sees."""
    with Store.open(tmp_path / "n.db") as store:
        runs.record(store, started(NEXT, attempt=2))
        runs.record(store, epoch(7, NEXT, at=NOON + timedelta(seconds=10)))
        assert runs.record(store, epoch(6, NEXT, at=NOON + timedelta(seconds=5)))
        assert runs.record(store, epoch(5, RUN, at=NOON + timedelta(seconds=20)))
        row = runs.get(store, RUN.id)
        count = len(runs.events_of(store, RUN.id))

    assert row is not None
    assert (row.progress.epoch, row.session, count) == (7, "s2", 4)


def test_an_epoch_of_an_unknown_run_makes_its_row(tmp_path: Path) -> None:
    """The watchdog may hear of an epoch before it hears of the start."""
    with Store.open(tmp_path / "n.db") as store:
        assert runs.record(store, epoch(3))
        row = runs.get(store, RUN.id)

    assert row is not None
    assert row.progress.epoch == 3
