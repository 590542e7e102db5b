"""What was kept back is told in one message when that may go, and nothing of it is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import ClassVar

import pytest

from notifybot.delivery.digest import LIMIT_TEXT
from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.subscription import Subscription
from notifybot.delivery.worker import Worker
from notifybot.errors import PermanentError, TemporaryError
from notifybot.events import AlertRaised, Event
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.notifiers.kakao.message import template_for
from notifybot.notifiers.slack import SlackBot
from notifybot.policy import KST, Pace
from notifybot.preferences import Preferences, tables_from
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.store import dead_letters
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import Language, RunRef, Severity, Status
from tests.support.store_events import RUN, alert, ended, epoch, started

EVENING = datetime(2026, 11, 23, 13, 59, tzinfo=UTC)  # 22:59 in Korea
OTHER = RunRef(id="run-2", name="vit", project="vision", session="s1")
NIGHTLY: dict[str, object] = {"quiet": "23:00-07:00 Asia/Seoul", "quiet_lets": ["failures"]}


def chosen(**settings: object) -> Preferences:
    return tables_from({"slack": settings}).of("slack")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(EVENING)


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield opened


class Desk:
    """A recorder and a dispatcher for one notifier, shaped by what people chose."""

    def __init__(self, store: Store, notifier: RecordingNotifier, *others: Notifier, **settings: object) -> None:
        assert isinstance(store.clock, FakeClock)
        self.clock, self.inner, self.store = store.clock, notifier, store
        self.notifier = Subscription(notifier, chosen(**settings)) if settings else notifier
        self.open(*others)

    def open(self, *others: Notifier, language: Language = Language.EN) -> None:
        """Begin anew, as the next process does."""
        everyone = (self.notifier, *others)
        self.outbox = Outbox(self.store)
        self.recorder = Recorder(self.store, everyone, direct=True)
        self.dispatcher = Dispatcher(self.outbox, everyone, Renderer(language), clock=self.clock, rng=Random(7))

    def record(self, *events: Event) -> None:
        for event in events:
            assert self.recorder.record(event)
            self.drain()

    def drain(self) -> list[Outcome]:
        """What the delivery thread does now."""
        outcomes: list[Outcome] = []
        while Outcome.IDLE not in outcomes and len(outcomes) < 300:
            outcomes.append(self.dispatcher.run_once(self.notifier.key))
            if outcomes[-1] is Outcome.RETRY:
                break
        return outcomes[:-1]

    def until(self, hour: int, minute: int = 0) -> None:
        """Let time pass until the next such moment in Korea, with a look whenever something is due."""
        local = self.clock.now().astimezone(KST)
        then = local.replace(hour=hour, minute=minute, second=0)
        then += timedelta(days=1) if then <= local else timedelta(0)
        while left_s := (then - self.clock.now()).total_seconds():
            due_s = self.dispatcher.wait_s(self.notifier.key)
            self.clock.advance(left_s if due_s is None else min(max(due_s, 1.0), left_s))
            self.drain()

    @property
    def told(self) -> list[str]:
        return [getattr(each.event, "title", each.event.kind) for each in self.inner.sent]

    @property
    def balance(self) -> tuple[int, int, int, int, int]:
        counts = self.outbox.counts()[self.notifier.key]
        assert counts.conserved
        return counts.put, counts.sent, counts.pending, counts.dead, counts.dropped


def tries(store: Store) -> dict[str, set[int]]:
    """How often deliveries were tried, by what became of them."""
    with store.transaction() as connection:
        rows = connection.exec_driver_sql("SELECT state, attempts FROM deliveries").all()
    return {state: {attempts for each, attempts in rows if each == state} for state, _ in rows}


def a_night(desk: Desk) -> None:
    """Two runs train, one ends well, the other warns twice."""
    desk.until(23)
    desk.record(started(), started(OTHER))
    for number in range(40):
        desk.record(epoch(number, at=desk.clock.now()))
    desk.record(alert("validation loss rises", OTHER, at=desk.clock.now()))
    desk.until(2, 30)
    desk.record(epoch(40, at=desk.clock.now()), ended(at=desk.clock.now()))
    desk.record(alert("disk is nearly full", OTHER, at=desk.clock.now()))


def test_a_night_is_told_in_one_message_at_its_end(store: Store) -> None:
    """Counts by kind, every title with its time, nothing before seven."""
    desk = Desk(store, RecordingNotifier("slack"), **NIGHTLY)
    a_night(desk)
    desk.until(6, 59)
    assert desk.told == []

    desk.until(7)

    (sent,) = desk.inner.sent
    assert isinstance(sent.event, AlertRaised)
    assert sent.event.title == "5 updates kept for you"
    assert sent.event.at == desk.clock.now()
    assert sent.event.text.splitlines() == [
        "starts 2 · alerts 2 · endings 1",
        "02:30 ⚠️ vit: disk is nearly full",
        "02:30 ✅ resnet finished",
        "23:00 ⚠️ vit: validation loss rises",
    ]
    assert sent.message.title == "⚠️ 2 runs: 5 updates kept for you"
    assert desk.balance == (46, 5, 0, 0, 41)
    assert tries(store) == {"sent": {1}, "dropped": {0}}


def test_the_newest_epoch_is_told_with_its_figures_and_how_many_there_were(store: Store) -> None:
    """About one run the message is that run's; the epochs folded in the night are counted."""
    desk = Desk(store, RecordingNotifier("slack"), **NIGHTLY)
    desk.until(23)
    desk.record(started(), *(epoch(number, loss=1 / (number + 1)) for number in range(9)))

    desk.until(7)
    desk.record(epoch(9))

    digest, after = desk.inner.sent
    assert isinstance(digest.event, AlertRaised)
    assert digest.event.run == RUN
    assert digest.event.text == "starts 1 · epochs 9\n📈 resnet · epoch 8 (9/10)"
    assert digest.event.progress.metrics["loss"].value == 1 / 9
    assert digest.event.severity is Severity.INFO
    assert (after.event.kind, after.skipped) == ("epoch_finished", 0)


