"""Queries of the outbox: what a claim looks at, and what stands for what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.event import listen

from notifybot.policy import Pace, priority_of
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.store.outbox_queries import NEXT_DUE, OTHERS_AT
from notifybot.testing import FakeClock
from tests.support.store_events import NOON, RUN, epoch

KEY = "slack:00000000"


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield opened


def _put(store: Store, *events: object) -> None:
    for event in events:
        runs.record(store, event, [(KEY, priority_of(event))])  # type: ignore[arg-type]


def test_a_claim_looks_at_no_more_than_it_takes(store: Store, clock: FakeClock) -> None:
    """SQLite finds the next delivery by an index alone: a long backlog is not sorted for each message."""
    with store.transaction() as connection:
        query: Any = NEXT_DUE.compile(connection)
        values = (None,) * len(query.positiontup)
        steps = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)]

    assert any("deliveries_next" in step for step in steps), steps
    assert not any("TEMP B-TREE" in step for step in steps), steps


def test_waiting_epochs_fold_into_the_newest_and_are_counted(store: Store) -> None:
    _put(store, epoch(0), epoch(1), epoch(2))
    outbox = Outbox(store)

    delivery = outbox.claim(KEY)

    assert delivery is not None
    assert (delivery.event.progress.epoch, delivery.skipped) == (2, 2)
    assert outbox.mark_sent(delivery)
    assert outbox.claim(KEY) is None
    assert outbox.counts()[KEY].dropped == 2


def test_without_folding_every_epoch_is_kept(store: Store) -> None:
    _put(store, epoch(0), epoch(1))
    outbox = Outbox(store)

    first = outbox.claim(KEY, pace=Pace(folds=False))

    assert first is not None
    assert first.event.progress.epoch == 0


def test_whether_another_one_tells_of_a_run_is_looked_up_by_an_index(store: Store) -> None:
    """Not by reading all that was ever told of it."""
    with store.transaction() as connection:
        asked: list[tuple[str, Any]] = []

        def note(*given: Any) -> None:
            asked.append(given[2:4])

        listen(connection, "before_cursor_execute", note)
        connection.execute(OTHERS_AT, {"of": KEY, "about": RUN.key, "own": "me", "now": NOON})
        (query, values) = asked[-1]
        steps = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)]

    (step,) = steps
    assert step.endswith("deliveries_by_run (run_id=? AND notifier=? AND priority=? AND state=?)")
