"""Heartbeats and deadlines: what counts as heard, when a run is looked at, and what is forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from notifybot.policy import Priority
from notifybot.store import heartbeats, runs
from notifybot.store.database import Store
from notifybot.store.heartbeats import Beat
from notifybot.store.held import hold_delivery
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock
from notifybot.types import RunRef
from tests.support.store_events import NOON, RUN, ended, epoch, started

KEY = "slack:00000000"


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield opened


def of(run: RunRef = RUN, *, seq: int = 1) -> Beat:
    return Beat(run=run, seq=seq, beat_s=30.0)


def run_of(store: Store) -> runs.RunRow:
    row = runs.get(store, RUN.id)
    assert row is not None
    return row


@pytest.mark.parametrize(
    ("beat", "counts"),
    [
        pytest.param(of(seq=3), True, id="the next"),
        pytest.param(of(seq=2), False, id="the same again"),
        pytest.param(of(seq=1), False, id="an earlier one"),
        pytest.param(of(replace(RUN, session="s0"), seq=9), False, id="of an older process"),
        pytest.param(of(replace(RUN, session="s2"), seq=1), True, id="of a newer process"),
    ],
)
def test_only_a_newer_heartbeat_counts(store: Store, clock: FakeClock, beat: Beat, counts: bool) -> None:
    runs.record(store, started())
    with store.transaction() as connection:
        assert heartbeats.beat(connection, clock.now(), of(seq=2))
        later = clock.now() + timedelta(seconds=30)

        assert heartbeats.beat(connection, later, beat) is counts

    assert (run_of(store).alive_at == later) is counts


def test_after_the_end_only_a_newer_process_is_heard(store: Store, clock: FakeClock) -> None:
    """Its heartbeat may come before its start, and the run is running again."""
    runs.record(store, started())
    runs.record(store, ended())
    with store.transaction() as connection:
        assert not heartbeats.beat(connection, clock.now(), of(seq=5))
        assert heartbeats.beat(connection, clock.now(), of(replace(RUN, session="s2")))

    assert (run_of(store).status.value, run_of(store).ended_at) == ("running", None)


def test_a_run_may_begin_with_its_heartbeat(store: Store, clock: FakeClock) -> None:
    with store.transaction() as connection:
        assert not heartbeats.beat(connection, clock.now(), of())
        heartbeats.create(connection, clock.now(), of())

    assert (run_of(store).ref, run_of(store).alive_at, run_of(store).beat_seq) == (RUN, clock.now(), 1)


def test_runs_are_due_at_their_deadline_the_longest_overdue_first(store: Store, clock: FakeClock) -> None:
    others = [replace(RUN, id=f"run-{number}") for number in range(3)]
    for number, run in enumerate(others):
        runs.record(store, started(run))
        with store.transaction() as connection:
            heartbeats.set_deadline(connection, run.key, NOON - timedelta(minutes=number) if number else None)

    with store.transaction() as connection:
        overdue = heartbeats.due(connection, NOON)
        moved = heartbeats.postpone_deadlines(connection, NOON + timedelta(minutes=1))

        assert overdue == [others[2].key, others[1].key]
        assert (moved, heartbeats.due(connection, NOON)) == (2, [])


def test_durations_are_those_of_one_process(store: Store) -> None:
    """Newest first; an epoch without one says nothing."""
    for number, (session, epoch_s) in enumerate([("s1", 9.0), ("s2", 5.0), ("s2", None), ("s2", 7.0)]):
        event = epoch(number, replace(RUN, session=session), at=NOON + timedelta(minutes=number))
        runs.record(store, replace(event, progress=replace(event.progress, epoch_s=epoch_s)))

    with store.transaction() as connection:
        assert heartbeats.epochs_s(connection, RUN.key, "s2") == [7.0, 5.0]


def test_the_parts_of_the_watchdog_stamp_when_they_were_at_work(store: Store) -> None:
    with store.transaction() as connection:
        for part, minute in (("scan", 0), ("ingest", 1), ("scan", 2)):
            heartbeats.stamp(connection, part, NOON + timedelta(minutes=minute))

        found = heartbeats.last_ticks(connection)

    assert found == {"scan": NOON + timedelta(minutes=2), "ingest": NOON + timedelta(minutes=1)}


def test_a_delivery_waits_since_it_was_made_or_since_it_may_be_sent(store: Store, clock: FakeClock) -> None:
    """One that is put off beyond any retry is not stuck; held back, it waits from the morning on."""
    made_at, outbox = clock.now(), Outbox(store)
    runs.record(store, started(), [(KEY, Priority.NORMAL)])
    with store.transaction() as connection:
        assert heartbeats.oldest_waiting(connection, clock.now()) == made_at
    delivery = outbox.claim(KEY)
    assert delivery is not None
    hold_delivery(outbox, delivery, made_at + timedelta(hours=8), "quiet")

    with store.transaction() as connection:
        assert heartbeats.oldest_waiting(connection, clock.now()) is None
        assert heartbeats.oldest_waiting(connection, made_at + timedelta(hours=9)) == made_at + timedelta(hours=8)


@pytest.mark.parametrize("waits", [True, False])
def test_an_old_run_is_forgotten_unless_a_message_of_it_waits(store: Store, clock: FakeClock, waits: bool) -> None:
    """The ledger still counts what was delivered."""
    outbox = Outbox(store)
    runs.record(store, started(), [(KEY, Priority.NORMAL)])
    if not waits:
        delivery = outbox.claim(KEY)
        assert delivery is not None
        outbox.mark_sent(delivery)
    clock.advance(60)

    with store.transaction() as connection:
        gone = heartbeats.forget_before(connection, clock.now())

    assert gone == (0 if waits else 1)
    assert (outbox.counts()[KEY].put, outbox.counts()[KEY].conserved) == (1, True)