def test_what_is_shown_of_each_run_is_brought_up_to_date(store: Store) -> None:
    """Slack's root message of a run that ended at night says so in the morning; nobody is told twice."""

    class Board(RecordingNotifier):
        shown: ClassVar[list[tuple[str, str]]] = []

        def show_state(self, envelope: Envelope) -> None:
            self.shown.append((envelope.event.run.name, envelope.message.title))
            raise TemporaryError("too many edits")

    desk = Desk(store, Board("slack"), **NIGHTLY)
    a_night(desk)
    desk.until(7)

    assert Board.shown == [("resnet", "✅ resnet finished"), ("vit", "🚀 vit started")]
    assert desk.told == ["5 updates kept for you"]


def at_slack(store: Store, sandbox: Sandbox) -> Desk:
    """A desk whose notifier is the real bot."""
    bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", clock=store.clock)
    return Desk(store, bot, **NIGHTLY)  # type: ignore[arg-type]  # nothing is asked of it but what Slack shows


def in_channel(sandbox: Sandbox) -> list[str]:
    """What stands in the channel for everybody, replies that were broadcast included."""
    return [each.text.splitlines()[0] for each in sandbox.slack.messages if each.thread_ts is None or each.broadcast]


def test_a_digest_of_several_runs_is_one_message_in_slack(store: Store, sandbox: Sandbox) -> None:
    """It is about no run alone, so there is no root for it to be an answer to."""
    desk = at_slack(store, sandbox)
    a_night(desk)
    desk.until(7)

    assert in_channel(sandbox) == ["⚠️ 2 runs: 5 updates kept for you"]
    assert len(sandbox.slack.messages) == 1


def test_a_digest_of_a_run_that_slack_does_not_show_yet_is_one_message_and_stays(
    store: Store, sandbox: Sandbox
) -> None:
    """The run's root comes with its next word, and is another message: an edit does not take the digest away."""
    desk = at_slack(store, sandbox)
    desk.until(23)
    desk.record(started(), *(epoch(number, loss=1 / (number + 1)) for number in range(9)))
    desk.until(7)
    assert in_channel(sandbox) == ["🔔 resnet: 10 updates kept for you"]

    desk.record(epoch(9))
    desk.until(7, 1)

    assert in_channel(sandbox) == ["🔔 resnet: 10 updates kept for you", "📈 resnet · epoch 9 (10/10)"]


def test_a_digest_of_a_run_that_slack_shows_is_one_answer_there(store: Store, sandbox: Sandbox) -> None:
    desk = at_slack(store, sandbox)
    desk.record(started())
    desk.until(23)
    desk.record(epoch(1), alert("one"))

    desk.until(7)

    root, digest = sandbox.slack.roots[0], "⚠️ resnet: 2 updates kept for you"
    assert in_channel(sandbox)[1:] == [digest]
    assert [each.text.splitlines()[0] for each in sandbox.slack.thread(root.ts)][-1] == digest


def test_one_thing_kept_back_is_told_as_itself(store: Store) -> None:
    """A message about one message would say less."""
    desk = Desk(store, RecordingNotifier("slack"), **NIGHTLY)
    desk.until(23)
    desk.record(*(epoch(number) for number in range(9)))

    desk.until(7)

    assert [(each.event.kind, each.skipped) for each in desk.inner.sent] == [("epoch_finished", 8)]


