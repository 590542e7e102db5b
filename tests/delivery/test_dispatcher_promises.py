"""Whatever people choose: nothing vanishes, what is urgent arrives, nights are quiet, and nothing waits for ever."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.subscription import Subscription
from notifybot.errors import TemporaryError
from notifybot.events import Event
from notifybot.notifiers.base import Envelope
from notifybot.policy import (
    HoldBack,
    Pace,
    PaceFacts,
    Priority,
    admit,
    day_of,
    day_start,
    priority_of,
    severity_of,
    wants,
)
from notifybot.preferences import Preferences, names, tables_from
from notifybot.rendering import Renderer
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.store.runs import record
from notifybot.store.schema import deliveries
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import Language, RunRef, Severity, Status
from tests.support.store_events import alert, ended, epoch, started

BEGIN = datetime(2026, 11, 23, 3, 0, tzinfo=UTC)
ENGLISH = Renderer(Language.EN)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "min_severity": st.sampled_from([each.value for each in Severity]),
        "every": st.sampled_from(["auto", "3 epochs", "10 min", "2 hours"]),
        "quiet": st.sampled_from(
            [
                "23:00-07:00 Asia/Seoul",
                "00:00-23:50 Asia/Seoul",
                "09:30-15:00 UTC",
                "01:30-03:30 America/New_York",
                "off",
            ]
        ),
        "quiet_lets": st.sampled_from([[], ["failures"], ["endings", "failures"], "all"]),
        "daily": st.integers(1, 4),
    },
)
CHOICES = TABLES.map(lambda table: tables_from({"slack": table}).of("slack"))
PACES = st.sampled_from(
    [Pace(progress_gap_s=60), Pace(folds=False), Pace(progress_gap_s=900, daily_budget=20, reserved=8)]
)


@st.composite
def happenings(draw: st.DrawFn) -> list[tuple[float, Event]]:
    """Events of three runs over some days, each with the seconds since the one before."""
    told: list[tuple[float, Event]] = []
    for number in range(draw(st.integers(1, 14))):
        run = RunRef(id=f"run-{draw(st.integers(0, 2))}", name="resnet", project="default", session="s1")
        makers = (
            lambda run=run: started(run), lambda run=run, number=number: epoch(number, run),
            lambda run=run, number=number: epoch(number, run), lambda run=run: alert("look", run),
            lambda run=run: ended(run, status=Status.FAILED), lambda run=run: ended(run),
        )  # fmt: skip
        told.append((draw(st.sampled_from([0.0, 5.0, 700.0, 9_000.0, 40_000.0])), draw(st.sampled_from(makers))()))
    return told


class Phone(RecordingNotifier):
    """Remembers when it rang, and is out of reach now and then."""

    def __init__(self, clock: FakeClock, pace: Pace, unreachable: Sequence[bool]) -> None:
        super().__init__("slack", pace)
        self.clock, self.unreachable, self.rang = clock, list(unreachable), list[tuple[datetime, Envelope]]()

    def send(self, envelope: Envelope) -> None:
        if self.unreachable and self.unreachable.pop():
            raise TemporaryError("no network")
        super().send(envelope)
        self.rang.append((self.clock.now(), envelope))


@dataclass
class World:
    """One process, its notifier, and time."""

    clock: FakeClock
    outbox: Outbox
    recorder: Recorder
    dispatcher: Dispatcher
    key: str

    def live(self, seconds: float) -> None:
        """Let time pass; the delivery thread looks whenever something is due."""
        while True:
            while self.dispatcher.wait_s(self.key) == 0:
                self.dispatcher.run_once(self.key)
            counts = self.outbox.counts().get(self.key)
            assert counts is None or counts.conserved
            if seconds <= 0:
                return
            due_s = self.dispatcher.wait_s(self.key)
            step_s = seconds if due_s is None else min(max(due_s, 1.0), seconds)
            self.clock.advance(step_s)
            seconds -= step_s


def states(outbox: Outbox) -> dict[str, str]:
    """What became of each event's delivery."""
    with outbox.store.transaction() as connection:
        return {row.event_id: row.state for row in connection.execute(select(deliveries))}


