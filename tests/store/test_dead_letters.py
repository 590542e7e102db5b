"""Dead letters: put back or dropped by a person, and the ledger stays true."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from notifybot.events import Event
from notifybot.policy import Priority, priority_of
from notifybot.store import dead_letters, runs
from notifybot.store.database import Store
from notifybot.store.dead_letters import replacement_key
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock
from notifybot.types import DeliveryState, Reason
from tests.support.store_events import alert, epoch

KEY = "slack:00000000"


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield opened


def bury(store: Store, event: Event | None = None, *, key: str = KEY, why: str = "invalid_auth") -> int:
    """Put an event into the outbox and give it up; return its number there."""
    buried = event or alert()
    runs.record(store, buried, [(key, priority_of(buried))])
    outbox = Outbox(store)
    delivery = outbox.claim(key)
    assert delivery is not None
    outbox.mark_dead(delivery, why)
    return delivery.id


def test_every_try_is_counted(store: Store, clock: FakeClock) -> None:
    """A message that was refused at once was tried once, and so was one that was sent at once."""
    bury(store)
    outbox = Outbox(store)
    runs.record(store, alert("sent"), [(KEY, Priority.URGENT)])
    for number in range(3):
        delivery = outbox.claim(KEY)
        assert delivery is not None
        if number < 2:
            outbox.mark_retry(delivery, clock.now(), "a fault")
        else:
            outbox.mark_sent(delivery)

    assert [each.attempts for each in dead_letters.find_all(store, DeliveryState.DEAD)] == [1]
    assert [each.attempts for each in dead_letters.find_all(store, DeliveryState.SENT)] == [3]


def test_what_was_never_tried_has_no_tries(store: Store, clock: FakeClock) -> None:
    """Folded away, dropped by hand, or held for its moment."""
    outbox = Outbox(store)
    for each in (epoch(0), epoch(1)):
        runs.record(store, each, [(KEY, priority_of(each))])
    delivery = outbox.claim(KEY)
    assert delivery is not None
    outbox.mark_retry(delivery, clock.now(), "quiet hours", counted=False)
    dead_letters.drop(store, [delivery.id])

    assert [each.attempts for each in dead_letters.find_all(store, DeliveryState.DROPPED)] == [0, 0]


def test_a_try_that_ends_it_changes_nothing_in_the_order(store: Store, clock: FakeClock) -> None:
    """Two failures and a refusal do not make a message wait for others once it is put back."""
    runs.record(store, alert("one"), [(KEY, Priority.URGENT)])
    outbox = Outbox(store)
    for _ in range(2):
        delivery = outbox.claim(KEY)
        assert delivery is not None
        outbox.mark_retry(delivery, clock.now(), "a fault")
    delivery = outbox.claim(KEY)
    assert delivery is not None
    outbox.mark_dead(delivery, "gone")

    with store.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT attempts, rounds FROM deliveries").all()
    assert [tuple(row) for row in rows] == [(3, 0)]


def test_a_dead_letter_put_back_is_due_at_once_with_all_its_tries(store: Store, clock: FakeClock) -> None:
    """Its event keeps its id, so a receiver that has it after all can tell."""
    event = alert()
    dead = bury(store, event)
    clock.advance(timedelta(days=3).total_seconds())

    assert dead_letters.retry(store, [dead]) == [dead]

    delivery = Outbox(store).claim(KEY)
    assert delivery is not None
    assert (delivery.event.id, delivery.attempts) == (event.id, 0)
    assert delivery.created_at == clock.now(), "else it would be given up for its age"


@pytest.mark.parametrize("state", [DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.DROPPED])
def test_only_a_dead_letter_is_put_back(store: Store, state: DeliveryState) -> None:
    """What was sent is never sent again by hand."""
    runs.record(store, alert(), [(KEY, Priority.URGENT)])
    outbox = Outbox(store)
    delivery = outbox.claim(KEY)
    assert delivery is not None
    if state is DeliveryState.SENT:
        outbox.mark_sent(delivery)
    elif state is DeliveryState.DROPPED:
        outbox.mark_dropped(delivery, "budget")
    before = outbox.counts()

    assert dead_letters.retry(store, [delivery.id, 999]) == []
    assert outbox.counts() == before


def test_a_dead_letter_follows_its_notifier_to_a_new_token(store: Store) -> None:
    """A new token makes a new key; both ledgers stay true."""
    dead = bury(store)

    assert dead_letters.retry(store, [dead], {KEY: "slack:11111111"}) == [dead]

    outbox = Outbox(store)
    assert outbox.claim(KEY) is None
    assert outbox.claim("slack:11111111") is not None
    counts = outbox.counts()
    assert (counts[KEY].put, counts["slack:11111111"].put) == (0, 1)
    assert all(each.conserved for each in counts.values())


def test_a_dead_letter_does_not_follow_where_its_event_is_already(store: Store) -> None:
    """Two notifiers were told of one event: the second time would be a repeat."""
    event = alert()
    runs.record(store, event, [(KEY, Priority.URGENT), ("slack:11111111", Priority.URGENT)])
    outbox = Outbox(store)
    delivery = outbox.claim(KEY)
    assert delivery is not None
    outbox.mark_dead(delivery, "token_revoked")

    assert dead_letters.retry(store, [delivery.id], {KEY: "slack:11111111"}) == []
    assert all(each.conserved for each in outbox.counts().values())


def test_dropped_counts_as_dropped(store: Store) -> None:
    dead = bury(store)

    assert dead_letters.drop(store, [dead]) == [dead]

    counts = Outbox(store).counts()[KEY]
    assert (counts.put, counts.dead, counts.dropped) == (1, 0, 1)
    found = dead_letters.find(store, dead)
    assert found is not None
    assert found.reason == Reason("held.dropped_by_hand")


def test_what_waits_can_be_dropped_but_not_what_is_being_sent(store: Store, clock: FakeClock) -> None:
    runs.record(store, alert(), [(KEY, Priority.URGENT)])
    held = Outbox(store).claim(KEY, lease_s=60)
    assert held is not None

    assert dead_letters.drop(store, [held.id]) == []
    clock.advance(61)
    assert dead_letters.drop(store, [held.id]) == [held.id]


class Decisions(RuleBasedStateMachine):
    """Work and decisions by hand, mixed at random, on two keys of one notifier."""

    KEYS = (KEY, "slack:11111111")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = FakeClock()
        self.store = Store.open(Path(self.folder.name) / "a.db", clock=self.clock)
        self.outbox = Outbox(self.store)
        self.put = 0
        self.sent: list[tuple[str, str]] = []

    @rule(number=st.integers(0, 3), urgent=st.booleans(), key=st.sampled_from(KEYS))
    def record(self, number: int, urgent: bool, key: str) -> None:
        event = alert(at=self.clock.now()) if urgent else epoch(number, at=self.clock.now())
        runs.record(self.store, event, [(key, priority_of(event))])
        self.put += 1

    @rule(what=st.sampled_from(["sent", "dead", "retry", "dropped"]), key=st.sampled_from(KEYS))
    def work(self, what: str, key: str) -> None:
        delivery = self.outbox.claim(key)
        if delivery is None:
            return
        if what == "sent":
            self.outbox.mark_sent(delivery)
            self.sent.append((key, delivery.event.id))
        elif what == "dead":
            self.outbox.mark_dead(delivery, "gone")
        elif what == "retry":
            self.outbox.mark_retry(delivery, self.clock.now(), "busy")
        else:
            self.outbox.mark_dropped(delivery, "budget")

    @rule(ids=st.lists(st.integers(1, 12), max_size=4), follow=st.booleans())
    def put_back(self, ids: list[int], follow: bool) -> None:
        dead_letters.retry(self.store, ids, dict([self.KEYS]) if follow else None)

    @rule(ids=st.lists(st.integers(1, 12), max_size=4))
    def give_up(self, ids: list[int]) -> None:
        dead_letters.drop(self.store, ids)

    @invariant()
    def balances(self) -> None:
        counts = self.outbox.counts().values()
        assert all(each.conserved for each in counts)
        assert sum(each.put for each in counts) == self.put
        assert len(self.sent) == len(set(self.sent)), "nothing is sent twice to one key"

    def teardown(self) -> None:
        self.store.close()
        self.folder.cleanup()


TestDecisions = Decisions.TestCase


TestDecisions.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_more_messages_than_one_statement_takes_are_put_back(store: Store) -> None:
    dead = [bury(store) for _ in range(3)]

    assert dead_letters.retry(store, [*dead, *range(100, 40_000)]) == dead


def record_for(store: Store, *keys: str) -> None:
    """Record an event for several notifiers."""
    runs.record(store, alert(), [(key, Priority.URGENT) for key in keys])


@pytest.mark.parametrize(
    ("together", "now", "successor"),
    [
        pytest.param([["apprise:a"]], ["apprise:c"], "apprise:c", id="its-address-changed"),
        pytest.param([["apprise:a", "apprise:b"]], ["apprise:b", "apprise:c"], "apprise:c", id="one-of-two-changed"),
        pytest.param([["apprise:a", "apprise:b"]], ["apprise:c", "apprise:b"], "apprise:c", id="in-any-order"),
        pytest.param([["apprise:a", "apprise:b"]], ["apprise:b"], None, id="taken-away"),
        pytest.param([["apprise:a"]], ["apprise:c", "apprise:d"], None, id="two-new-ones"),
        pytest.param([["apprise:a"]], ["slack:c", "console:d"], None, id="another-service"),
        pytest.param([["slack:a", "apprise:a"]], ["slack:b", "apprise:a"], None, id="it-still-stands"),
        pytest.param([["apprise:a"]], [], None, id="nothing-is-set-up"),
    ],
)
def test_a_place_is_taken_by_one_of_the_same_name_that_did_not_stand_beside(
    store: Store, together: list[list[str]], now: list[str], successor: str | None
) -> None:
    """Two Apprise URLs share a name: what the one did not take never goes to the other."""
    for keys in together:
        record_for(store, *keys)

    assert replacement_key(store, "apprise:a", now) == successor


def test_dead_letters_are_listed_with_their_reason(store: Store) -> None:
    runs.record(store, alert(), [(KEY, Priority.URGENT)])
    outbox = Outbox(store)
    delivery = outbox.claim(KEY)
    assert delivery is not None

    outbox.mark_dead(delivery, "no_service")

    assert [(each.notifier, each.error) for each in dead_letters.find_all(store)] == [(KEY, "no_service")]