def test_failures_pass_at_once_and_the_rest_follows_in_the_morning(store: Store) -> None:
    desk = Desk(store, RecordingNotifier("slack"), **NIGHTLY)
    desk.until(23)
    desk.record(alert("one", OTHER), alert("two", OTHER), ended(status=Status.FAILED))
    assert desk.told == ["run_ended"]

    desk.until(7)

    assert desk.told == ["run_ended", "2 updates kept for you"]


def test_a_start_is_not_told_after_the_end_of_its_run(store: Store) -> None:
    """The run came and went in the night, and its ending was let through; another's start is told in the morning."""
    desk = Desk(store, RecordingNotifier("slack"), quiet="23:00-07:00 Asia/Seoul")
    desk.until(23)
    desk.record(started(), ended(), started(OTHER))

    desk.until(7)

    assert [(each.event.kind, each.event.run.name) for each in desk.inner.sent] == [
        ("run_ended", "resnet"), ("run_started", "vit"),
    ]  # fmt: skip
    assert desk.balance == (3, 2, 0, 0, 1)
    assert not any(fact.label == "Messages left out" for each in desk.inner.sent for fact in each.message.facts)


def test_a_spent_day_is_told_after_midnight_in_korea(store: Store) -> None:
    """The digest is one message of the new day, whatever it tells of."""
    desk = Desk(store, RecordingNotifier("kakao", Pace(daily_budget=3)))
    desk.record(*(alert(str(number)) for number in range(6)))
    assert desk.told == ["0", "1", "2"]

    desk.until(0)
    desk.record(alert("6"), alert("7"))

    assert desk.told == ["0", "1", "2", "3 updates kept for you", "6", "7"]
    assert desk.balance == (8, 8, 0, 0, 0)


def test_a_service_that_has_nothing_left_is_not_asked(store: Store) -> None:
    """Other jobs sent from the same account: its own count says so before it has to refuse."""

    class Shared(RecordingNotifier):
        left_today = 0

    kakao = Shared("kakao", Pace(daily_budget=20, reserved=8))
    desk = Desk(store, kakao)
    desk.record(alert("one"), alert("two"))
    assert kakao.tries == 0

    kakao.left_today = 20
    desk.until(0)

    assert desk.told == ["2 updates kept for you"]


def test_a_count_that_cannot_be_read_holds_nobody_up(store: Store) -> None:
    class SignedOut(RecordingNotifier):
        @property
        def left_today(self) -> int:
            raise PermanentError("not signed in")

    desk = Desk(store, SignedOut("kakao"))
    desk.record(alert("one"))

    assert desk.told == ["one"]


def test_a_digest_that_does_not_get_through_is_tried_again_as_one(store: Store) -> None:
    """All wait on together: none goes out alone, none is lost, and the outage's rules hold."""
    slack = RecordingNotifier("slack", failures=[TemporaryError("down"), TemporaryError("down", ambiguous=True)])
    desk = Desk(store, slack, **NIGHTLY)
    a_night(desk)

    desk.until(7)
    assert (slack.tries, desk.told, desk.balance[2]) == (1, [], 5)
    desk.until(8)

    assert desk.told == ["5 updates kept for you"]
    assert slack.tries == 3
    assert desk.balance == (46, 5, 0, 0, 41)


def test_a_digest_outlives_an_outage_of_days(store: Store) -> None:
    """It is what people chose to hear later: no age makes it a dead letter."""
    slack = RecordingNotifier("slack", failures=[TemporaryError("down", retry_after_s=100_000)] * 2)
    desk = Desk(store, slack, **NIGHTLY)
    a_night(desk)
    desk.until(7)

    for _ in range(4):
        desk.until(12)

    assert desk.told == ["5 updates kept for you"]
    assert desk.balance[3] == 0


def test_a_refused_digest_is_one_fault_told_once_elsewhere(store: Store) -> None:
    """All that it told of are dead letters with its reason."""
    slack, mail = RecordingNotifier("slack", failures=[PermanentError("no_service")]), RecordingNotifier("mail")
    desk = Desk(store, slack, mail, **NIGHTLY)
    a_night(desk)
    desk.until(7)

    assert desk.balance == (46, 0, 0, 5, 41)
    assert {each.error for each in dead_letters.find_all(store)} == {"no_service"}
    assert tries(store)["dead"] == {1}
    while desk.dispatcher.run_once(mail.key) is not Outcome.IDLE:
        desk.clock.advance(1)
    titles = [getattr(each.event, "title", "") for each in mail.sent]
    assert titles.count("slack did not take a message") == 1
    assert all(each.event.run.id in (RUN.id, OTHER.id) for each in mail.sent)


