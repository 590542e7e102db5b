"""The trackers' threads: nothing raises into the training, nothing is told twice, nothing is acknowledged too early."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot import redaction
from notifybot.clock import SYSTEM
from notifybot.config import Config, load
from notifybot.events import Event
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.trackers import Tracker, TrackerContext, TrackerWorkers
from notifybot.trackers.wandb import Warn
from notifybot.trackers.worker import Opener
from notifybot.training.block import SignalScope
from notifybot.training.resume import ReplayCursors
from notifybot.training.run import Run
from notifybot.training.session import close
from notifybot.types import Language, Status
from tests.support.tracker_events import context, epoch


class Listing:
    """A tracker that remembers, and fails where it is told to."""

    name = "listing"

    def __init__(self, *, fails_on: frozenset[str] = frozenset(), written_after_s: float = 0.0) -> None:
        self.fails_on = fails_on
        self.written_after_s = written_after_s
        self.ids: list[str] = []
        self.tries: list[str] = []
        self.statuses: list[Status] = []

    def record(self, event: Event) -> None:
        self.tries.append(event.id)
        if event.id in self.fails_on:
            raise RuntimeError("cannot take it: xoxb-canary-not-a-token")
        self.ids.append(event.id)

    def go_back(self, first: int) -> None:
        self.tries.append(f"back to {first}")

    def close(self, status: Status) -> None:
        self.statuses.append(status)


class Desk:
    """The threads with listings in the trackers' places, and what they said."""

    def __init__(self, *trackers: Listing, clock: FakeClock | None = None) -> None:
        self.told: list[tuple[str, str]] = []
        self.recorded: list[tuple[str, str]] = []
        self.names = [f"t{number}" for number, _ in enumerate(trackers)]
        openers = {name: _opener(tracker) for name, tracker in zip(self.names, trackers, strict=True)}
        self.threads = TrackerWorkers(
            openers=openers,
            on_trouble=lambda *said: self.told.append(said),
            on_recorded=lambda *done: self.recorded.append(done),
            clock=clock or SYSTEM,
        )

    def start(self, given: TrackerContext, language: Language = Language.EN, **replay: tuple[Event, ...]) -> None:
        self.threads.start(given, self.names, Config(lang=language), replay=replay or None)


def _opener(tracker: Listing) -> Opener:
    def open_it(given: TrackerContext, warn: Warn, wake: threading.Event) -> Tracker:
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

    def stuck(given: TrackerContext, warn: Warn, wake: threading.Event) -> Tracker:
        held.wait()
        return Listing()

    threads = TrackerWorkers(openers={"stuck": stuck, "sound": _opener(sound)})
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

    def patient(given: TrackerContext, warn: Warn, wake: threading.Event) -> Tracker:
        wake.wait()
        return Listing()

    threads = TrackerWorkers(openers={"patient": patient})
    threads.start(context(tmp_path), ["patient"], Config())

    assert threads.close(Status.FINISHED, 5)


def test_an_event_is_acknowledged_when_it_would_survive_a_kill(tmp_path: Path) -> None:
    """W&B's file lags behind: its epochs are acknowledged later, or when it is closed."""
    clock, lagging = StandingClock(), Listing(written_after_s=20.0)
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


class Unanswering:
    """A stand-in for W&B whose service never answers: its start waits until the run's end hurries it, or for ever."""

    def __init__(self, *, gives_in: bool = False) -> None:
        self.gives_in = gives_in
        self.released = threading.Event()

    def open(self, given: TrackerContext, warn: Warn, wake: threading.Event) -> Tracker:
        (wake if self.gives_in else self.released).wait()
        return Listing()


@pytest.fixture
def unanswering() -> Iterator[Unanswering]:
    service = Unanswering()
    yield service
    service.released.set()


LEFT: list[tuple[str, BaseException | None, bool, float]] = [
    ("runs out", None, True, 10.0),
    ("break", None, False, 10.0),
    ("exit", SystemExit(0), False, 1.0),
    ("exception", ValueError("boom"), False, 1.0),
    ("Ctrl-C", KeyboardInterrupt(), False, 1.0),
]


