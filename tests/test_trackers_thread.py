"""The trackers' threads: nothing raises into the training, nothing is told twice, nothing is acknowledged too early."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import pytest

from notifybot import redaction
from notifybot.clock import SYSTEM
from notifybot.config import Config
from notifybot.events import Event
from notifybot.model import Language, Status
from notifybot.testing import FakeClock
from notifybot.trackers import Tracker, TrackerContext, TrackerThread
from notifybot.trackers.thread import Opener
from notifybot.trackers.wandb import Tell
from tests.tracker_events import context, epoch


class Listing:
    """A tracker that remembers, and fails where it is told to."""

    name = "listing"

    def __init__(self, *, fails_on: frozenset[str] = frozenset(), settle_s: float = 0.0) -> None:
        self.fails_on = fails_on
        self.settle_s = settle_s
        self.ids: list[str] = []
        self.tries: list[str] = []
        self.statuses: list[Status] = []

    def record(self, event: Event) -> None:
        self.tries.append(event.id)
        if event.id in self.fails_on:
            raise RuntimeError("cannot take it: xoxb-canary-not-a-token")
        self.ids.append(event.id)

    def close(self, status: Status) -> None:
        self.statuses.append(status)


class Desk:
    """The threads with listings in the trackers' places, and what they said."""

    def __init__(self, *trackers: Listing, clock: FakeClock | None = None) -> None:
        self.told: list[tuple[str, str]] = []
        self.recorded: list[tuple[str, str]] = []
        self.names = [f"t{number}" for number, _ in enumerate(trackers)]
        openers = {name: _opener(tracker) for name, tracker in zip(self.names, trackers, strict=True)}
        self.threads = TrackerThread(
            openers=openers,
            on_trouble=lambda *said: self.told.append(said),
            on_recorded=lambda *done: self.recorded.append(done),
            clock=clock or SYSTEM,
        )

    def start(self, given: TrackerContext, language: Language = Language.EN, **replay: tuple[Event, ...]) -> None:
        self.threads.start(given, self.names, Config(lang=language), replay=replay or None)


def _opener(tracker: Listing) -> Opener:
    def open_it(given: TrackerContext, tell: Tell, wake: threading.Event) -> Tracker:
        return tracker

    return open_it


def test_every_tracker_gets_every_event_in_order(tmp_path: Path) -> None:
    """And is closed behind the last one, with the run's status."""
    first, second = Listing(), Listing()
    desk = Desk(first, second)
    desk.start(context(tmp_path))

    for number in range(20):
        desk.threads.put(epoch(number))
    assert desk.threads.close(Status.STOPPED, 5)

    assert first.ids == second.ids == [f"s1-{number}" for number in range(20)]
    assert first.statuses == [Status.STOPPED]


