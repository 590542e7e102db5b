"""A watchdog whose database is full still takes reports in, and never gives up what is urgent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.errors import StoreError
from notifybot.events import Event, to_json
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import uuid7
from notifybot.watchdog import tokens
from notifybot.watchdog.service import Watchdog
from tests.store.test_pruning import CAP_BYTES, bulky
from tests.support.store_events import RUN, alert, started


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "watchdog.db", clock=clock, cap_bytes=CAP_BYTES) as opened:
        yield opened


class Bench:
    """A watchdog with nobody to tell, and a process that reports to it."""

    def __init__(self, store: Store, clock: FakeClock, *notifiers: RecordingNotifier) -> None:
        self._clock = clock
        self.token = tokens.create(store, "vision")
        self.watchdog = Watchdog(store, notifiers=notifiers)

    def report(self, event: Event) -> int:
        self._clock.advance(1)
        body = json.dumps({"events": [json.loads(to_json(event))]}).encode()
        return self.watchdog.accept_events(self.token, body).accepted

    def flood(self) -> None:
        """Report alerts until there is no room for one more."""
        while self.report(alert(uuid7() * 50, at=self._clock.now())):
            pass

    def beat(self, seq: int) -> str:
        run = {"id": RUN.id, "name": RUN.name, "project": "p", "session": RUN.session}
        return self.watchdog.accept_heartbeat(self.token, json.dumps({"run": run, "seq": seq, "beat_s": 30}).encode())


def test_reports_go_on_when_the_database_is_full(store: Store, clock: FakeClock) -> None:
    """The oldest epochs make room for the newest; the start stays, heartbeats are heard throughout."""
    bench = Bench(store, clock)
    assert bench.report(started(at=clock.now())) == 1
    for number in range(300):
        assert bench.report(bulky(number, at=clock.now())) == 1
        assert bench.beat(number + 1) == "running"

    events = runs.events_of(store, RUN.id)
    assert (events[0].kind, events[-1].progress.epoch) == ("run_started", 299)
    assert 100 <= len(events) < 301
    assert store.path.stat().st_size <= CAP_BYTES


def test_what_finds_no_room_is_refused_whole_and_asked_for_again(store: Store, clock: FakeClock) -> None:
    """Nothing but alerts that still wait: the process keeps its own, and a heartbeat is taken all the same."""
    slack = RecordingNotifier()
    bench = Bench(store, clock, slack)
    assert bench.report(started(at=clock.now())) == 1
    with pytest.raises(StoreError, match="full"):
        bench.flood()

    counts = Outbox(store).counts()[slack.key]
    assert (counts.pending, counts.conserved) == (len(runs.events_of(store, RUN.id)), True)
    assert bench.beat(1) == "running"