@settings(max_examples=40, deadline=None)
@given(CHOICES, PACES, happenings(), st.lists(st.booleans(), max_size=6))
def test_no_choice_loses_what_is_urgent(
    chosen: Preferences, pace: Pace, told: list[tuple[float, Event]], unreachable: list[bool]
) -> None:
    """Endings always, alerts that are severe enough; nothing rings at night unasked, or more than the day allows."""
    with tempfile.TemporaryDirectory() as folder:
        clock = FakeClock(BEGIN)
        with closing(Store.open(Path(folder) / "a.db", clock=clock)) as store:
            phone, outbox = Phone(clock, pace, unreachable), Outbox(store)
            shaped = Subscription(phone, chosen)
            world = World(
                clock, outbox, Recorder(store, [shaped], direct=True),
                Dispatcher(outbox, [shaped], ENGLISH, clock=clock, rng=Random(7)), shaped.key,
            )  # fmt: skip
            for gap_s, event in told:
                world.live(gap_s)
                world.recorder.record(event)
            world.live(4 * 86_400)

            fates = states(outbox)
            urgent = [each for _, each in told if priority_of(each) is Priority.URGENT and wants(shaped.pace, each)]
            assert {each.id: fates[each.id] for each in urgent} == {each.id: "sent" for each in urgent}
            assert "pending" not in fates.values()
            assert "dead" not in fates.values()
    _nights_are_quiet(phone, chosen, told)
    _days_are_within_budget(phone, shaped.pace)


def _nights_are_quiet(phone: Phone, chosen: Preferences, told: list[tuple[float, Event]]) -> None:
    by_id = {event.id: event for _, event in told}
    for at, envelope in phone.rang:
        if chosen.quiet is not None and chosen.quiet.covers(at):
            assert names(chosen.quiet_lets, by_id[envelope.event.id]), f"{envelope.event.kind} at {at}"


def _days_are_within_budget(phone: Phone, pace: Pace) -> None:
    if pace.daily_budget is not None:
        days = Counter(day_of(at) for at, _ in phone.rang)
        assert max(days.values(), default=0) <= pace.daily_budget


@given(CHOICES, PACES, st.integers(0, 3 * 86_400), st.integers(0, 30), st.booleans())
def test_a_hold_ends_within_two_days(chosen: Preferences, pace: Pace, second: int, today: int, urgent: bool) -> None:
    """Whoever is told to ask again later is let through at some time, if nothing else was told meanwhile."""
    shaped, event = pace.with_preferences(chosen), ended() if urgent else started()
    begin = now = BEGIN + timedelta(seconds=second)
    verdict: Any = admit(shaped, event, PaceFacts(today=today), now=now)
    while isinstance(verdict, HoldBack):
        assert verdict.until > now
        now = verdict.until
        used = today if day_start(now) == day_start(begin) else 0
        verdict = admit(shaped, event, PaceFacts(today=used, kept_back=True), now=now)

    assert verdict is None
    assert now - begin <= timedelta(days=2)


@given(CHOICES, PACES, st.sampled_from([started(), epoch(1), alert(), ended(), ended(status=Status.FAILED)]))
def test_only_an_explicit_choice_leaves_out_an_ending(chosen: Preferences, pace: Pace, event: Event) -> None:
    """No severity, budget or hour does; an alert has a severity of its own, by which it may be left out."""
    told = wants(pace.with_preferences(chosen), event)

    if event.kind == "run_ended":
        assert told
    if event.kind == "alert_raised":
        assert told is (severity_of(event).rank >= chosen.min_severity.rank)


def test_the_model_above_can_tell_a_loss(tmp_path: Path) -> None:
    """A delivery that stays pending, and one that was refused, are seen as such."""
    with Store.open(tmp_path / "a.db") as store:
        waiting = ended()
        record(store, waiting, [("slack:00000000", Priority.URGENT)])
        assert states(Outbox(store)) == {waiting.id: "pending"}
