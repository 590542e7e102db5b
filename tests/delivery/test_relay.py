"""A run that tells people itself and is watched from outside: one root message and one thread, whoever speaks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.relay import WatchdogRelay
from notifybot.events import AlertRaised, EpochFinished, Event, RunEnded, RunStarted
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.slack import SlackBot
from notifybot.policy import Priority
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.http import Request, Response
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, SlackMessage
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.heartbeats import Beat
from notifybot.store.notifier_state import export_for, import_for
from notifybot.store.outbox import Outbox, put
from notifybot.testing import FakeClock
from notifybot.types import Language, Metric, Progress, RunRef, Status, run_key, uuid7
from notifybot.watchdog import tokens
from notifybot.watchdog.service import Watchdog
from notifybot.web.app import create_app

RUN_ID, SILENCE_S, STANDSTILL_S = "run-1", 180, 3700
RUN_KEY = run_key("vision", RUN_ID)


class Desk:
    """An outbox that is worked by hand."""

    def __init__(self, store: Store, clock: FakeClock, *notifiers: Notifier) -> None:
        self.store = store
        self._clock = clock
        self._keys = [each.key for each in notifiers]
        self._dispatcher = Dispatcher(Outbox(store), notifiers, Renderer(Language.EN), clock=clock, rng=Random(7))

    def deliver(self) -> None:
        """Send all that waits, notifier by notifier."""
        for key in self._keys:
            while self._dispatcher.run_once(key) is not Outcome.IDLE:
                self._clock.advance(1)


class Line(Sandbox):
    """The way to the watchdog: what comes in over the socket goes to the real application."""

    def __init__(self, watchdog: Watchdog, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self._client = TestClient(create_app(watchdog), base_url="http://watchdog.example")

    def answer(self, request: Request) -> Response:
        headers = {"authorization": request.headers["authorization"]}
        answer = self._client.post(request.path, content=request.body, headers=headers)
        return Response(answer.status_code, answer.content, dict(answer.headers) | {"Content-Type": "application/json"})


class World:
    """Slack, a watchdog with a bot of its own, and processes that have the same bot."""

    def __init__(self, folder: Path, clock: FakeClock, slack: Sandbox) -> None:
        self.clock, self.slack, self._folder = clock, slack, folder
        self._stores = [Store.open(folder / "watchdog.db", clock=clock, patience_s=2.0)]
        (store,) = self._stores
        self.watchdog = Watchdog(store, notifiers=[self.bot()])
        self.token = tokens.create(store, "vision")
        self.desk = Desk(store, clock, self.bot())
        self.line = Line(self.watchdog, clock)

    def bot(self, channel: str = CHANNEL) -> SlackBot:
        return SlackBot(BOT_TOKEN, channel, api_url=f"{self.slack.url}/api/", timeout_s=1, clock=self.clock)

    def process(self, machine: str = "colab-1", bot: SlackBot | None = None) -> Process:
        self._stores.append(Store.open(self._folder / f"{machine}.db", clock=self.clock))
        return Process(self, self._stores[-1], bot or self.bot())

    def close(self) -> None:
        for store in self._stores:
            store.close()

    def watch(self, seconds: int) -> None:
        """Let time pass and the watchdog tell what it finds."""
        for _ in range(0, seconds, 5):
            self.clock.advance(5)
            self.watchdog.listening()
            self.watchdog.scan()
        self.desk.deliver()

    def root(self) -> SlackMessage:
        (root,) = self.slack.slack.roots
        return root

    def headline(self) -> str:
        return str(self.root().blocks[0]["text"]["text"])

    def replies(self) -> list[SlackMessage]:
        return self.slack.slack.thread(self.root().ts)


class Process:
    """A training process: it tells Slack itself, and the watchdog as well."""

    def __init__(self, world: World, store: Store, bot: SlackBot) -> None:
        self._world = world
        self.store = store
        self.run = RunRef(RUN_ID, "resnet", "vision", uuid7(world.clock.now().timestamp()))
        self.superseded: list[str] = []
        relay = WatchdogRelay(
            world.line.url, SecretStr(world.token), direct=True, clock=world.clock, timeouts_s=(2.0, 5.0),
            notifier_state=lambda run_key: export_for(store, run_key),
            on_superseded=lambda run: self.superseded.append(run.session),
        )  # fmt: skip
        self._relay, self._bot = relay, bot
        self._recorder = Recorder(store, [bot, relay], direct=True)
        self._desk = Desk(store, world.clock, bot, relay)
        self._beats = 0

    def start(self, attempt: int = 1) -> None:
        self._tell(RunStarted(**self._fact(), attempt=attempt, total=30, beat_s=30.0))

    def epoch(self, done: int, *, best: str | None = None) -> None:
        progress = Progress(epoch=done, done=done, total=30, metrics={"val_acc": Metric(0.5)})
        self._tell(EpochFinished(**self._fact(), progress=progress, new_best=best))

    def end(self) -> None:
        self._tell(RunEnded(**self._fact(), status=Status.FINISHED))

    def end_unheard(self, *, tell_people: bool) -> RunEnded:
        """End while the watchdog cannot be reached."""
        ending = RunEnded(**self._fact(), status=Status.FINISHED)
        if tell_people:
            assert Recorder(self.store, [self._bot], direct=True).record(ending)
            self._desk.deliver()
        return ending

    def bring(self, ending: RunEnded) -> None:
        """What the next start does first."""
        now = self._world.clock.now()
        with self.store.transaction() as connection:
            runs.record_in(connection, now, ending)
            put(connection, now, ending.id, ending.run.id, [(self._relay.key, Priority.URGENT)])
        self._desk.deliver()

    def alert(self, title: str) -> None:
        self._tell(AlertRaised(**self._fact(), title=title))

    def mute_session(self) -> None:
        """From now on only the watchdog is told."""
        self._recorder = Recorder(self.store, [self._relay], direct=True)

    def beat(self, **more: Any) -> str:
        self._beats += 1
        run = {"id": RUN_ID, "name": "resnet", "project": "vision", "session": self.run.session}
        body = {"run": run, "seq": self._beats, "beat_s": 30.0, **more}
        client = TestClient(create_app(self._world.watchdog))
        headers = {"authorization": f"Bearer {self._world.token}"}
        return str(client.post("/api/v1/heartbeats", json=body, headers=headers).json()["state"])

    def _fact(self) -> dict[str, Any]:
        self._world.clock.advance(10)
        now = self._world.clock.now()
        return {"id": uuid7(now.timestamp()), "run": self.run, "at": now}

    def _tell(self, event: Event) -> None:
        assert self._recorder.record(event)
        self._desk.deliver()


@pytest.fixture
def world(tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    with Sandbox(clock=clock) as slack:
        world = World(tmp_path, clock, slack)
        with world.line:
            world.watch(5)
            yield world
        world.close()


def test_a_lost_run_is_told_in_its_own_thread(world: World) -> None:
    """The watchdog edits the root that the process posted, and its reply is broadcast from that thread."""
    process = world.process()
    process.start()
    process.epoch(1)

    world.watch(SILENCE_S)

    assert "lost" in world.headline()
    assert world.replies()[-1].broadcast
    assert world.replies()[-1].thread_ts == world.root().ts


def test_a_stalled_run_is_told_in_its_own_thread_and_so_is_that_it_moves_again(world: World) -> None:
    """Heartbeats go on while the loop hangs; then an epoch ends."""
    process = world.process()
    process.start()
    process.epoch(1)
    for _ in range(STANDSTILL_S // 30):
        process.beat()
        world.watch(30)
    assert "stalled" in world.headline()

    process.epoch(2)
    world.desk.deliver()

    assert [each.broadcast for each in world.replies()] == [False, True, True]


@pytest.mark.parametrize("told", [True, False], ids=["Slack heard of it", "nobody heard of it"])
def test_an_ending_that_comes_late_amends_the_alarm(world: World, told: bool) -> None:
    """The process could not reach the watchdog before it was gone: the next start brings its ending along."""
    process = world.process()
    process.start()
    process.epoch(1)
    ending = process.end_unheard(tell_people=told)
    world.watch(SILENCE_S)
    assert "lost" in world.headline()

    process.bring(ending)
    world.desk.deliver()

    assert "finished" in world.headline()
    assert "finished" in world.replies()[-1].text
    assert world.replies()[-1].broadcast
    assert sum("finished" in each.text for each in world.replies()) == (2 if told else 1)


def test_the_resumed_process_goes_on_in_the_root_that_the_watchdog_edited(world: World) -> None:
    """Start, epochs and ending of the second session edit the same root, in order."""
    process = world.process()
    process.start()
    process.epoch(1)
    world.watch(SILENCE_S)

    again = world.process()
    again.start(attempt=2)
    world.desk.deliver()
    again.epoch(2)
    headline = world.headline()
    again.end()

    assert "2/30" in headline
    assert "finished" in world.headline()
    assert [each.broadcast for each in world.replies()] == [False, True, False, True, True]


def test_a_new_machine_goes_on_in_the_same_thread_with_what_it_was_given(world: World) -> None:
    """The database is gone with the machine; what a card in the checkpoint folder holds is enough."""
    process = world.process("colab-1")
    process.start()
    process.epoch(1)
    card = export_for(process.store, RUN_KEY)

    again = world.process("colab-2")
    assert import_for(again.store, RUN_KEY, card) == 1
    again.start(attempt=2)
    again.epoch(2)

    assert "2/30" in world.headline()
    world.watch(SILENCE_S)
    assert "lost" in world.headline()


def test_a_heartbeat_carries_the_place_too(world: World) -> None:
    """In a long first epoch no event follows the start: the root was posted after that had been relayed."""
    process = world.process()
    process.start()
    place = export_for(process.store, RUN_KEY)

    assert process.beat(memories=place) == "running"

    (taken,) = export_for(world.desk.store, RUN_KEY).values()
    assert taken["value"]["root"] == world.root().ts


def test_no_secret_travels(world: World) -> None:
    """What goes to the watchdog is a place in a channel, nothing to get there with."""
    process = world.process()
    process.start()
    process.epoch(1)

    bodies = b"".join(each.body for each in world.line.requests)
    assert world.root().ts.encode() in bodies
    assert b"xoxb" not in bodies
    assert BOT_TOKEN.encode() not in bodies


def test_the_place_travels_only_when_it_has_changed(world: World) -> None:
    """Known is known: while the bot is silent, an event goes alone."""
    process = world.process()
    process.start()
    for done in range(1, 4):
        process.epoch(done)
    process.alert("one")
    process.mute_session()
    process.alert("two")

    carried = [b'"memories"' in each.body for each in world.line.requests]
    assert carried == [True, True, True, True, True, False]


def test_a_place_of_another_bot_or_channel_is_not_taken(world: World) -> None:
    """The watchdog could not edit what another bot posted: it opens a root of its own."""
    process = world.process(bot=world.bot("C0TRAINING"))
    process.start()
    process.epoch(1)

    world.watch(SILENCE_S)

    assert export_for(process.store, RUN_KEY).keys() != export_for(world.desk.store, RUN_KEY).keys()
    assert len(world.slack.slack.roots) == 2


def test_another_projects_run_gets_no_place(world: World) -> None:
    """A token speaks for its own project's runs only, here as everywhere."""
    process = world.process()
    process.start()
    process.epoch(1)
    known = export_for(world.desk.store, RUN_KEY)
    world.token = tokens.create(world.desk.store, "speech")
    forged = {key: kept | {"updated_at": "2030-01-01T00:00:00+00:00"} for key, kept in known.items()}
    body = {"events": [], "memories": {RUN_ID: forged}}
    answer = TestClient(create_app(world.watchdog)).post(
        "/api/v1/events", json=body, headers={"authorization": f"Bearer {world.token}"}
    )

    assert answer.status_code == 200
    assert export_for(world.desk.store, RUN_KEY) == known


