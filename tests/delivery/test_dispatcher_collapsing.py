"""Progress news under pressure: the newest message stands for those that waited, and loses nothing worth telling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Worker
from notifybot.errors import PermanentError
from notifybot.events import CheckpointSaved, EpochFinished, Event
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.slack import SlackBot, SlackWebhook
from notifybot.policy import Pace, carry_best
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import Checkpoint, Language, Metric, Progress, RunRef, uuid7
from tests.support.store_events import NOON, RUN, alert, ended, started

OTHER = RunRef(id="run-2", name="vit", project="default", session="s1")


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield opened


def epoch(number: int, value: float, run: RunRef = RUN, *, best: tuple[float, int], at: datetime) -> EpochFinished:
    """An epoch as the hook makes it: with the best so far, and whether this one is it."""
    metric = Metric(value, best=best[0], best_epoch=best[1])
    progress = Progress(epoch=number, done=number + 1, total=100, metrics={"val_acc": metric})
    return EpochFinished(
        id=uuid7(), run=run, at=at, progress=progress, new_best="val_acc" if best[1] == number else None
    )


def checkpoint(number: int, run: RunRef = RUN, *, at: datetime = NOON) -> CheckpointSaved:
    return CheckpointSaved(id=uuid7(), run=run, at=at, checkpoint=Checkpoint(f"ck/{number}.pt", number, 1000))


class Desk:
    """A recorder and a dispatcher; time passes second by second."""

    def __init__(self, store: Store, clock: FakeClock, *notifiers: Notifier) -> None:
        self.clock, self.outbox = clock, Outbox(store)
        self.recorder = Recorder(store, notifiers, direct=True)
        self.dispatcher = Dispatcher(self.outbox, notifiers, Renderer(Language.EN), clock=clock, rng=Random(7))

    def record(self, *events: Event) -> None:
        for event in events:
            assert self.recorder.record(event)

    def step(self, notifier: Notifier) -> None:
        """What the delivery thread does in this second."""
        for _ in range(5):
            if self.dispatcher.run_once(notifier.key) is Outcome.IDLE:
                break

    def wait(self, notifier: Notifier, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            self.step(notifier)


def test_a_folded_epoch_that_was_the_best_is_told_by_the_newest(store: Store, clock: FakeClock) -> None:
    """Epoch 1 was the best and waited; epoch 2 takes its place and carries the news."""
    slack = RecordingNotifier("slack")
    desk = Desk(store, clock, slack)
    for number, value, best in ((0, 0.5, (0.5, 0)), (1, 0.9, (0.9, 1)), (2, 0.7, (0.9, 1))):
        desk.record(epoch(number, value, best=best, at=clock.now()))

    desk.step(slack)

    (sent,) = slack.sent
    assert isinstance(sent.event, EpochFinished)
    assert (sent.event.progress.epoch, sent.event.new_best, sent.skipped) == (2, "val_acc", 2)
    assert sent.event.progress.metrics["val_acc"].best == 0.9


def test_a_best_that_was_folded_in_an_earlier_claim_is_still_told(store: Store, clock: FakeClock) -> None:
    """Held by the gap, the newest is claimed again and again: what each claim folded counts until one is sent."""
    slack = RecordingNotifier("slack", Pace(progress_gap_s=60))
    desk = Desk(store, clock, slack)
    desk.record(epoch(0, 0.5, best=(0.5, 0), at=clock.now()))
    desk.step(slack)
    for number in range(1, 60):
        desk.record(
            epoch(number, 0.9 if number == 7 else 0.1, best=(0.9, 7) if number >= 7 else (0.5, 0), at=clock.now())
        )
        desk.wait(slack, 1)

    desk.wait(slack, 10)

    told = [(each.event.progress.epoch, getattr(each.event, "new_best", None), each.skipped) for each in slack.sent]
    assert told == [(0, "val_acc", 0), (59, "val_acc", 58)]


def test_a_best_is_told_once(store: Store, clock: FakeClock) -> None:
    """The message after the one that told it has nothing new."""
    slack = RecordingNotifier("slack")
    desk = Desk(store, clock, slack)
    desk.record(epoch(0, 0.5, best=(0.5, 0), at=clock.now()), epoch(1, 0.4, best=(0.5, 0), at=clock.now()))
    desk.step(slack)
    desk.record(epoch(2, 0.3, best=(0.5, 0), at=clock.now()), epoch(3, 0.2, best=(0.5, 0), at=clock.now()))

    desk.wait(slack, 2)

    assert [(getattr(each.event, "new_best", None), each.skipped) for each in slack.sent] == [("val_acc", 1), (None, 1)]


def test_another_runs_folded_epochs_are_not_counted(store: Store, clock: FakeClock) -> None:
    """A watchdog tells of many runs through one notifier; each message speaks of its own run."""
    slack = RecordingNotifier("slack")
    desk = Desk(store, clock, slack)
    for number in range(4):
        desk.record(epoch(number, 0.5, best=(0.5, 0), at=clock.now()))
    desk.record(epoch(0, 0.5, OTHER, best=(0.5, 9), at=clock.now()))

    desk.wait(slack, 3)

    assert [(each.event.run.id, each.skipped) for each in slack.sent] == [("run-1", 3), ("run-2", 0)]


def test_a_metric_that_the_newest_epoch_did_not_log_comes_along(clock: FakeClock) -> None:
    """Validation every fifth epoch: the best is in an older one only."""
    folded = epoch(5, 0.9, best=(0.9, 5), at=clock.now())
    newest = replace(folded, progress=Progress(epoch=7, metrics={"loss": Metric(0.1)}), new_best=None)

    told = carry_best(newest, folded)

    assert told.new_best == "val_acc"
    assert told.progress.metrics == {"val_acc": Metric(0.9, best=0.9, best_epoch=5), "loss": Metric(0.1)}
    assert carry_best(folded, newest) is folded


def test_slacks_thread_names_the_epoch_that_was_the_best(store: Store, clock: FakeClock, sandbox: Sandbox) -> None:
    """The reply tells the value and the epoch it was reached in, not those of the message it came with."""
    bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock)
    desk = Desk(store, clock, bot)
    desk.record(started(at=clock.now()))
    desk.step(bot)
    for number, value, best in ((3, 0.91, (0.91, 3)), (4, 0.62, (0.91, 3))):
        desk.record(epoch(number, value, best=best, at=clock.now()))

    desk.wait(bot, 10)

    replies = [each.text for each in sandbox.slack.thread(sandbox.slack.roots[0].ts)]
    assert replies[-1] == "🏆 New best val_acc: 0.91 · epoch 3"


# ── Checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_after_the_end_is_told(store: Store, clock: FakeClock) -> None:
    """A script may save its model when the loop is over; only what is older than the ending is told by that."""
    slack = RecordingNotifier("slack")
    desk = Desk(store, clock, slack)
    later = clock.now() + timedelta(seconds=1)
    desk.record(ended(at=clock.now()), checkpoint(3, at=later), checkpoint(2, at=clock.now() - timedelta(seconds=1)))

    desk.wait(slack, 5)

    told = [getattr(getattr(each.event, "checkpoint", None), "epoch", None) for each in slack.sent]
    assert told == [None, 3]


def test_waiting_checkpoints_of_a_run_fold_into_the_newest(store: Store, clock: FakeClock) -> None:
    """Another run's stay, and so do start and alerts of the same run."""
    slack = RecordingNotifier("slack")
    desk = Desk(store, clock, slack)
    desk.record(started(), checkpoint(1), alert(), checkpoint(2), checkpoint(3), checkpoint(1, OTHER))

    desk.wait(slack, 5)

    told = [(each.event.kind, getattr(getattr(each.event, "checkpoint", None), "epoch", None)) for each in slack.sent]
    assert told == [
        ("run_started", None), ("alert_raised", None), ("checkpoint_saved", 3), ("checkpoint_saved", 1),
    ]  # fmt: skip
    assert desk.outbox.counts()[slack.key].conserved


