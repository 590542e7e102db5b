"""Goals of delivery, each as a test: once and in order (R3), at Slack's pace (R5), nobody held up (R7, G03, G08)."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from notifybot.clock import SYSTEM
from notifybot.config import Config
from notifybot.delivery.build import people_from
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Worker
from notifybot.errors import TemporaryError
from notifybot.events import CheckpointSaved, Event
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.notifiers.slack import SlackWebhook
from notifybot.policy import Pace, Priority, priority_of
from notifybot.rendering import Renderer
from notifybot.sandbox import Fault, Sandbox
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import Checkpoint, Language, RunRef, Status, uuid7
from tests.support.store_events import alert, ended, epoch, started

ENGLISH = Renderer(Language.EN)
LONG_S = 60.0  # far more than it takes, on a machine that has much else to do
HOOK = "https://hooks.slack.com/services/T0SANDBOX/B0SANDBOX/canary-not-a-webhook-secret"
SLACKS: dict[str, dict[str, Any]] = {
    "bot": {"slack_bot_token": "xoxb-canary-not-a-token", "slack_channel": "C0SANDBOX"},
    "webhook": {"slack_webhook_url": HOOK},
}


def story(number: int, rng: Random) -> Iterator[Event]:
    """So many events of five runs at a time; one that ends makes place for another."""
    runs: list[RunRef] = []
    for count in range(number):
        if len(runs) < 5:
            runs.append(RunRef(id=f"run-{count}", name=f"run {count}", project="default", session=uuid7()))
            yield started(runs[-1])
            continue
        run, fate = rng.choice(runs), rng.random()
        if fate < 0.7:
            yield epoch(count, run)
        elif fate < 0.85:
            yield alert(f"look {count}", run)
        elif fate < 0.97:
            yield CheckpointSaved(id=uuid7(), run=run, at=alert().at, checkpoint=Checkpoint("a.pt", epoch=count))
        else:
            runs.remove(run)
            yield ended(run, status=rng.choice([Status.FINISHED, Status.FAILED]))


class Forgetful(RecordingNotifier):
    """Takes every message, but now and then its answer gets lost."""

    def __init__(self, name: str, pace: Pace, rng: Random, share: float) -> None:
        super().__init__(name, pace)
        self.lost = Counter[str]()
        self._rng, self._share = rng, share

    def send(self, envelope: Envelope) -> None:
        super().send(envelope)
        if self._rng.random() < self._share:
            self.lost[envelope.event.id] += 1
            raise TemporaryError("the answer was lost", ambiguous=True)

    @property
    def told(self) -> list[str]:
        """The ids of the events, in the order of their first message."""
        return list(dict.fromkeys(each.event.id for each in self.sent))


@dataclass
class World:
    """One process in which time passes only when nobody has anything to do."""

    store: Store
    clock: FakeClock
    people: list[Forgetful]
    events: list[Event] = field(default_factory=list)

    def live(self, number: int, rng: Random) -> None:
        recorder = Recorder(self.store, self.people, direct=True)
        dispatcher = Dispatcher(Outbox(self.store), self.people, ENGLISH, clock=self.clock, rng=rng)
        for event in story(number, rng):
            self.clock.advance(0.1)
            assert recorder.record(event)
            self.events.append(event)
            if rng.random() < 0.2:
                self._deliver(dispatcher, until_s=self.clock.monotonic() + 1)
        self._deliver(dispatcher, until_s=self.clock.monotonic() + 365 * 86_400)

    def _deliver(self, dispatcher: Dispatcher, *, until_s: float) -> None:
        while True:
            waits = [wait for each in self.people if (wait := dispatcher.wait_s(each.key)) is not None]
            if not waits or self.clock.monotonic() + min(waits) > until_s:
                return
            self.clock.advance(min(waits))
            for each in self.people:
                dispatcher.run_once(each.key)
            self.store.tidy()


@pytest.mark.parametrize("share", [0.0, 0.1], ids=["no faults", "lost answers"])
@pytest.mark.parametrize("number", [600, pytest.param(10_000, marks=[pytest.mark.torture, pytest.mark.timeout(1800)])])
def test_each_message_comes_once_and_in_order(tmp_path: Path, clock: FakeClock, number: int, share: float) -> None:
    """R3: no message comes twice but after a lost answer, and then under the same id; none overtakes its like.

    What is urgent goes before what is not, so each kind of urgency has an order of its own.
    """
    rng = Random(number)
    with Store.open(tmp_path / "a.db", clock=clock) as store:
        people = Forgetful("slack", Pace(), rng, share)
        program = Forgetful("webhook", Pace(folds=False), rng, share)
        world = World(store, clock, [people, program])
        world.live(number, rng)
        counts = Outbox(store).counts()

    assert set(program.told) == {each.id for each in world.events}
    assert {each.id for each in world.events if priority_of(each) is Priority.URGENT} <= set(people.told)
    for notifier in world.people:
        assert Counter(each.event.id for each in notifier.sent) <= Counter(notifier.told) + notifier.lost
        assert _inversions(notifier.told, world.events) == []
    assert (sum(people.lost.values()) > 0) == (share > 0)
    assert all(each.conserved and each.pending == each.dead == 0 for each in counts.values())


def _inversions(told: list[str], events: list[Event]) -> list[tuple[str, str]]:
    """Messages of a run that came before an older one of the same urgency."""
    place = {event.id: number for number, event in enumerate(events)}
    lines: dict[tuple[str, Priority], list[str]] = {}
    for each in told:
        event = events[place[each]]
        lines.setdefault((event.run.id, priority_of(event)), []).append(each)
    return [(a, b) for line in lines.values() for a, b in pairwise(line) if place[a] > place[b]]


def test_the_check_above_can_tell_an_inversion() -> None:
    """Two epochs of one run the wrong way round, and not those of two runs."""
    one, two = epoch(1), epoch(2)
    other = epoch(3, RunRef(id="run-2", name="b", project="default", session="s1"))

    assert _inversions([two.id, one.id], [one, two]) == [(two.id, one.id)]
    assert _inversions([other.id, one.id], [one, other]) == []


@pytest.mark.parametrize("settings", SLACKS.values(), ids=SLACKS)
def test_a_backlog_drains_at_most_one_message_a_second_to_slack(
    tmp_path: Path, clock: FakeClock, settings: dict[str, Any]
) -> None:
    """R5: as Slack asks for, https://docs.slack.dev/apis/web-api/rate-limits: 1 per second per channel."""
    (slack,) = people_from(Config(**settings))
    times: list[datetime] = []

    class Timed(RecordingNotifier):
        def send(self, envelope: Envelope) -> None:
            super().send(envelope)
            times.append(clock.now())

    with Store.open(tmp_path / "a.db", clock=clock) as store:
        timed = Timed("slack", slack.pace)
        recorder = Recorder(store, [timed], direct=True)
        for number in range(40):
            recorder.record(alert(str(number)))
        dispatcher = Dispatcher(Outbox(store), [timed], ENGLISH, clock=clock)
        while (wait_s := dispatcher.wait_s(timed.key)) is not None:
            clock.advance(wait_s)
            dispatcher.run_once(timed.key)

    assert len(times) == 40
    assert min((b - a).total_seconds() for a, b in pairwise(times)) >= 1.0


