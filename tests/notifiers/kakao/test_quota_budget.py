"""KakaoTalk behind the outbox, from the event to the phone: the day's quota holds, and nothing held back is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.events import Event
from notifybot.notifiers.kakao import KakaoTalk
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock
from notifybot.types import Language, RunRef, uuid7
from tests.support.kakao_messages import memo
from tests.support.store_events import alert, ended, epoch


class Job:
    """A training with an outbox of its own; all jobs share one KakaoTalk login."""

    def __init__(self, name: str, sandbox: Sandbox, folder: Path, clock: FakeClock) -> None:
        self.run = RunRef(id=uuid7(clock.now().timestamp()), name=name, project="vision", session=name)
        self.clock = clock
        self.store = Store.open(folder / f"{name}.db", clock=clock)
        self.talk: KakaoTalk = memo(sandbox, folder, clock)
        self.recorder = Recorder(self.store, [self.talk], direct=True)
        outbox, renderer = Outbox(self.store), Renderer(Language.EN)
        self.dispatcher = Dispatcher(outbox, [self.talk], renderer, clock=clock, rng=Random(7))

    def tell(self, *events: Event) -> None:
        for event in events:
            self.recorder.record(event)
            self.drain()

    def drain(self) -> None:
        """Pass until nothing can go out at this moment."""
        for _ in range(200):
            outcome = self.dispatcher.run_once(self.talk.key)
            if outcome is Outcome.IDLE or (outcome is Outcome.HELD and not self._soon()):
                return
            self.clock.advance(1)  # the least gap between two messages

    def _soon(self) -> bool:
        wait_s = self.dispatcher.wait_s(self.talk.key)
        return wait_s is not None and wait_s <= 1

    def close(self) -> None:
        self.dispatcher.close()
        self.store.close()


@pytest.fixture
def jobs(sandbox: Sandbox, tmp_path: Path, clock: FakeClock) -> Iterator[list[Job]]:
    opened = [Job(name, sandbox, tmp_path, clock) for name in ("resnet", "unet")]
    yield opened
    for job in opened:
        job.close()


def test_two_jobs_together_stay_within_the_day_and_each_tells_the_rest_in_one_message(
    jobs: list[Job], sandbox: Sandbox, clock: FakeClock
) -> None:
    for number in range(25):
        for job in jobs:
            job.tell(alert(f"look {number}", job.run, at=clock.now()))

    first_day = len(sandbox.kakao.messages)
    clock.advance(12 * 3600)
    for job in jobs:
        job.drain()

    assert first_day == 16  # the last four of a day are for endings
    digests = sandbox.kakao.messages[16:]
    assert len(digests) == 2
    assert all("17 updates kept for you" in each.text for each in digests)
    assert max(sandbox.kakao.sent_by_day.values()) <= 20


def test_epochs_leave_eight_messages_for_endings_and_alerts(
    jobs: list[Job], sandbox: Sandbox, clock: FakeClock
) -> None:
    resnet, unet = jobs
    for number in range(30):
        resnet.tell(epoch(number, resnet.run, at=clock.now()))
        clock.advance(900)

    assert len(sandbox.kakao.messages) == 12
    unet.tell(*(alert(f"look {number}", unet.run, at=clock.now()) for number in range(8)))
    assert len(sandbox.kakao.messages) == 16
    unet.tell(*(ended(RunRef(f"run-{number}", "net", "default", "s1"), at=clock.now()) for number in range(5)))
    assert len(sandbox.kakao.messages) == 20


def test_kakao_itself_never_says_that_a_quota_is_used_up(
    jobs: list[Job], sandbox: Sandbox, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Days of chatter: no -532, -533, -536 or -10, and everything urgent is told or in a digest."""
    chance = Random(11)
    for _ in range(90):
        job = chance.choice(jobs)
        make = chance.choice([epoch, alert])
        job.tell(epoch(1, job.run, at=clock.now()) if make is epoch else alert("look", job.run, at=clock.now()))
        clock.advance(chance.choice([60, 1200, 6000]))

    assert max(sandbox.kakao.sent_by_day.values()) == 16
    assert "cannot be reached now" not in caplog.text