def test_a_failure_is_counted_told_once_and_passes_by_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Secrets in its text are struck out."""
    redaction.register(["xoxb-canary-not-a-token"])
    failing, sound = Listing(fails_on=frozenset({"s1-0", "s1-2"})), Listing()
    desk = Desk(failing, sound)
    desk.start(context(tmp_path))

    with caplog.at_level(logging.WARNING, "notifybot"):
        for number in range(4):
            desk.threads.put(epoch(number))
        assert desk.threads.close(Status.FINISHED, 5)

    assert (failing.ids, len(sound.ids)) == (["s1-1", "s1-3"], 4)
    assert desk.threads.failures == {"t0": 2, "t1": 0}
    ((name, text),) = desk.told
    assert (name, "RuntimeError" in text, "canary" in text) == ("t0", True, False)
    assert (len(caplog.records), "canary" in caplog.text) == (1, False)


def test_people_are_told_in_their_language(tmp_path: Path) -> None:
    """Korean and English are equals."""
    desk = Desk(Listing(fails_on=frozenset({"s1-0"})))
    desk.start(context(tmp_path), Language.KO)

    desk.threads.put(epoch(0))
    desk.threads.close(Status.FINISHED, 5)

    assert "학습은 계속합니다" in desk.told[0][1]


def test_a_tracker_is_given_up_after_three_failures_in_a_row(tmp_path: Path) -> None:
    """What it misses from then on is still counted, and it is closed in the end."""
    failing = Listing(fails_on=frozenset(f"s1-{number}" for number in range(10)))
    desk = Desk(failing)
    desk.start(context(tmp_path))

    for number in range(10):
        desk.threads.put(epoch(number))
    desk.threads.close(Status.FAILED, 5)

    assert failing.tries == ["s1-0", "s1-1", "s1-2"]
    assert desk.threads.failures == {"t0": 10}
    assert failing.statuses == [Status.FAILED]


def test_flush_waits_for_what_was_put(tmp_path: Path) -> None:
    """And is True at once when there is nothing to wait for."""
    tracker = Listing()
    desk = Desk(tracker)
    desk.start(context(tmp_path))

    desk.threads.put(epoch(0))

    assert desk.threads.flush(5)
    assert tracker.ids == ["s1-0"]
    assert desk.threads.get("t0", 5) is tracker
    assert desk.threads.close(Status.FINISHED, 5)
    assert desk.threads.flush(5)


def test_a_tracker_that_never_opens_holds_up_nobody(tmp_path: Path) -> None:
    """Every wait has an end, and the tracker beside it is closed all the same."""
    held, sound = threading.Event(), Listing()

    def stuck(given: TrackerContext, tell: Tell, wake: threading.Event) -> Tracker:
        held.wait()
        return Listing()

    threads = TrackerThread(openers={"stuck": stuck, "sound": _opener(sound)})
    threads.start(context(tmp_path), ["stuck", "sound"], Config())
    threads.put(epoch(0))

    assert threads.get("stuck", 0.01) is None
    assert threads.get("unused", 5) is None
    assert not threads.flush(0.01)
    assert not threads.close(Status.FINISHED, 0.5)
    assert (sound.ids, sound.statuses) == (["s1-0"], [Status.FINISHED])
    held.set()
    assert threads.close(Status.FINISHED, 5)


def test_closing_ends_a_trackers_own_wait(tmp_path: Path) -> None:
    """W&B waits for its server; a run that ends must not."""

    def patient(given: TrackerContext, tell: Tell, wake: threading.Event) -> Tracker:
        wake.wait()
        return Listing()

    threads = TrackerThread(openers={"patient": patient})
    threads.start(context(tmp_path), ["patient"], Config())

    assert threads.close(Status.FINISHED, 5)


def test_an_event_is_acknowledged_when_it_would_survive_a_kill(tmp_path: Path) -> None:
    """W&B's file lags behind: its epochs are acknowledged later, or when it is closed."""
    clock, lagging = StandingClock(), Listing(settle_s=20.0)
    desk = Desk(lagging, clock=clock)
    desk.start(context(tmp_path))

    desk.threads.put(epoch(0))
    assert desk.threads.flush(5)
    early = list(desk.recorded)
    clock.advance(21)
    desk.threads.put(epoch(1))
    assert desk.threads.flush(5)
    later = list(desk.recorded)
    assert desk.threads.close(Status.FINISHED, 5)

    assert (early, later) == ([], [("t0", "s1-0")])
    assert desk.recorded == [("t0", "s1-0"), ("t0", "s1-1")]


class StandingClock(FakeClock):
    """Waits in real time, since other threads do, while its own time stands still."""

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        return event.wait(timeout_s)


def test_missed_events_come_first_tracker_by_tracker(tmp_path: Path) -> None:
    """Epochs that this session will do again are left out; what was missed is acknowledged like any other."""
    first, second = Listing(), Listing()
    desk = Desk(first, second)

    desk.start(context(tmp_path, purge_from=2, replay=(epoch(0), epoch(1), epoch(2))), t1=(epoch(1),))
    desk.threads.put(epoch(2, "s2"))
    desk.threads.close(Status.FINISHED, 5)

    assert first.ids == ["s1-0", "s1-1", "s2-2"]
    assert second.ids == ["s1-1", "s2-2"]
    assert ("t0", "s1-0") in desk.recorded


def test_events_after_the_end_are_ignored(tmp_path: Path) -> None:
    """And so is the wait for them."""
    tracker = Listing()
    desk = Desk(tracker)
    desk.start(context(tmp_path))
    desk.threads.close(Status.FINISHED, 5)

    desk.threads.put(epoch(0))

    assert desk.threads.close(Status.FAILED, 5)
    assert (tracker.ids, tracker.statuses) == ([], [Status.FINISHED])


def test_a_forked_child_does_nothing(tmp_path: Path) -> None:
    """A DataLoader's worker inherits the object, but not its threads."""
    tracker = Listing()
    desk = Desk(tracker)
    desk.start(context(tmp_path))
    assert desk.threads.get("t0", 5) is tracker

    child = os.fork()
    if child == 0:
        desk.threads.put(epoch(0))
        calm = desk.threads.flush(5) and desk.threads.close(Status.FAILED, 5) and desk.threads.get("t0", 5) is None
        os._exit(0 if calm else 1)
    _, code = os.waitpid(child, 0)

    assert code == 0
    assert desk.threads.close(Status.FINISHED, 5)
    assert (tracker.ids, tracker.statuses) == ([], [Status.FINISHED])