def test_two_machines_at_once_are_told_once_and_the_newer_one_counts(world: World) -> None:
    """The cut-off notebook goes on training: it hears that it is superseded, people hear that there are two."""
    old = world.process("colab-1")
    old.start()
    old.epoch(1)
    world.clock.advance(60)
    new = world.process("colab-2")
    import_for(new.store, RUN_KEY, export_for(old.store, RUN_KEY))
    new.start(attempt=2)
    new.epoch(2)
    world.clock.advance(60)

    assert [old.beat(), old.beat(), new.beat()] == ["superseded", "superseded", "running"]
    world.desk.deliver()

    alerts = [each for each in world.replies() if "Two processes" in each.text]
    assert len(alerts) == 1
    assert alerts[0].broadcast


def test_the_relay_says_that_a_newer_process_has_taken_over(world: World) -> None:
    """Once, with the session, so that a process that clears up after a dead one does not think itself meant."""
    old = world.process("colab-1")
    old.start()
    world.clock.advance(60)
    new = world.process("colab-2")
    new.start(attempt=2)

    old.epoch(1)
    old.epoch(2)

    assert old.superseded == [old.run.session]
    assert new.superseded == []


def test_a_beat_has_no_memories_unless_they_are_given() -> None:
    """Old clients do not send them."""
    assert Beat(run=RunRef("r", "n", "p", "s"), seq=1, beat_s=30.0).memories == {}
