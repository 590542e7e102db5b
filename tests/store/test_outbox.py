"""The outbox against a small model: nothing is lost, nothing is sent after "sent", the ledger always balances."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from notifybot.policy import Priority, priority_of
from notifybot.store import dead_letters, runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock
from tests.support.store_events import RUN, alert, ended, epoch, started

KEY = "slack:00000000"


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield opened


def _put(store: Store, *events: object) -> None:
    for event in events:
        runs.record(store, event, [(KEY, priority_of(event))])  # type: ignore[arg-type]


def test_urgent_goes_first_then_the_order_of_recording(store: Store) -> None:
    """Of one run the start goes before all: nobody hears of the end of what they never heard begin."""
    other = replace(RUN, id="run-2", name="vit")
    _put(store, started(), epoch(0), started(other), alert("a", other), ended())
    outbox, told = Outbox(store), []
    while delivery := outbox.claim(KEY):
        told.append((delivery.event.run.name, delivery.event.kind))
        outbox.mark_sent(delivery)

    assert told == [
        ("vit", "run_started"), ("vit", "alert_raised"), ("resnet", "run_started"), ("resnet", "run_ended"),
    ]  # fmt: skip


def test_an_event_that_cannot_be_read_is_given_up_and_holds_up_nothing(store: Store) -> None:
    _put(store, started(), alert("a"), ended())
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE events SET body = '{}' WHERE kind != 'run_ended'")
    outbox = Outbox(store)

    delivery = outbox.claim(KEY)

    assert delivery is not None
    assert delivery.event.kind == "run_ended"
    outbox.mark_sent(delivery)
    assert outbox.claim(KEY) is None
    assert (outbox.counts()[KEY].dead, outbox.counts()[KEY].conserved) == (2, True)
    assert [(each.kind, each.event) for each in dead_letters.find_all(store)] == [
        ("alert_raised", None),
        ("run_started", None),
    ]


def test_a_start_that_keeps_failing_holds_up_nothing_urgent(store: Store, clock: FakeClock) -> None:
    """Nor does one that waits for its moment."""
    _put(store, started(), alert("a"))
    outbox = Outbox(store)
    for _ in range(3):
        delivery = outbox.claim(KEY)
        assert delivery is not None
        assert delivery.event.kind == "run_started"
        outbox.mark_retry(delivery, clock.now(), "refused")

    first = outbox.claim(KEY)

    assert first is not None
    assert first.event.kind == "alert_raised"


def test_a_lease_keeps_others_away_until_it_ends(store: Store, clock: FakeClock) -> None:
    _put(store, started())
    slow, quick = Outbox(store, "1:slow"), Outbox(store, "2:quick")

    held = slow.claim(KEY, lease_s=60)

    assert held is not None
    assert quick.claim(KEY) is None
    clock.advance(61)
    taken = quick.claim(KEY)
    assert taken is not None
    assert quick.mark_sent(taken)
    assert not slow.mark_sent(held)


def test_of_one_run_one_process_tells_at_a_time(store: Store) -> None:
    """Two that told its start and its ending at once would open a thread each."""
    other = replace(RUN, id="run-2", name="vit")
    _put(store, started(), ended(), started(other))
    slow, quick = Outbox(store, "slow"), Outbox(store, "quick")

    held, elsewhere = slow.claim(KEY), quick.claim(KEY)

    assert held is not None
    assert elsewhere is not None
    assert (held.event.run, held.event.kind) == (RUN, "run_started")
    assert elsewhere.event.run == other
    assert quick.claim(KEY) is None
    slow.mark_sent(held)
    ending = quick.claim(KEY)
    assert ending is not None
    assert ending.event.kind == "run_ended"


@pytest.mark.parametrize("ends", ["by its death", "by its time"])
def test_a_lease_that_is_over_keeps_nobody_from_the_run(store: Store, clock: FakeClock, ends: str) -> None:
    _put(store, started(), ended())
    assert Outbox(store, "999999999:1" if ends == "by its death" else "slow").claim(KEY, lease_s=60) is not None
    clock.advance(61 if ends == "by its time" else 1)

    assert Outbox(store).claim(KEY) is not None


def test_what_a_dead_process_held_is_freed_at_once(store: Store) -> None:
    _put(store, started())
    assert Outbox(store, "999999999:1").claim(KEY) is not None

    outbox = Outbox(store)

    assert outbox.release_dead() == 1
    assert outbox.claim(KEY) is not None


def test_what_a_living_process_holds_is_not_freed(store: Store) -> None:
    _put(store, started())
    outbox = Outbox(store)
    assert outbox.claim(KEY) is not None

    assert outbox.release_dead() == 0


class Ledger(RuleBasedStateMachine):
    """Any sequence of put, claim, crash, time and mark."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.store = Store.open(Path(self.folder.name) / "a.db", clock=self.clock)
        self.outbox = Outbox(self.store, "1:first")
        self.put: set[str] = set()
        self.sent: list[str] = []
        self.held: list[object] = []

    @rule(urgent=st.booleans(), number=st.integers(0, 5))
    def record(self, urgent: bool, number: int) -> None:
        event = alert(at=self.clock.now()) if urgent else epoch(number, at=self.clock.now())
        runs.record(self.store, event, [(KEY, priority_of(event))])
        if urgent:
            self.put.add(event.id)

    @rule(what=st.sampled_from(["sent", "retry", "dead", "crash", "keep"]))
    def handle(self, what: str) -> None:
        delivery = self.outbox.claim(KEY, lease_s=60)
        if delivery is None:
            return
        assert delivery.event.id not in self.sent
        if what == "sent" and self.outbox.mark_sent(delivery):
            self.sent.append(delivery.event.id)
        elif what == "retry":
            self.outbox.mark_retry(delivery, self.clock.now() + timedelta(seconds=30), "busy")
        elif what == "dead":
            self.outbox.mark_dead(delivery, "gone")
            self.put.discard(delivery.event.id)
        elif what == "crash":
            self.outbox = Outbox(self.store, f"{len(self.sent)}:again")

    @rule(seconds=st.sampled_from([1, 45, 120]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @invariant()
    def balances(self) -> None:
        assert all(each.conserved for each in self.outbox.counts().values())

    def teardown(self) -> None:
        self.clock.advance(3600)
        while delivery := self.outbox.claim(KEY):
            assert delivery.event.id not in self.sent
            assert self.outbox.mark_sent(delivery)
            self.sent.append(delivery.event.id)
        assert self.put <= set(self.sent)
        self.store.close()
        self.folder.cleanup()


TestLedger = Ledger.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_priorities_are_what_the_order_rests_on() -> None:
    assert sorted(Priority) == [Priority.URGENT, Priority.NORMAL, Priority.PROGRESS]
