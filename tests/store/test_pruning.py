"""A full database, and a database that grows old: metrics go first, people are told, and every ledger adds up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Maintenance
from notifybot.errors import StoreError, TemporaryError
from notifybot.events import EpochFinished, Event
from notifybot.policy import Pace, priority_of
from notifybot.rendering import Renderer
from notifybot.store import dead_letters, pruning, runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import Language, Metric, RunRef
from tests.support.store_events import RUN, alert, ended, epoch, started

CAP_BYTES = 256 * 4096
TIMES = tuple(0.5 for _ in range(32))
OTHER = RunRef(id="run-2", name="vit", project="default", session="s1")


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock, cap_bytes=CAP_BYTES) as opened:
        yield opened


def bulky(number: int, run: RunRef = RUN, *, at: datetime) -> EpochFinished:
    """An epoch with twenty metrics and their histories, as a real one has."""
    event = epoch(number, run, at=at)
    metrics = {f"metric_{each}": Metric(0.5, history=TIMES) for each in range(20)}
    return replace(event, progress=replace(event.progress, metrics=metrics))


class Desk:
    """A recorder, an outbox and a dispatcher over some notifiers."""

    def __init__(self, store: Store, clock: FakeClock, *notifiers: RecordingNotifier, held_limit: int = 10_000) -> None:
        self.store = store
        self.clock = clock
        self.recorder = Recorder(store, notifiers, direct=True, held_limit=held_limit)
        self.outbox = Outbox(store)
        self.dispatcher = Dispatcher(self.outbox, notifiers, Renderer(Language.EN), clock=clock, rng=Random(7))

    def record(self, *events: Event) -> list[bool]:
        done = []
        for event in events:
            self.clock.advance(1)
            done.append(self.recorder.record(replace(event, at=self.clock.now())))
        return done

    def fill(self, run: RunRef = RUN) -> int:
        """Record epochs until the database takes no more; return how many."""
        for number in range(1000):
            if not self.record(bulky(number, run, at=self.clock.now()))[0]:
                return number
        raise AssertionError("the cap is not kept")

    def drain(self, notifier: RecordingNotifier) -> None:
        while self.dispatcher.run_once(notifier.key) is not Outcome.IDLE:
            self.clock.advance(60)

    @property
    def conserved(self) -> bool:
        return all(each.conserved for each in self.outbox.counts().values())


def kinds(store: Store, run_id: str = RUN.id) -> list[str]:
    return [each.kind for each in runs.events_of(store, run_id)]


def test_the_cap_is_kept_and_a_full_database_does_not_raise(store: Store, clock: FakeClock) -> None:
    """What it cannot take is held in memory; the caller hears False, nothing else. What is urgent overtakes that."""
    desk = Desk(store, clock, RecordingNotifier())

    taken = desk.fill()

    assert taken > 20
    assert store.path.stat().st_size <= CAP_BYTES
    assert desk.record(bulky(0, at=clock.now()), alert()) == [False, True]


def test_only_a_full_database_counts_as_full(store: Store, clock: FakeClock) -> None:
    """A busy or closed one is waited for: nothing is deleted for its sake."""
    Desk(store, clock).fill()
    with pytest.raises(StoreError) as full:
        _tell(store, clock, *[bulky(number, at=clock.now()) for number in range(100)])
    store.close()
    with pytest.raises(StoreError) as closed:
        runs.record(store, started())

    assert (pruning.is_full(full.value), pruning.is_full(closed.value)) == (True, False)


def test_what_is_held_drains_when_space_returns(store: Store, clock: FakeClock) -> None:
    """The told epochs of a run that is over make room; everything held is written, in order, and sent."""
    slack = RecordingNotifier()
    desk = Desk(store, clock, slack)
    desk.record(started(OTHER), *[bulky(number, OTHER, at=clock.now()) for number in range(30)], ended(OTHER))
    desk.drain(slack)
    desk.fill()
    while desk.record(alert("small"))[0]:
        pass  # what is urgent may use the last page

    assert desk.record(alert("one"), alert("two")) == [False, False]
    assert desk.recorder.flush()

    desk.drain(slack)
    titles = [each.event.title for each in slack.sent if each.event.kind == "alert_raised"]
    assert titles[-2:] == ["one", "two"]
    assert desk.conserved


def test_runs_that_are_over_give_way_first(store: Store, clock: FakeClock) -> None:
    """Their told epochs go, oldest first, the last one stays; the run at work keeps all of its own."""
    slack = RecordingNotifier()
    desk = Desk(store, clock, slack)
    desk.record(started(OTHER), *[bulky(number, OTHER, at=clock.now()) for number in range(30)], ended(OTHER))
    desk.drain(slack)
    desk.record(started())
    at_work = desk.fill()
    before = kinds(store).count("epoch_finished")

    assert pruning.make_room(store)

    assert kinds(store).count("epoch_finished") == before == at_work
    assert kinds(store, OTHER.id) == ["run_started", "epoch_finished", "run_ended"]
    assert desk.conserved


def test_starts_endings_and_alerts_are_never_given_up_for_space(store: Store, clock: FakeClock) -> None:
    """With nothing else to delete there is no room to be had, and all of them still go out."""
    slack = RecordingNotifier(failures=[TemporaryError("down")])
    desk = Desk(store, clock, slack)
    desk.record(started())
    put = 0
    while desk.record(alert("x" * 2000))[0]:
        put += 1

    assert not desk.recorder.flush()
    assert not pruning.make_room(store)
    desk.drain(slack)

    assert slack.kinds.count("alert_raised") == put
    assert slack.kinds.count("run_started") == 1


def test_waiting_epochs_are_the_last_to_go_and_the_newest_stays(store: Store, clock: FakeClock) -> None:
    """Everything waits for a notifier that is down: the oldest epochs are given up, counted, and told afterwards."""
    slack = RecordingNotifier(pace=Pace(folds=False))
    desk = Desk(store, clock, slack)
    desk.record(started())
    put = desk.fill() + 1

    assert desk.recorder.flush()
    counts = desk.outbox.counts()[slack.key]
    desk.drain(slack)

    assert counts.dropped > 0
    assert counts.conserved
    assert slack.kinds[0] == "run_started"
    assert slack.sent[-1].event.progress.epoch == put - 1
    assert slack.sent[0].message.facts[-1].value == str(counts.dropped)
    assert slack.sent[0].message.facts[-1].label == "Messages left out"
    assert not any(fact.label == "Messages left out" for each in slack.sent[1:] for fact in each.message.facts)


def test_the_hold_in_memory_is_bounded_and_its_losses_are_told(store: Store, clock: FakeClock) -> None:
    """Epochs give way to what is urgent; the number is in the ledger and in the next message."""
    slack = RecordingNotifier()
    desk = Desk(store, clock, slack, held_limit=3)
    while desk.record(alert("x" * 2000))[0]:
        pass
    desk.record(*[epoch(number) for number in range(5)], alert("last"), ended())
    assert desk.recorder.dropped == 5
    desk.drain(slack)
    with store.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM deliveries")
        connection.exec_driver_sql("DELETE FROM tallies")
        connection.exec_driver_sql("DELETE FROM events")

    assert desk.recorder.flush()

    counts = desk.outbox.counts()[slack.key]
    assert (counts.dropped, counts.pending) == (5, 3)
    slack.sent.clear()
    desk.drain(slack)
    assert slack.sent[0].message.facts[-1].value == "5"
    assert slack.kinds == ["alert_raised", "alert_raised", "run_ended"]


def test_a_resumed_run_still_learns_how_far_it_came(store: Store, clock: FakeClock) -> None:
    """However much goes, the latest epochs of a run at work stay."""
    desk = Desk(store, clock)
    desk.record(started())
    for number in range(2000):
        desk.record(bulky(number, at=clock.now()))
        desk.recorder.flush()

    assert runs.events_of(store, RUN.id)[-1].progress.epoch == 1999
    assert store.path.stat().st_size <= CAP_BYTES


def test_without_notifiers_the_recorder_makes_room_in_passing(store: Store, clock: FakeClock) -> None:
    """Nobody else comes by: a few events later everything is on disk again."""
    desk = Desk(store, clock)
    desk.fill()

    assert True in desk.record(*[epoch(number) for number in range(5)])
    assert desk.recorder.flush()


def test_a_message_that_was_sent_is_marked_even_when_the_database_is_full(store: Store, clock: FakeClock) -> None:
    """Else it would be sent again when its lease has run out."""
    slack = RecordingNotifier(pace=Pace(folds=False))
    desk = Desk(store, clock, slack)
    desk.record(started())
    desk.fill()

    desk.drain(slack)

    sent = [each.event.id for each in slack.sent]
    assert len(sent) == len(set(sent))
    assert desk.outbox.counts()[slack.key].pending == 0


# ── Growing old ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def roomy(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "roomy.db", clock=clock) as opened:
        yield opened


def _tell(store: Store, clock: FakeClock, *events: Event) -> None:
    """Record events, told already."""
    with store.transaction() as connection:
        for event in events:
            runs.record_in(connection, clock.now(), event, [("slack:1", priority_of(event))])
        connection.exec_driver_sql("UPDATE deliveries SET state = 'sent', done_at = created_at")


def test_a_week_and_the_last_thousand_events_of_a_run_are_kept(roomy: Store, clock: FakeClock) -> None:
    """Old epochs beyond them go, the start stays, and so does everything that is younger than a week."""
    began = clock.now()
    _tell(roomy, clock, started(at=began), *[epoch(n, at=began + timedelta(seconds=n + 1)) for n in range(1100)])
    pruning.prune(roomy)
    assert len(runs.events_of(roomy, RUN.id)) == 1101

    clock.advance(8 * 86_400)
    gone = pruning.prune(roomy)

    left = runs.events_of(roomy, RUN.id)
    assert (left[0].kind, left[1].progress.epoch, len(left)) == ("run_started", 100, 1001)
    assert gone == 100 + 1101
    counts = Outbox(roomy).counts()["slack:1"]
    assert (counts.put, counts.sent, counts.conserved) == (1101, 1101, True)


def test_a_run_with_a_waiting_delivery_is_not_touched(roomy: Store, clock: FakeClock) -> None:
    """However old it is: the message is still to be told."""
    began = clock.now()
    _tell(roomy, clock, *[epoch(n, at=began + timedelta(seconds=n)) for n in range(1100)])
    runs.record(roomy, alert(at=began), [("slack:1", priority_of(alert()))])

    clock.advance(100 * 86_400)

    assert pruning.prune(roomy) == 0
    assert len(runs.events_of(roomy, RUN.id)) == 1101


def test_dead_letters_stay_as_long_as_their_run(roomy: Store, clock: FakeClock) -> None:
    """They are listed for a person to look at; ninety days after the run was last heard of, both go."""
    runs.record(roomy, alert(), [("slack:1", priority_of(alert()))])
    outbox = Outbox(roomy)
    delivery = outbox.claim("slack:1")
    assert delivery is not None
    outbox.mark_dead(delivery, "no_service")

    clock.advance(30 * 86_400)
    pruning.prune(roomy)
    assert len(dead_letters.find_all(roomy)) == 1
    clock.advance(70 * 86_400)
    pruning.prune(roomy)

    assert dead_letters.find_all(roomy) == []
    assert outbox.counts()["slack:1"].conserved


def test_maintenance_prunes_at_most_once_an_hour(roomy: Store, clock: FakeClock) -> None:
    """Passing by is cheap: nothing is looked at within a minute, nothing pruned within an hour."""
    maintenance = Maintenance(roomy, clock=clock)
    maintenance.run_if_due()
    clock.advance(3600)
    maintenance.run_if_due()
    _tell(roomy, clock, started(at=clock.now() - timedelta(days=100)))
    with roomy.transaction() as connection:
        connection.exec_driver_sql("UPDATE runs SET alive_at = '2020-01-01 00:00:00.000000'")

    clock.advance(3500)
    maintenance.run_if_due()
    assert runs.get(roomy, RUN.id) is not None
    clock.advance(200)
    maintenance.run_if_due()
    assert runs.get(roomy, RUN.id) is None


def test_maintenance_makes_room_before_it_is_needed(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A person is told once, in the log; then there is room again."""
    desk = Desk(store, clock)
    desk.fill()
    maintenance = Maintenance(store, clock=clock)

    clock.advance(60)
    maintenance.run_if_due()

    assert not pruning.is_narrow(store)
    assert [each.message.partition(" ")[0] for each in caplog.records if "nearly full" in each.message] == ["the"]