def test_without_folding_every_checkpoint_is_sent(store: Store, clock: FakeClock) -> None:
    """The watchdog keeps the whole history."""
    relay = RecordingNotifier("watchdog", Pace(folds=False))
    desk = Desk(store, clock, relay)
    desk.record(*[checkpoint(number) for number in range(4)])

    desk.wait(relay, 5)

    assert len(relay.sent) == 4


def test_a_checkpoint_every_second_does_not_starve_the_root_message(
    store: Store, clock: FakeClock, sandbox: Sandbox
) -> None:
    """Epochs are edited in at their own pace, checkpoints are told at theirs."""
    bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=1, clock=clock)
    desk = Desk(store, clock, bot)
    desk.record(started(at=clock.now()))
    for number in range(60):
        desk.record(epoch(number, 0.5, best=(0.5, 0), at=clock.now()), checkpoint(number, at=clock.now()))
        desk.wait(bot, 1)

    (root,) = sandbox.slack.roots
    replies = [each.text for each in sandbox.slack.thread(root.ts) if "checkpoint" in each.text]
    assert 10 <= len(root.revisions) - 1 <= 13  # one in five seconds
    assert 10 <= len(replies) <= 13


def test_a_webhook_says_a_checkpoint_once_in_a_gap(store: Store, clock: FakeClock, sandbox: Sandbox) -> None:
    """A message each, since it can neither edit nor answer: one a minute, the newest."""
    hook = SlackWebhook(sandbox.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"], timeout_s=1, clock=clock)
    desk = Desk(store, clock, hook)
    for number in range(150):
        desk.record(checkpoint(number, at=clock.now()))
        desk.wait(hook, 1)

    assert len(sandbox.slack.messages) == 3
    assert "ck/120.pt" in str(sandbox.slack.messages[-1].revisions)


def test_an_ending_takes_the_place_of_what_waits_of_its_run(store: Store, clock: FakeClock) -> None:
    """It names the last epoch and checkpoint itself, and nobody waits at exit for a gap to pass."""
    slack = RecordingNotifier("slack", Pace(progress_gap_s=60))
    desk = Desk(store, clock, slack)
    desk.record(checkpoint(1), epoch(1, 0.5, best=(0.5, 1), at=clock.now()))
    desk.step(slack)
    desk.record(checkpoint(2), epoch(2, 0.5, best=(0.5, 1), at=clock.now()), checkpoint(1, OTHER), ended())

    desk.wait(slack, 2)

    assert slack.kinds == ["checkpoint_saved", "epoch_finished", "run_ended", "checkpoint_saved"]
    assert desk.outbox.counts()[slack.key].pending == 0


def test_a_resumed_run_counts_from_its_last_ending(store: Store, clock: FakeClock) -> None:
    """What the ending stood for is told: the first epoch after a resume does not count it again."""
    slack = RecordingNotifier("slack")
    desk = Desk(store, clock, slack)
    desk.record(*[epoch(number, 0.5, best=(0.5, 0), at=clock.now()) for number in range(4)], ended(at=clock.now()))
    desk.wait(slack, 2)
    desk.record(started(at=clock.now(), attempt=2), epoch(4, 0.4, best=(0.5, 0), at=clock.now()))
    desk.wait(slack, 2)

    assert [(each.event.kind, each.skipped) for each in slack.sent] == [
        ("run_ended", 0), ("run_started", 0), ("epoch_finished", 0),
    ]  # fmt: skip


def test_an_epoch_kept_back_by_a_budget_stands_for_those_it_replaced(store: Store, clock: FakeClock) -> None:
    """A spent day keeps epochs back; the first one of the next day says how many it stands for."""
    kakao = RecordingNotifier("kakao", Pace(daily_budget=1))
    desk = Desk(store, clock, kakao)
    for number in range(3):
        desk.record(epoch(number, 0.5, best=(0.5, 9), at=clock.now()))
        desk.wait(kakao, 1)
    clock.advance(86_400)
    desk.record(epoch(3, 0.5, best=(0.5, 9), at=clock.now()))
    desk.wait(kakao, 1)

    assert [each.skipped for each in kakao.sent] == [0, 2]


def test_what_delivery_says_of_itself_is_in_the_peoples_language(store: Store, clock: FakeClock) -> None:
    """A dead letter is told on the other notifier in Korean where the messages are."""
    slack, kakao = RecordingNotifier("slack", failures=[PermanentError("no_service")]), RecordingNotifier("kakao")
    desk = Desk(store, clock, slack, kakao)
    desk.dispatcher = Dispatcher(desk.outbox, [slack, kakao], Renderer(Language.KO), clock=clock)
    desk.record(alert())
    desk.step(slack)

    desk.wait(kakao, 2)

    assert getattr(kakao.sent[-1].event, "title", "") == "slack에 알림을 보내지 못했습니다"


def test_the_worker_keeps_house_where_there_is_nobody_to_tell(store: Store, clock: FakeClock) -> None:
    """Without notifiers no thread runs; the flush at a run's end comes by."""
    desk = Desk(store, clock)
    desk.record(started())
    with store.transaction() as connection:
        connection.exec_driver_sql("UPDATE runs SET alive_at = '2020-01-01 00:00:00.000000'")
    worker = Worker(desk.dispatcher, desk.recorder, clock=clock)
    clock.advance(3700)

    assert worker.flush(1.0)

    with store.transaction() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM runs").scalar() == 0