@pytest.mark.parametrize(
    ("error", "exhausted", "waited_s"), [each[1:] for each in LEFT], ids=[each[0] for each in LEFT]
)
@pytest.mark.parametrize(("language", "words"), [("en", "up to 10 s for wandb"), ("ko", "최대 10초 기다립니다")])
def test_only_a_normal_end_waits_for_a_late_tracker(
    error: BaseException | None, exhausted: bool, waited_s: float, language: str, words: str,
    tmp_path: Path, unanswering: Unanswering, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Ten seconds in all, said after the first; nothing of it is a failure or is told to people."""
    clock, notifier = FakeClock(), RecordingNotifier()
    config = load({"state_dir": tmp_path, "runs_dir": tmp_path / "runs", "lang": language, "tensorboard": "off"})
    run = Run(config=config, notifiers=[notifier], clock=StandingClock())
    run.start(range(3))
    assert run.session is not None
    assert run.session.folder is not None
    threads = TrackerWorkers(openers={"wandb": unanswering.open}, clock=clock)
    threads.start(context(run.session.folder), ["wandb"], config)
    run.session.trackers = threads
    hold, began_s = SignalScope(run), clock.monotonic()

    with caplog.at_level(logging.WARNING, "notifybot"):
        hold.release(error, exhausted=exhausted)

    assert waited_s == pytest.approx(clock.monotonic() - began_s)
    assert (waited_s > 1) == (words in caplog.text)
    assert threads.late == ["wandb"]
    assert not any("tracker" in name for name in run.faults)
    assert not any("wandb" in each.message.title for each in notifier.sent)
    close()


def test_a_server_is_waited_for_until_the_time_is_nearly_over(tmp_path: Path) -> None:
    """W&B that is about to start on-line is not sent off-line by the end of a short run; then it is hurried."""
    service, clock = Unanswering(gives_in=True), FakeClock()
    threads = TrackerWorkers(openers={"wandb": service.open}, clock=clock)
    threads.start(context(tmp_path), ["wandb"], Config())

    assert not threads.finish(Status.FINISHED, 1.0)
    assert threads.late == ["wandb"]
    threads.linger(9.0)

    assert clock.monotonic() <= FakeClock().monotonic() + 10.0
    assert SYSTEM.wait(threads._lanes["wandb"].ended, 30)
    assert threads.late == []


@pytest.mark.parametrize(
    ("fails_on", "recorded"),
    [((), "012345"), ((0,), ""), ((3,), "012"), ((1, 2, 3), "0"), ((5,), "01234"), ((2, 4), "01")],
)
def test_the_mark_stays_before_the_first_event_that_was_not_taken(
    fails_on: tuple[int, ...], recorded: str, tmp_path: Path
) -> None:
    """What comes after it is taken as ever, and once more with the replay that fills the hole."""
    desk = Desk(Listing(fails_on=frozenset(f"s1-{number}" for number in fails_on)))
    desk.start(context(tmp_path))

    for number in range(6):
        desk.threads.put(epoch(number))
    assert desk.threads.close(Status.FINISHED, 30)

    assert [event_id for _, event_id in desk.recorded] == [f"s1-{number}" for number in recorded]


def test_what_a_service_did_not_take_goes_there_at_the_next_start(tmp_path: Path, unanswering: Unanswering) -> None:
    """The run's marks say what is missing, and nothing is there twice."""
    marks, kept = ReplayCursors(tmp_path), Listing()
    past = (epoch(0), epoch(1))
    first = TrackerWorkers(openers={"wandb": unanswering.open}, on_recorded=marks.put, clock=FakeClock())
    first.start(context(tmp_path), ["wandb"], Config(), replay={"wandb": marks.missed("wandb", ())})
    for event in past:
        first.put(event)
    first.finish(Status.FINISHED, 1.0)
    first.linger(9.0)

    for _ in range(2):
        again = TrackerWorkers(openers={"wandb": _opener(kept)}, on_recorded=marks.put)
        again.start(context(tmp_path), ["wandb"], Config(), replay={"wandb": marks.missed("wandb", past)})
        assert again.close(Status.FINISHED, 30)

    assert kept.ids == ["s1-0", "s1-1"]


WAITING = """
import sys, threading
from notifybot import notify_epoch
from notifybot.trackers.worker import OPENERS
OPENERS["wandb"] = lambda context, tell, wake: threading.Event().wait()
with notify_epoch(range(2), name="r", progress=False) as epochs:
    for epoch in epochs:
        epochs.log(loss=1.0)
print("after")
"""


@pytest.mark.needs("wandb")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_ends_the_wait_at_once(number: signal.Signals, tmp_path: Path) -> None:
    """The machine is being taken away, or somebody has no time: the end is recorded already."""
    settings = {"NOTIFYBOT_STATE_DIR": str(tmp_path), "NOTIFYBOT_RUNS_DIR": str(tmp_path / "runs")}
    trackers = {"NOTIFYBOT_TENSORBOARD": "off", "NOTIFYBOT_WANDB": "on", "NOTIFYBOT_LANG": "en"}
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        cwd=Path(__file__).parents[2],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **settings, **trackers},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any("waiting up to 10 s" in line for line in process.stderr)

    process.send_signal(number)
    said, _ = process.communicate(timeout=60)

    assert (said, process.returncode) == ("", -number)


LEAVING = """
import threading
from notifybot.config import Config
from notifybot.types import Status
from notifybot.trackers import TrackerWorkers
from pathlib import Path
import sys
sys.path.insert(0, sys.argv[2])
from tests.support.tracker_events import context, epoch

def late(context, tell, wake):
    threading.main_thread().join()
    threading._register_atexit(print)  # as the first import of TensorBoard does, by way of concurrent.futures

threads = TrackerWorkers(openers={"late": late}, on_trouble=lambda name, text: print("told", text, flush=True))
threads.start(context(Path(sys.argv[1])), ["late"], Config())
threads.put(epoch(0))
threads.finish(Status.FINISHED, 0.0)
lane = threads._lanes["late"]
ended = threading.Thread(target=lambda: print("ended", lane.ended.wait(60), flush=True))
ended.start()  # not a daemon: the process waits for it
"""


def test_a_tracker_that_opens_while_the_process_ends_alarms_nobody(tmp_path: Path) -> None:
    """A script of one second is over before TensorBoard is imported; its numbers are replayed at the next start."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", LEAVING, str(tmp_path), str(root)],
        cwd=root, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip

    assert done.stdout.split() == ["ended", "True"]
    assert "Error" not in done.stderr
