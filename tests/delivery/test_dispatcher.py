"""One pass: what is sent, held, retried, given up, and told elsewhere."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import update

from notifybot.cli.explain import fate_of
from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.errors import PermanentError, TemporaryError
from notifybot.events import KINDS
from notifybot.i18n import text
from notifybot.notifiers.kakao.notifier import KakaoTalk
from notifybot.notifiers.slack import SlackBot, SlackWebhook
from notifybot.notifiers.webhook import Webhook
from notifybot.policy import Pace, PaceFacts
from notifybot.preferences import tables_from
from notifybot.rendering import Renderer
from notifybot.rendering.error_text import brief_reason, reason_line
from notifybot.store import dead_letters
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.store.schema import events
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import Language, Reason
from tests.support.store_events import RUN, alert, ended, epoch, started


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield opened


class Desk:
    """A recorder and a dispatcher over the same notifiers."""

    def __init__(
        self, store: Store, clock: FakeClock, *notifiers: RecordingNotifier, language: Language = Language.EN
    ) -> None:
        self.recorder = Recorder(store, notifiers, direct=True)
        self.outbox = Outbox(store)
        self.dispatcher = Dispatcher(self.outbox, notifiers, Renderer(language), clock=clock, rng=Random(7))
        self.clock = clock

    def drain(self, notifier: RecordingNotifier, *, limit: int = 100) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while len(outcomes) < limit:
            outcomes.append(self.dispatcher.run_once(notifier.key))
            if outcomes[-1] in (Outcome.IDLE, Outcome.HELD, Outcome.RETRY):
                break
        return outcomes


def test_an_event_is_rendered_sent_and_marked(store: Store, clock: FakeClock) -> None:
    slack = RecordingNotifier("slack")
    desk = Desk(store, clock, slack)
    desk.recorder.record(started())

    assert desk.drain(slack) == [Outcome.SENT, Outcome.IDLE]
    assert "resnet" in slack.sent[0].message.title
    assert desk.outbox.counts()[slack.key].sent == 1


def test_a_temporary_fault_blocks_the_lane_and_keeps_the_order(store: Store, clock: FakeClock) -> None:
    slack = RecordingNotifier("slack", failures=[TemporaryError("down")] * 4)
    desk = Desk(store, clock, slack)
    for event in (started(), alert("one"), alert("two")):
        desk.recorder.record(event)

    for _ in range(50):
        desk.drain(slack)
        clock.advance(60)

    assert [getattr(each.event, "title", "start") for each in slack.sent] == ["start", "one", "two"]


def test_a_start_is_not_told_after_the_ending_of_its_run(store: Store, clock: FakeClock) -> None:
    """Refused time and again it no longer goes first, and then there is nothing left to say."""
    slack = RecordingNotifier("slack", failures=[TemporaryError("500", ambiguous=True)] * 3)
    desk = Desk(store, clock, slack)
    for event in (started(), ended(), started(attempt=2)):
        desk.recorder.record(event)

    for _ in range(60):
        desk.drain(slack)
        clock.advance(60)

    assert [getattr(each.event, "attempt", "end") for each in slack.sent] == ["end", 2]
    assert desk.outbox.counts()[slack.key].dropped == 1


def test_nothing_is_tried_before_retry_after(store: Store, clock: FakeClock) -> None:
    slack = RecordingNotifier("slack", failures=[TemporaryError("429", retry_after_s=7)])
    desk = Desk(store, clock, slack)
    desk.recorder.record(alert())
    assert desk.drain(slack) == [Outcome.RETRY]

    clock.advance(6.9)
    assert desk.drain(slack) == [Outcome.HELD]
    clock.advance(0.2)
    assert desk.drain(slack) == [Outcome.SENT, Outcome.IDLE]


def test_a_lane_that_is_down_is_tried_once_a_minute_whatever_waits(store: Store, clock: FakeClock) -> None:
    """R5: the whole lane is one probe, not each of its messages."""
    slack = RecordingNotifier("slack", failures=[TemporaryError("500", ambiguous=True)] * 500)
    desk = Desk(store, clock, slack)
    for number in range(50):
        desk.recorder.record(alert(str(number)))

    for _ in range(3600):
        desk.drain(slack)
        clock.advance(1)

    assert 60 <= slack.tries <= 67


@pytest.mark.parametrize("fault", [TemporaryError("refused"), TemporaryError("503", ambiguous=True)], ids=str)
@pytest.mark.parametrize("outage_s", [1, 20, 45, 75, 600])
def test_after_an_outage_all_goes_out_within_a_minute_and_in_order(
    store: Store, clock: FakeClock, outage_s: int, fault: TemporaryError
) -> None:
    """D1: the start, the alerts and the ending follow the first probe that gets through; the epochs fold into it."""
    slack = RecordingNotifier("slack", failures=[fault] * 200)
    desk = Desk(store, clock, slack)
    for event in (started(), epoch(0), alert("one"), epoch(1), alert("two"), ended()):
        desk.recorder.record(event)
    for _ in range(outage_s):
        desk.drain(slack)
        clock.advance(1)
    assert slack.sent == []

    slack.failures.clear()
    waited_s = 0
    while desk.drain(slack)[-1] is not Outcome.IDLE:
        clock.advance(1)
        waited_s += 1

    assert waited_s <= 60
    told = [getattr(each.event, "title", each.event.kind) for each in slack.sent]
    urgent = ["one", "two", "run_ended"]
    if fault.ambiguous:  # what was answered so may be a message's own fault: others are tried in between
        assert sorted(told) in (sorted(urgent), sorted([*urgent, "run_started"]))
    else:
        assert told == ["run_started", *urgent]


def test_a_notifier_that_is_known_to_be_back_is_tried_at_once_but_not_before_its_own_word(
    store: Store, clock: FakeClock
) -> None:
    """At exit, and when its host answers another request; Retry-After stands."""
    slack = RecordingNotifier("slack", failures=[TemporaryError("down")] * 9)
    desk = Desk(store, clock, slack)
    desk.recorder.record(alert("first"))
    for _ in range(90):
        desk.drain(slack)
        clock.advance(1)
    slack.failures[:] = [TemporaryError("429", retry_after_s=20)]
    desk.dispatcher.retry_now(slack.key)
    assert desk.drain(slack) == [Outcome.RETRY]

    desk.dispatcher.retry_now(slack.key)

    clock.advance(19)
    assert desk.drain(slack) == [Outcome.HELD]
    clock.advance(1)
    assert desk.drain(slack)[0] is Outcome.SENT


def test_a_refused_message_is_a_dead_letter_and_the_next_goes_on(store: Store, clock: FakeClock) -> None:
    slack, kakao = RecordingNotifier("slack", failures=[PermanentError("no_service")]), RecordingNotifier("kakao")
    desk = Desk(store, clock, slack, kakao)
    desk.recorder.record(alert("first"))
    desk.recorder.record(alert("second"))

    assert desk.drain(slack) == [Outcome.DEAD, Outcome.SENT, Outcome.IDLE]
    desk.drain(kakao)

    assert slack.tries == 2
    titles = [each.event.title for each in kakao.sent if each.event.kind == "alert_raised"]
    assert titles == ["first", "second", "slack did not take a message"]


def test_a_dead_letter_about_a_dead_letter_is_not_told(store: Store, clock: FakeClock) -> None:
    slack = RecordingNotifier("slack", failures=[PermanentError("gone")] * 9)
    kakao = RecordingNotifier("kakao", failures=[PermanentError("gone too")] * 9)
    desk = Desk(store, clock, slack, kakao)
    desk.recorder.record(alert())

    for _ in range(5):
        desk.drain(slack)
        desk.drain(kakao)

    assert desk.outbox.counts()[slack.key].put + desk.outbox.counts()[kakao.key].put <= 4


_FIRST = {
    Language.EN: "slack did not take a message of {run} (start): {why}",
    Language.KO: "slack에 {run}의 알림을 보내지 못했습니다(시작): {why}",
}
_REST = {
    Language.EN: "{number} messages of {run} could not be sent to slack: {why}. "
    "Once that is mended: notifybot outbox retry --all",
    Language.KO: "slack에 {run}의 알림 {number}건을 보내지 못했습니다: {why}. "
    "해결한 뒤 다시 보내려면: notifybot outbox retry --all",
}


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "notifybot"]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("runs", [1, 2])
@pytest.mark.parametrize("ends", [True, False], ids=["with the run", "with the process"])
def test_what_is_given_up_is_said_once_for_a_run_and_counted_at_its_end(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture, language: Language, runs: int, ends: bool
) -> None:
    slack = RecordingNotifier("slack", failures=[PermanentError("no", service="slack", code="invalid_auth")] * 99)
    desk = Desk(store, clock, slack, language=language)
    both = [replace(RUN, id=f"run-{number}", name=f"resnet-{number}") for number in range(runs)]
    for each in both:
        desk.recorder.record(started(each))
    for number in range(20):
        for each in both:
            desk.recorder.record(epoch(number, each, at=clock.now()))
            desk.drain(slack)
        clock.advance(60)
    if ends:
        for each in both:
            desk.recorder.record(ended(each))
        desk.drain(slack)
    desk.dispatcher.sum_up()

    why = reason_line(Reason("slack.invalid_auth"), language)
    brief = brief_reason(Reason("slack.invalid_auth"), language)
    names, number = [each.name for each in both], 22 if ends else 21
    assert said(caplog) == [
        *(_FIRST[language].format(run=name, why=why) for name in names),
        *(_REST[language].format(run=name, number=number, why=brief) for name in names),
    ]
    assert why.startswith(f"Slack: {brief}")
    assert len(why) > len(brief) + 50, "the way out is said where there is time for it"
    assert all(desk.dispatcher.has_logged(each, "slack.invalid_auth") for each in both)
    assert not desk.dispatcher.has_logged(replace(RUN, session="next"), "slack.invalid_auth")


def test_each_reason_is_said_for_itself_and_one_message_is_not_counted(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour of the one, then the other."""
    slack = RecordingNotifier("slack", failures=[PermanentError("first")] * 3 + [PermanentError("second")])
    desk = Desk(store, clock, slack)
    for number in range(4):
        desk.recorder.record(alert(str(number)))
    desk.recorder.record(ended())

    desk.drain(slack)
    desk.dispatcher.sum_up()

    assert said(caplog) == [
        "slack did not take a message of resnet (alert): first",
        "slack did not take a message of resnet (alert): second",
        _REST[Language.EN].format(run="resnet", number=3, why="first"),
    ]


