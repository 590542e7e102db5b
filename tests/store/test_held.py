"""Deliveries held back: leased together for one message, and finished or released together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from notifybot.events import EpochFinished
from notifybot.policy import priority_of
from notifybot.store import dead_letters, held, runs
from notifybot.store.database import Store
from notifybot.store.outbox import Delivery, Outbox
from notifybot.testing import FakeClock
from notifybot.types import DeliveryState
from tests.support.store_events import RUN, alert, ended, epoch, started

KEY = "slack:00000000"
OTHER = replace(RUN, id="run-2", name="vit")


@pytest.fixture
def outbox(tmp_path: Path, clock: FakeClock) -> Iterator[Outbox]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield Outbox(opened)


def morning(outbox: Outbox, clock: FakeClock) -> Delivery:
    """Hold an evening's messages back until the morning; return the first that is due then."""
    until = clock.now() + timedelta(hours=8)
    for event in (started(), epoch(0), epoch(1), alert("disk"), started(OTHER), ended(OTHER)):
        runs.record(outbox.store, event, [(KEY, priority_of(event))])
    while delivery := outbox.claim(KEY):
        held.hold_delivery(outbox, delivery, until, "quiet")
    clock.advance(8 * 3600)
    due = outbox.claim(KEY)
    assert due is not None
    return due


def test_what_is_held_back_is_gathered_once_with_the_newest_of_each_run(outbox: Outbox, clock: FakeClock) -> None:
    """The epoch that was folded before it could be held is counted, too."""
    due = morning(outbox, clock)

    batch = held.gather(outbox, due, fold=True)
    again = held.gather(outbox, due, fold=True)

    assert batch.counts == {"run_started": 2, "epoch_finished": 2, "alert_raised": 1, "run_ended": 1}
    assert isinstance(batch.epoch, EpochFinished)
    assert (batch.epoch.progress.epoch, batch.more_urgent) == (1, 0)
    assert [each.kind for each in batch.urgent] == ["alert_raised", "run_ended"]
    assert {each.id for each in batch.runs} == {"run-1", "run-2"}
    assert {each.run.id: each.kind for each in batch.states} == {"run-1": "epoch_finished", "run-2": "run_ended"}
    assert again == held.NONE, "they are leased"


def test_what_one_message_covered_counts_as_sent_but_not_as_messages(outbox: Outbox, clock: FakeClock) -> None:
    since, due = clock.now(), morning(outbox, clock)
    batch = held.gather(outbox, due, fold=True)

    held.mark_sent(outbox, batch)
    outbox.mark_sent(due)

    counts = outbox.counts()[KEY]
    assert (counts.sent, counts.pending, counts.conserved) == (1 + len(batch.ids), 0, True)
    assert outbox.sent_since(KEY, since) == 1


def test_what_a_refused_message_covered_is_dead_for_its_reason(outbox: Outbox, clock: FakeClock) -> None:
    batch = held.gather(outbox, morning(outbox, clock), fold=True)

    held.mark_dead(outbox, batch, "no_service")

    dead = dead_letters.find_all(outbox.store, DeliveryState.DEAD)
    assert {(each.id, each.error) for each in dead} == {(number, "no_service") for number in batch.ids}


def test_what_is_released_may_be_gathered_again(outbox: Outbox, clock: FakeClock) -> None:
    due = morning(outbox, clock)
    batch = held.gather(outbox, due, fold=True)

    held.release(outbox, batch)

    assert held.gather(outbox, due, fold=True) == batch