@contextmanager
def _delivering(store: Store, *notifiers: Notifier) -> Iterator[tuple[Recorder, Worker]]:
    recorder = Recorder(store, notifiers, direct=True)
    worker = Worker(Dispatcher(Outbox(store), notifiers, ENGLISH), recorder)
    worker.start()
    try:
        yield recorder, worker
    finally:
        worker.stop(LONG_S)


class Counting(RecordingNotifier):
    """Says when it has been told often enough."""

    def __init__(self, name: str, enough: int) -> None:
        super().__init__(name)
        self.done, self._enough = threading.Event(), enough

    def send(self, envelope: Envelope) -> None:
        super().send(envelope)
        if len(self.sent) == self._enough:
            self.done.set()


def test_a_notifier_that_hangs_holds_up_no_other(tmp_path: Path) -> None:
    """R7 and G08: Slack does not answer its first request, and meanwhile KakaoTalk is told everything, in order."""
    kakao = Counting("kakao", 30)
    with Store.open(tmp_path / "a.db", patience_s=LONG_S) as store, Sandbox() as sandbox:
        sandbox.faults.append(Fault("hang", path="/services/", times=99, seconds=30))
        slack = SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], timeout_s=30)
        with _delivering(store, slack, kakao) as (recorder, worker):
            recorder.record(alert("first"))
            worker.wake()
            while not sandbox.requests:
                SYSTEM.wait(kakao.done, 0.01)
            for number in range(29):
                assert recorder.record(alert(str(number)))
                worker.wake()

            assert kakao.done.wait(LONG_S)
            assert len(sandbox.requests) == 1, "Slack's first request is still open"
            sandbox.close()

    assert [getattr(each.event, "title", "") for each in kakao.sent] == ["first", *map(str, range(29))]


@pytest.mark.parametrize("hole", ["refuses", "accepts and never answers"])
def test_a_backlog_behind_a_black_hole_drains_in_order(tmp_path: Path, clock: FakeClock, hole: str) -> None:
    """G03: nothing is lost or repeated; recording never hears of it."""
    with Store.open(tmp_path / "a.db", clock=clock) as store, Sandbox() as sandbox:
        url = sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"]
        slack = SlackWebhook(url, timeout_s=1)
        outbox, recorder = Outbox(store), Recorder(store, [slack], direct=True)
        dispatcher = Dispatcher(outbox, [slack], ENGLISH, clock=clock, rng=Random(7))
        sandbox.close()
        with _black_hole(urlsplit(url).port or 0, hole):
            for number in range(5):
                assert recorder.record(alert(f"look {number}"))
                clock.advance(dispatcher.wait_s(slack.key) or 0)
                if number < 2:
                    dispatcher.run_once(slack.key)
        assert dispatcher.stuck(slack.key)
        sandbox.open()
        while (wait_s := dispatcher.wait_s(slack.key)) is not None:
            clock.advance(wait_s)
            dispatcher.run_once(slack.key)
        texts = [each.text for each in sandbox.slack.messages]
        slack.close()

    assert [number for text in texts for number in range(5) if f"look {number}" in text] == [0, 1, 2, 3, 4]
    assert len(texts) == 5


@contextmanager
def _black_hole(port: int, hole: str) -> Iterator[None]:
    if hole == "refuses":
        yield
        return
    with closing(socket.socket()) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(16)
        yield