def test_what_is_given_up_after_the_count_was_said_is_in_the_next(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    slack = RecordingNotifier("slack", failures=[PermanentError("gone")] * 9)
    desk = Desk(store, clock, slack)
    for each in (started(), ended(), None, alert("one"), alert("two"), None):
        if each is not None:
            desk.recorder.record(each)
        else:
            desk.drain(slack)

    assert said(caplog)[1:] == [_REST[Language.EN].format(run="resnet", number=each, why="gone") for each in (2, 4)]


def test_a_service_that_never_ends_counts_only_so_many_runs(
    store: Store, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The count that makes room is said before it goes."""
    slack = RecordingNotifier("slack", failures=[PermanentError("gone")] * 999)
    desk = Desk(store, clock, slack)
    most = 256
    for number in range(most + 1):
        run = replace(RUN, id=f"run-{number}", name=f"run {number}")
        for _ in range(2 if number == 0 else 1):
            desk.recorder.record(alert(run=run))
    desk.drain(slack, limit=999)

    assert _REST[Language.EN].format(run="run 0", number=2, why="gone") == said(caplog)[-2]
    assert not desk.dispatcher.has_logged(replace(RUN, id="run-0"), "noted")
    assert desk.dispatcher.has_logged(replace(RUN, id=f"run-{most}"), "noted")


@pytest.mark.parametrize("language", Language)
def test_every_kind_of_message_has_a_word_for_one_of_it(language: Language) -> None:
    assert {text(language, f"delivery.one_of.{kind}").count(".") for kind in KINDS} == {0}
    assert {text(language, f"delivery.kinds.{kind}").count(".") for kind in KINDS} == {0}


def test_a_plugin_that_raises_anything_is_given_up_after_five_tries(store: Store, clock: FakeClock) -> None:
    slack = RecordingNotifier("slack", failures=[ZeroDivisionError("bug")] * 50)
    desk = Desk(store, clock, slack)
    desk.recorder.record(alert())

    for _ in range(600):
        desk.drain(slack)
        clock.advance(60)

    assert slack.tries == 5
    assert "ZeroDivisionError" in dead_letters.find_all(store)[0].error


def test_a_mistake_of_ours_gives_no_message_up_and_holds_up_no_other(store: Store, clock: FakeClock) -> None:
    """What is raised before a message goes to the plugin is none of the message's fault."""

    class Unsure(RecordingNotifier):
        faults = 40

        @property
        def left_today(self) -> int:
            self.faults -= 1
            if self.faults >= 0:
                raise ZeroDivisionError
            return 99

    slack = Unsure("slack")
    desk = Desk(store, clock, slack)
    desk.recorder.record(alert("one"))
    desk.recorder.record(alert("two"))

    for _ in range(50):
        desk.drain(slack)
        clock.advance(60)

    assert {each.message.title.split()[-1] for each in slack.sent} == {"one", "two"}


def test_what_cannot_be_read_any_more_is_given_up_and_holds_up_nothing(store: Store, clock: FakeClock) -> None:
    """After a step back to an older notifybot, say."""
    slack = RecordingNotifier("slack")
    desk = Desk(store, clock, slack)
    desk.recorder.record(alert("one"))
    with store.transaction() as connection:
        connection.execute(update(events).values(body='{"kind": "of a later version"}'))
    desk.recorder.record(alert("two"))

    assert desk.drain(slack) == [Outcome.SENT, Outcome.IDLE]
    assert [getattr(each.event, "title", "") for each in slack.sent] == ["two"]
    assert [each.reason.code for each in dead_letters.find_all(store)] == ["held.unreadable"]
    assert desk.outbox.counts()[slack.key].conserved


def test_epoch_messages_keep_their_gap_and_tell_how_many_were_folded(store: Store, clock: FakeClock) -> None:
    slack = RecordingNotifier("slack", Pace(progress_gap_s=60))
    desk = Desk(store, clock, slack)
    for number in range(10):
        desk.recorder.record(epoch(number, at=clock.now()))
        desk.drain(slack)
        clock.advance(10)

    told = [(each.event.progress.epoch, each.skipped) for each in slack.sent]
    assert told == [(0, 0), (6, 5)]


_PACES = {
    "slack bot": SlackBot.pace,
    "slack webhook": SlackWebhook.pace,
    "kakao": KakaoTalk.pace,
    "apprise": Pace(gap_s=1.0, progress_gap_s=300.0),
    "webhook": Webhook.pace,
}
_A_DAY = "up to 12 a day"
_THE_REST = f"{_A_DAY}, the rest in one"


@pytest.mark.parametrize(
    ("every", "told", "words"),
    [
        pytest.param(
            "auto",
            {"slack bot": 40, "slack webhook": 20, "kakao": 2, "apprise": 4, "webhook": 40},
            ("at most every 1 min", f"at most every 15 min, {_A_DAY}"),
            id="auto",
        ),
        *(
            pytest.param(
                every,
                dict.fromkeys(_PACES, 40) | {"kakao": 12},
                ("each epoch", f"each epoch, {_THE_REST}"),
                id=every,
            )
            for every in ("1 epochs", "1 epoch", "1 에포크")
        ),
        pytest.param(
            "2 epochs",
            dict.fromkeys(_PACES, 20) | {"kakao": 12},
            ("every 2 epochs", f"every 2 epochs, {_THE_REST}"),
            id="2 epochs",
        ),
        pytest.param(
            "5 epochs", dict.fromkeys(_PACES, 8), ("every 5 epochs", f"every 5 epochs, {_THE_REST}"), id="5 epochs"
        ),
        pytest.param(
            "1 s",
            dict.fromkeys(_PACES, 40) | {"kakao": 12},
            ("at most every 1 s", f"at most every 1 s, {_A_DAY}"),
            id="1 s",
        ),
        pytest.param(
            "10 min",
            dict.fromkeys(_PACES, 2),
            ("at most every 10 min", f"at most every 10 min, {_A_DAY}"),
            id="10 min",
        ),
    ],
)
def test_as_many_of_forty_epochs_are_told_as_were_chosen_and_the_explanation_says_so(
    store: Store, clock: FakeClock, every: str, told: dict[str, int], words: tuple[str, str]
) -> None:
    """Epochs of half a minute each, in a day of which nothing is spent."""
    chosen = tables_from({"any": {"every": every}}).of("any")
    notifiers = [RecordingNotifier(name, pace.with_preferences(chosen)) for name, pace in _PACES.items()]
    desk = Desk(store, clock, *notifiers)
    for number in range(40):
        desk.recorder.record(epoch(number, at=clock.now()))
        for each in notifiers:
            desk.drain(each)
        clock.advance(30)

    assert {each.name: len(each.sent) for each in notifiers} == told
    explained = {each.name: fate_of(each.pace, epoch(0), PaceFacts(), clock.now(), Language.EN) for each in notifiers}
    assert (explained["slack webhook"].why, explained["kakao"].why) == words


def test_waiting_epochs_give_way_to_the_ending(store: Store, clock: FakeClock) -> None:
    slack = RecordingNotifier("slack", Pace(progress_gap_s=60))
    desk = Desk(store, clock, slack)
    for event in (epoch(0), epoch(1), epoch(2), ended()):
        desk.recorder.record(event)

    desk.drain(slack)
    clock.advance(600)
    desk.drain(slack)

    assert slack.kinds == ["run_ended"]
    assert desk.outbox.counts()[slack.key].pending == 0


def test_the_daily_budget_keeps_its_reserve_for_urgent_messages(store: Store, clock: FakeClock) -> None:
    kakao = RecordingNotifier("kakao", Pace(daily_budget=5, reserved=2))
    desk = Desk(store, clock, kakao)
    for number in range(6):
        desk.recorder.record(epoch(number))
        desk.drain(kakao)
    for number in range(4):
        desk.recorder.record(alert(str(number)))
        desk.drain(kakao)
    desk.recorder.record(ended())
    desk.drain(kakao)

    assert kakao.kinds == ["epoch_finished"] * 3 + ["alert_raised", "run_ended"]
    clock.advance(24 * 3600)
    desk.drain(kakao)
    desk.drain(kakao)
    assert [getattr(each.event, "title", "") for each in kakao.sent[5:]] == ["3 updates kept for you"]
    assert desk.outbox.counts()[kakao.key].pending == 0


def test_a_busy_store_keeps_events_in_memory_and_in_order(tmp_path: Path, store: Store, clock: FakeClock) -> None:
    slack = RecordingNotifier("slack")
    desk = Desk(store, clock, slack)
    with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert desk.recorder.record(started()) is False
        assert desk.recorder.record(alert("one")) is False
        other.execute("ROLLBACK")

    assert desk.recorder.flush()
    desk.drain(slack)

    assert slack.kinds == ["run_started", "alert_raised"]


def test_a_superseded_session_tells_people_nothing_more_but_the_watchdog(store: Store, clock: FakeClock) -> None:
    """A newer process speaks for the run; another session in the same process is not meant."""
    slack, relay = RecordingNotifier("slack"), RecordingNotifier("watchdog")
    desk = Desk(store, clock, slack, relay)
    desk.recorder.record(started())
    desk.recorder.mute_session(RUN)
    desk.recorder.mute_session(RUN)
    desk.recorder.record(alert())
    desk.recorder.record(alert("mine", replace(RUN, session="s2")))

    desk.drain(slack)
    desk.drain(relay)

    assert [getattr(each.event, "title", "start") for each in slack.sent] == ["start", "mine"]
    assert [getattr(each.event, "title", "start") for each in relay.sent] == ["start", "look", "mine"]


def test_nobody_is_woken_for_an_epoch_that_waits_for_its_turn_anyway(store: Store, clock: FakeClock) -> None:
    """Until the gap is over; another run's epoch, and whatever is no epoch, is work at once."""
    slack = RecordingNotifier("slack", Pace(progress_gap_s=60))
    desk = Desk(store, clock, slack)
    other = replace(RUN, id="run-2")
    for event in (started(), epoch(1)):
        desk.recorder.record(event)
    desk.drain(slack)
    clock.advance(10)
    desk.recorder.record(epoch(2, at=clock.now()))
    assert not desk.dispatcher.would_wait(slack.key, epoch(3))

    assert desk.drain(slack)[-1] is Outcome.HELD

    assert desk.dispatcher.would_wait(slack.key, epoch(3))
    assert not desk.dispatcher.would_wait(slack.key, epoch(3, other))
    assert not desk.dispatcher.would_wait(slack.key, alert())
    clock.advance(50)
    assert not desk.dispatcher.would_wait(slack.key, epoch(3))


@pytest.mark.parametrize("jump_s", [-3600.0, 86400.0], ids=["an hour back", "a day ahead"])
def test_a_wall_clock_that_jumps_leaves_no_retry_stuck(store: Store, clock: FakeClock, jump_s: float) -> None:
    """What was put off until a moment of the old time goes out when its wait is over, and not before."""
    slack = RecordingNotifier("slack", failures=[TemporaryError("429", retry_after_s=30)])
    desk = Desk(store, clock, slack)
    desk.recorder.record(alert())
    assert desk.drain(slack) == [Outcome.RETRY]
    clock.advance(10)

    clock.jump(jump_s)

    assert desk.drain(slack) == [Outcome.HELD]
    clock.advance(21)
    assert desk.drain(slack)[0] is Outcome.SENT
