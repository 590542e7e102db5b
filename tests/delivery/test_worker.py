"""The delivery threads on the real clock: they drain, make room by themselves, and end when told to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot import retry
from notifybot.clock import SYSTEM
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Worker
from notifybot.errors import PermanentError, TemporaryError
from notifybot.policy import Pace, Priority
from notifybot.rendering import Renderer
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import RecordingNotifier
from notifybot.types import Language
from tests.store.test_pruning import CAP_BYTES, bulky
from tests.support.store_events import RUN, alert, ended, started

SOON_S = 30.0  # far more than it takes, on a machine that has much else to do


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", cap_bytes=CAP_BYTES, patience_s=1.0) as opened:
        yield opened


class Office:
    """Everything that delivers, with its threads."""

    def __init__(self, store: Store, *notifiers: RecordingNotifier) -> None:
        self.outbox = Outbox(store)
        self.recorder = Recorder(store, notifiers, direct=True)
        self.worker = Worker(Dispatcher(self.outbox, notifiers, Renderer(Language.EN)), self.recorder)

    def __enter__(self) -> Office:
        self.worker.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.worker.stop(SOON_S)


def test_a_storm_beyond_the_cap_drains_and_loses_nothing_urgent(store: Store) -> None:
    """Ten times what the file holds: training never hears of it, every alert arrives, in order."""
    slack, relay = RecordingNotifier("slack"), RecordingNotifier("watchdog", Pace(folds=False))
    with Office(store, slack, relay) as office:
        office.recorder.record(started())
        for number in range(600):
            office.recorder.record(bulky(number, at=SYSTEM.now()))
            if number % 100 == 0:
                office.recorder.record(alert(str(number), at=SYSTEM.now()))
            office.worker.wake()
        office.recorder.record(ended(at=SYSTEM.now()))

        assert office.worker.flush(SOON_S)

    for notifier in (slack, relay):
        titles = [each.event.title for each in notifier.sent if each.event.kind == "alert_raised"]
        assert titles == ["0", "100", "200", "300", "400", "500"]
        assert notifier.kinds.count("run_started") == notifier.kinds.count("run_ended") == 1
    assert all(each.conserved and each.pending == 0 for each in office.outbox.counts().values())
    assert store.path.stat().st_size <= CAP_BYTES


def test_a_flush_does_not_wait_for_whom_nobody_reaches(store: Store) -> None:
    """One notifier is down: the other's messages are out, and the exit is not held up."""
    down = RecordingNotifier("slack", failures=[TemporaryError("down")] * 99)
    up = RecordingNotifier("kakao")
    with Office(store, down, up) as office:
        office.recorder.record(alert())

        assert office.worker.flush(SOON_S)
        assert up.kinds == ["alert_raised"]


def test_stopping_ends_the_threads_and_closes_the_notifiers(store: Store) -> None:
    """Twice is fine."""
    slack = RecordingNotifier("slack")
    with Office(store, slack) as office:
        assert any(each.name == "notifybot-slack" for each in threading.enumerate())
        office.worker.stop(SOON_S)
        office.worker.stop(SOON_S)

    assert slack.closed
    assert not any(each.name == "notifybot-slack" for each in threading.enumerate())


def test_what_could_not_be_reached_is_tried_once_more_before_the_process_ends(store: Store) -> None:
    """It may be back by now, and the next probe would come too late."""
    slack = RecordingNotifier("slack", failures=[TemporaryError("down")] * 99)
    with Office(store, slack) as office:
        office.recorder.record(ended())
        while slack.tries < retry.QUICK_TRIES:  # from then on there is a minute between two
            assert office.worker.finish(SOON_S)
        slack.failures.clear()

        assert office.worker.finish(SOON_S)
        assert slack.kinds == ["run_ended"]


@pytest.mark.parametrize(
    ("alerts", "first"),
    [(1, ["alert_raised", "run_ended"]), (2, ["run_ended", "alert_raised", "alert_raised"])],
)
def test_an_end_overtakes_the_alerts_that_would_keep_it_beyond_the_process_end(
    store: Store, alerts: int, first: list[str]
) -> None:
    """Slack takes a message a second and a process waits two: its alarm would report a finished run as lost."""
    office = Office(store, RecordingNotifier("slack"))
    for number in range(alerts):
        office.recorder.record(alert(str(number), at=SYSTEM.now()))
    office.recorder.record(ended(at=SYSTEM.now()))

    office.worker.finish(0.0)

    assert [claimed(office.outbox) for _ in first] == first


def test_the_start_of_a_run_goes_before_its_end_also_where_that_overtakes(store: Store) -> None:
    office = Office(store, RecordingNotifier("slack"))
    now = SYSTEM.now()
    for event in (started(at=now), alert("a", at=now), alert("b", at=now), ended(at=now)):
        office.recorder.record(event)

    office.worker.finish(0.0)

    assert [claimed(office.outbox) for _ in range(4)] == ["run_started", "run_ended", "alert_raised", "alert_raised"]


def claimed(outbox: Outbox) -> str:
    delivery = outbox.claim(RecordingNotifier("slack").key)
    assert delivery is not None
    return delivery.event.kind


def test_what_was_given_up_is_counted_on_the_log_when_the_process_ends(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, be the end told twice."""
    slack = RecordingNotifier("slack", failures=[PermanentError("gone")] * 99)
    with Office(store, slack) as office:
        for number in range(3):
            office.recorder.record(alert(str(number)))
        assert office.worker.flush(SOON_S)
        assert caplog.text.count("retry --all") == 0

        assert office.worker.finish(SOON_S)
        assert office.worker.finish(SOON_S)

    assert office.worker.has_logged(RUN, "noted")
    assert caplog.text.count("3 messages of resnet could not be sent to slack: gone.") == 1


def test_what_a_run_lost_is_counted_at_its_end_where_the_process_goes_on(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """In a notebook: also where the last message was refused within the gap that a notifier asks for."""
    slack = RecordingNotifier("slack", Pace(gap_s=0.01), failures=[PermanentError("gone")] * 99)
    with Office(store, slack) as office:
        office.recorder.record(alert())
        office.recorder.record(ended())

        assert office.worker.flush(SOON_S)

    assert caplog.text.count("2 messages of resnet could not be sent to slack: gone.") == 1


class Moody(RecordingNotifier):
    """Has a mistake in it that nobody thought of, for its first few questions."""

    def __init__(self, name: str, times: int) -> None:
        self._times = 0
        super().__init__(name)
        self._times = times

    @property
    def pace(self) -> Pace:
        self._times -= 1
        if self._times >= 0:
            raise ZeroDivisionError("quiet hours")
        return Pace()

    @pace.setter
    def pace(self, _: Pace) -> None:
        return


def test_a_mistake_in_a_pass_silences_no_notifier(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once, and the thread goes on."""
    slack = Moody("slack", times=2)
    with Office(store, RecordingNotifier("kakao")) as office:
        office.worker = Worker(Dispatcher(office.outbox, [slack], Renderer(Language.EN)))
        runs.record(store, alert(), [(slack.key, Priority.URGENT)])
        office.worker.start()

        assert office.worker.flush(SOON_S)

    assert slack.kinds == ["alert_raised"]
    assert caplog.text.count("a mistake of notifybot's own") == 1
    assert office.worker.faults[slack.key, "ZeroDivisionError"] == 2