def test_a_process_that_dies_while_it_sends_leaves_nothing_behind(store: Store) -> None:
    """The next one tells all of it again: a repeat may happen, a loss may not."""

    class Killed(BaseException):
        """What a power cut looks like from within."""

    slack = RecordingNotifier("slack")
    desk = Desk(store, slack, **NIGHTLY)
    a_night(desk)
    slack.failures.append(Killed())  # type: ignore[arg-type]
    with pytest.raises(Killed):
        desk.until(7)

    desk.open()
    desk.until(7, 10)

    assert desk.told == ["5 updates kept for you"]
    assert desk.balance == (46, 5, 0, 0, 41)


def test_a_long_night_is_cut_with_its_number(store: Store) -> None:
    """A hundred alerts do not fit: the latest are named, the others counted."""
    desk = Desk(store, RecordingNotifier("slack"), **NIGHTLY)
    desk.until(23)
    desk.record(*(alert(f"alert number {number}, with rather a long title about it") for number in range(100)))

    desk.until(7)

    (sent,) = desk.inner.sent
    assert isinstance(sent.event, AlertRaised)
    first, newest, *_, last = sent.event.text.splitlines()
    assert first == "alerts 100"
    assert "alert number 99" in newest
    assert last == f"… and {100 - (len(sent.event.text.splitlines()) - 2)} earlier"
    assert len(sent.event.text) <= LIMIT_TEXT
    assert desk.balance[1] == 100


@pytest.mark.parametrize(
    ("language", "lines"),
    [
        (Language.EN, ["starts 2 · alerts 2 · endings 1", "02:30 ⚠️ vit: disk is nearly full"]),
        (Language.KO, ["시작 2 · 알림 2 · 종료 1", "02:30 ⚠️ vit: disk is nearly full"]),
    ],
)
def test_the_phone_shows_counts_and_the_latest_first(store: Store, language: Language, lines: list[str]) -> None:
    """KakaoTalk's few characters hold what matters most."""
    desk = Desk(store, RecordingNotifier("kakao"), **NIGHTLY)
    desk.open(language=language)
    a_night(desk)
    desk.until(7)

    template = template_for(desk.inner.sent[0].message)

    assert template["object_type"] == "text"
    assert "\n".join(lines) in template["text"]
    assert len(template["text"]) <= 200


def test_a_notifier_is_spoken_to_in_its_language(store: Store) -> None:
    """The others keep the language of the settings."""
    slack, mail = RecordingNotifier("slack"), RecordingNotifier("mail")
    desk = Desk(store, slack, mail)
    desk.notifier = Subscription(slack, chosen(lang="ko"), Renderer(Language.KO))
    desk.open(mail)
    desk.record(ended())
    desk.dispatcher.run_once(mail.key)

    assert (slack.sent[0].message.title, mail.sent[0].message.title) == ("✅ resnet 완료", "✅ resnet finished")


def test_epochs_are_told_every_so_many(store: Store) -> None:
    """Each fifth, with the number of those between; the end is told whenever it comes."""
    desk = Desk(store, RecordingNotifier("slack", Pace(progress_gap_s=60)), every="5 epochs")
    for number in range(18):
        desk.record(epoch(number, at=desk.clock.now()))
        desk.clock.advance(1)
    desk.record(ended())

    told = [(each.event.progress.done, each.skipped) for each in desk.inner.sent[:-1]]
    assert told == [(5, 4), (10, 4), (15, 4)]
    assert desk.told[-1] == "run_ended"


def test_a_best_between_two_steps_is_told_at_the_next(store: Store) -> None:
    desk = Desk(store, RecordingNotifier("slack"), every="5 epochs")
    desk.record(epoch(5), replace(epoch(6), new_best="loss"), epoch(7), epoch(9))

    assert [getattr(each.event, "new_best", None) for each in desk.inner.sent] == [None, "loss"]


def test_the_end_of_a_process_does_not_wait_for_the_morning(store: Store) -> None:
    """What is kept back is on disk; flushing returns as soon as all that may go has gone."""
    slack = RecordingNotifier("slack")
    desk = Desk(store, slack, **NIGHTLY)
    desk.until(23)
    worker = Worker(desk.dispatcher, desk.recorder)
    worker.start()
    desk.recorder.record(alert("later"))
    desk.recorder.record(ended(status=Status.FAILED))

    assert worker.flush(30.0)
    worker.stop(30.0)

    assert desk.told == ["run_ended"]
    assert desk.balance[2] == 1
