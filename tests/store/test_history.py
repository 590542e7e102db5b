"""A run's curves as another process reads them from the database file."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from notifybot.errors import StoreError
from notifybot.events import EpochFinished, RunStarted
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.history import history_of
from notifybot.types import Metric, Progress, RunRef, run_key, uuid7

KEY = run_key("vision", "run")
START = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "a folder" / "runs #1.db") as store:
        yield store


def tell(store: Store, session: str, epoch: int | None, loss: float, *before: float, minute: int | None = None) -> None:
    """Record one epoch's end."""
    at = START + timedelta(minutes=(epoch or 0) if minute is None else minute)
    metrics = {"loss": Metric(loss, history=(*before, loss))}
    run = RunRef("run", "resnet", "vision", session)
    progress = Progress(epoch=epoch, done=(epoch or 0), metrics=metrics)
    runs.record(store, EpochFinished(id=uuid7(), run=run, at=at, progress=progress))


def points(store: Store, until: datetime = START + timedelta(days=1)) -> Sequence[tuple[float, float]]:
    return history_of(store.path, KEY, until).points().get("loss", ())


def test_it_reads_what_was_recorded_while_the_writer_is_open(store: Store) -> None:
    """A second connection, read-only, sees every epoch in order, with values that are no numbers as themselves."""
    for epoch, loss in ((1, 0.5), (2, math.inf), (3, math.nan)):
        tell(store, "a", epoch, loss)

    first, second, third = points(store)

    assert (first, second) == ((1, 0.5), (2, math.inf))
    assert third[0] == 3
    assert math.isnan(third[1])


def test_a_late_message_shows_what_was_known_at_its_time(store: Store) -> None:
    """An epoch told after an outage does not show the epochs after it."""
    for epoch in (1, 2, 3):
        tell(store, "a", epoch, epoch / 10)

    assert [epoch for epoch, _ in points(store, START + timedelta(minutes=2))] == [1, 2]


def test_a_resumed_session_is_marked_and_replaces_what_it_does_again(store: Store) -> None:
    """Epochs 3 and 4 of the first session are gone from the curve: the second began again at 3."""
    for epoch in (1, 2, 3, 4):
        tell(store, "a", epoch, 1.0)
    tell(store, "b", 3, 0.5, minute=10)

    history = history_of(store.path, KEY, START + timedelta(days=1))

    assert history.points() == {"loss": ((1, 1.0), (2, 1.0), (3, 0.5))}
    assert history.resumed == [3]


def test_the_past_on_another_machine_is_filled_in_as_far_as_the_first_event_knows_it(store: Store) -> None:
    """The run came from a lost machine: its first epoch here carries the values before it."""
    tell(store, "b", 41, 0.1, 0.3, 0.2)
    tell(store, "b", 42, 0.05, 0.3, 0.2, 0.1)

    assert points(store) == ((39, 0.3), (40, 0.2), (41, 0.1), (42, 0.05))


def test_what_is_filled_in_stands_at_its_own_epochs(store: Store) -> None:
    """Validation every fifth epoch: the values before the first event are not one epoch apart."""
    run = RunRef("run", "resnet", "vision", "s2")
    metrics = {"loss": Metric(0.1, history=(0.3, 0.2, 0.1), epochs=(4, 9, 14))}
    progress = Progress(epoch=14, done=15, metrics=metrics)
    runs.record(store, EpochFinished(id=uuid7(), run=run, at=START, progress=progress))

    assert points(store) == ((4.0, 0.3), (9.0, 0.2), (14.0, 0.1))


def test_other_runs_and_kinds_are_left_out(store: Store) -> None:
    tell(store, "a", 1, 0.5)
    other = RunRef("other", "resnet", "vision", "a")
    runs.record(store, EpochFinished(id=uuid7(), run=other, at=START, progress=Progress(epoch=9, done=9)))
    runs.record(store, RunStarted(id=uuid7(), run=RunRef("run", "resnet", "vision", "a"), at=START))

    assert points(store) == ((1, 0.5),)


def test_a_file_that_cannot_be_read_is_a_store_error(tmp_path: Path) -> None:
    """Missing, or not ours: the caller draws from what the event remembers."""
    with closing(sqlite3.connect(tmp_path / "other.db")) as connection:
        connection.execute("CREATE TABLE notes (text)")

    for name in ("missing.db", "other.db"):
        with pytest.raises(StoreError, match="cannot be read"):
            history_of(tmp_path / name, KEY, START)
