"""What counts as a hang, asked of the watchdog's rule and of Slack's dead man's switch about the same living run."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from notifybot.config import load
from notifybot.notifiers.slack.deadman.slack_api import SlackAlarms
from notifybot.notifiers.slack.deadman.switch import DeadMan
from notifybot.notifiers.slack.deadman.text import Speech, mark_of
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.store.runs import RunRow
from notifybot.testing import FakeClock
from notifybot.training.endings import Ending
from notifybot.training.heartbeat import Heartbeat
from notifybot.training.run import Run
from notifybot.training.session import close
from notifybot.types import Host, Language, Progress, RunRef, Status
from notifybot.watchdog.rules import Limits, Stalled, judge

STEP_S = 20.0


class StandingClock(FakeClock):
    """Waiting on it waits for the event: it is moved by the test alone."""

    def wait(self, event: threading.Event, timeout_s: float | None) -> bool:
        return event.wait(10.0)


class Watched:
    """A run that lives, with its heartbeat and its switch."""

    def __init__(self, run: Run, sandbox: Sandbox, clock: FakeClock) -> None:
        self.run, self._sandbox, self._clock = run, sandbox, clock
        api = SlackAlarms(BOT_TOKEN, f"{sandbox.url}/api/", clock=clock)
        place = RunThread(*api.post(CHANNEL, {"text": "root"})[:2], "started")
        speech = Speech(run.ref, Host(), Renderer(Language.EN))
        self._switch = DeadMan(api, speech, lambda: (run.progress, run._pulse()), lambda: place, clock=clock)
        self._heart = Heartbeat("http://127.0.0.1:9", "canary", run.ref, run._pulse, beat_s=30.0, clock=clock)
        self._began_s = clock.monotonic()

    def stand(self, hours: float) -> tuple[float | None, float | None]:
        """Live on without a movement; return the seconds after which the watchdog, and Slack, told of it."""
        told: list[float | None] = [None, None]
        began_s = self._clock.monotonic()
        while (passed_s := self._clock.monotonic() - began_s) < hours * 3600:
            self._heart.look()
            while self._switch.step():
                pass
            if told[0] is None and isinstance(judge(self._row(), self._clock.now(), Limits()), Stalled):
                told[0] = passed_s
            if told[1] is None and any(mark_of(self.run.ref) in each.text for each in self._sandbox.slack.messages):
                told[1] = passed_s
            self._clock.advance(STEP_S)
        return told[0], told[1]

    def _row(self) -> RunRow:
        """The run as the watchdog knows it by the heartbeat of this moment."""
        age_s = self._heart._body()["progress_age_s"]
        assert isinstance(age_s, float)
        return row_of(self.run.ref, self.run.progress, now=self._clock, age_s=age_s)


def row_of(ref: RunRef, progress: Progress, *, now: FakeClock, age_s: float = 0.0) -> RunRow:
    moment = now.now()
    return RunRow(
        id=ref.id, name=ref.name, project=ref.project, session=ref.session, status=Status.RUNNING, stalled=False,
        attempt=1, incident=0, direct=False, beat_s=30.0, beat_seq=1, started_at=moment - timedelta(days=1),
        ended_at=None, alive_at=moment, progress_at=moment - timedelta(seconds=age_s), next_by=None, deadline_at=None,
        told_at=None, stack="", last_event_at=None, host=Host(), progress=progress, params={},
    )  # fmt: skip


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def run(tmp_path: Path, clock: FakeClock) -> Iterator[Run]:
    folders = {"state_dir": tmp_path / "state", "runs_dir": tmp_path / "runs"}
    made = Run(config=load({**folders, "tensorboard": "off", "wandb": "off"}), notifiers=[], clock=clock)
    yield made
    made.end(Ending(Status.FINISHED))
    close()


def _quiet_block(run: Run) -> None:
    run.start()


def _talking_block(run: Run) -> None:
    run.start()
    run.alert("half of the files are done")
    run.log_checkpoint("/tmp/half.pt")


@pytest.mark.parametrize("begin", [_quiet_block, _talking_block], ids=["silent", "alerts-and-checkpoints"])
def test_a_block_without_epochs_is_vouched_for_by_its_process(
    run: Run, sandbox: Sandbox, clock: FakeClock, begin: Callable[[Run], None]
) -> None:
    """It never said that it would move: nothing tells a long hour's work from a hang."""
    begin(run)

    assert Watched(run, sandbox, clock).stand(3) == (None, None)


def test_a_block_that_logs_epochs_is_measured_by_them(run: Run, sandbox: Sandbox, clock: FakeClock) -> None:
    """From the first one on, as any loop: ten minutes, or five of its epochs."""
    run.start()
    watched = Watched(run, sandbox, clock)
    assert watched.stand(1) == (None, None)

    run.log_epoch(0, {"loss": 0.5})
    hangs_s, told_s = watched.stand(6)

    assert hangs_s is not None
    assert told_s is not None
    assert hangs_s == pytest.approx(5 * 3600, abs=2 * STEP_S)
    assert 600 - STEP_S <= told_s - hangs_s <= 900 + 2 * STEP_S


@pytest.mark.parametrize("epochs", [range(10), itertools.count()], ids=["known-number", "endless"])
@pytest.mark.parametrize("into_it", [False, True], ids=["before", "within"])
def test_a_loop_that_does_not_get_through_its_first_epoch_is_told(
    run: Run, sandbox: Sandbox, clock: FakeClock, epochs: object, into_it: bool
) -> None:
    """After an hour: data is fetched and kernels are compiled then. Also where nobody knows how many epochs come."""
    run.start(epochs)
    if into_it:
        run.begin_epoch(0)
    hangs_s, told_s = Watched(run, sandbox, clock).stand(2)

    assert hangs_s is not None
    assert told_s is not None
    assert hangs_s == pytest.approx(3600, abs=2 * STEP_S)
    assert 600 - STEP_S <= told_s - hangs_s <= 900 + 2 * STEP_S
