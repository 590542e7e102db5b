"""A neighbour has the database at the worst moment: nothing is told twice, given up, or blamed on the service."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from notifybot.clock import SYSTEM
from notifybot.delivery.dispatcher import LEASE_S, Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Worker
from notifybot.errors import StoreError
from notifybot.events import Event
from notifybot.notifiers.slack import SlackBot
from notifybot.rendering import Renderer
from notifybot.sandbox import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock
from notifybot.types import Language
from tests.support.store_events import RUN, alert, ended, epoch, started

ENGLISH = Renderer(Language.EN)
STORY = (started, lambda: epoch(0), alert, ended)


class Contended(Store):
    """A database that is busy when it is asked for the `n`th time, and so often after that."""

    busy_from, busy_times = 10_000, 0
    asked = 0

    @contextmanager
    def transaction(self, **kind: bool) -> Iterator[Any]:
        """To write or, by `snapshot`, to read."""
        self.asked += 1
        if self.busy_from <= self.asked < self.busy_from + self.busy_times:
            raise StoreError("the database did not take a record: database is locked")
        with super().transaction(**kind) as connection:
            yield connection


@contextmanager
def bot_of(sandbox: Sandbox, clock: FakeClock) -> Iterator[SlackBot]:
    with closing(SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", timeout_s=5, clock=clock)) as bot:
        yield bot


def deliver(dispatcher: Dispatcher, key: str, clock: FakeClock) -> int:
    """Deliver all, as the worker does; return how often the database kept a pass from its end."""
    failed = 0
    for _ in range(60):
        try:
            if dispatcher.run_once(key) is Outcome.IDLE:
                return failed
        except StoreError:
            failed += 1
        clock.advance(1)
    raise AssertionError("it never came to an end")


def tell(tmp_path: Path, clock: FakeClock, sandbox: Sandbox, busy_from: int, busy_times: int) -> tuple[int, int]:
    """Tell a run's story while the database is busy from the `n`th question on; return passes lost, and questions."""
    with Contended.open(tmp_path / f"{busy_from}-{busy_times}.db", clock=clock) as store, bot_of(sandbox, clock) as bot:
        assert isinstance(store, Contended)
        recorder = Recorder(store, [bot], direct=True)
        dispatcher = Dispatcher(Outbox(store), [bot], ENGLISH, clock=clock, rng=Random(7))
        before, failed = store.asked, 0
        store.busy_from, store.busy_times = before + busy_from, busy_times
        for make in STORY:
            while not recorder.record(_now(make(), clock)) and not recorder.flush():
                pass
            failed += deliver(dispatcher, bot.key, clock)
        asked, store.busy_times = store.asked - before, 0
        (counts,) = Outbox(store).counts().values()
        assert (counts.pending, counts.dead) == (0, 0)
        return failed, asked


def _now(event: Event, clock: FakeClock) -> Event:
    return replace(event, at=clock.now())


def test_whatever_step_finds_the_database_busy_each_message_is_told_once(
    tmp_path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """D4: one root message, one reply for each milestone, and not a word about Slack."""
    with Sandbox(clock=clock) as sandbox:
        _, questions = tell(tmp_path, clock, sandbox, 10_000, 0)
        expected = [each.text for each in sandbox.slack.messages]
        lost = 0
        for busy_from in range(1, questions + 1):
            sandbox.slack.messages.clear()
            lost += tell(tmp_path, clock, sandbox, busy_from, 2)[0]
            assert [each.text for each in sandbox.slack.messages] == expected, busy_from

    assert lost > questions // 3, "the database was busy in earnest"
    assert "reached" not in caplog.text


def test_what_slack_accepted_is_known_although_it_cannot_be_written_down(tmp_path: Path, clock: FakeClock) -> None:
    """The run goes on in its thread; a process that is killed before it could write posts one more root at most."""
    with Sandbox(clock=clock) as sandbox, bot_of(sandbox, clock) as bot, Store.open(tmp_path / "a.db") as store:
        outbox = Outbox(store)
        Recorder(store, [bot], direct=True).record(started())
        post, held = sandbox.slack._post, sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)

        def post_and_hold(arguments: Any) -> Any:
            held.execute("BEGIN IMMEDIATE")
            return post(arguments)

        sandbox.slack._post = post_and_hold  # type: ignore[method-assign]  # the neighbour comes right after it
        first = Dispatcher(outbox, [bot], ENGLISH, clock=clock)
        for _ in range(2):
            with pytest.raises(StoreError):
                first.run_once(bot.key)
        assert len(sandbox.slack.roots) == 1

        held.execute("ROLLBACK")
        held.close()
        sandbox.slack._post = post  # type: ignore[method-assign]
        assert deliver(first, bot.key, clock) == 0

        assert len(sandbox.slack.roots) == 1
        assert store.memory(bot.key, RUN.project).get(RUN.id)["root"] == sandbox.slack.roots[0].ts
        assert outbox.counts()[bot.key].sent == 1


class Asked(Contended):
    """A database that says when it is asked on behalf of Slack, from the moment on at which that is `awaited`."""

    awaited, asked_for = False, threading.Event()

    @contextmanager
    def transaction(self, **kind: bool) -> Iterator[Any]:
        if self.awaited and threading.current_thread().name == "notifybot-slack":
            self.asked_for.set()
        with super().transaction(**kind) as connection:
            yield connection


@pytest.mark.parametrize("accepted", [1, 2, 3])
def test_a_process_that_ends_while_the_database_is_busy_leaves_a_note_of_what_was_accepted(
    tmp_path: Path, clock: FakeClock, accepted: int
) -> None:
    """The next process of this user takes it up before it sends: one root, and each milestone once."""
    path, notes = tmp_path / "a.db", tmp_path / "a.accepted"
    with Sandbox(clock=clock) as sandbox, bot_of(sandbox, clock) as bot:
        first, held = Asked.open(path, clock=clock), _holder(path)
        assert isinstance(first, Asked)
        first.asked_for = threading.Event()
        post, posts = sandbox.slack._post, iter(range(1, 100))

        def post_and_hold(arguments: Any) -> Any:
            if next(posts) == accepted:
                held.execute("BEGIN IMMEDIATE")
                first.awaited = True
            return post(arguments)

        sandbox.slack._post = post_and_hold  # type: ignore[method-assign]  # the neighbour comes right after it
        recorder = Recorder(first, [bot], direct=True)
        for make in STORY:
            assert recorder.record(_now(make(), clock))
            clock.advance(1)
        worker = Worker(Dispatcher(Outbox(first), [bot], ENGLISH, clock=clock, rng=Random(7)), clock=SYSTEM)
        worker.start()
        while not SYSTEM.wait(first.asked_for, 0.01):
            if not first.awaited:
                clock.advance(1)
        worker.finish(0.01)
        noted = len(list(notes.iterdir()))
        first.close()  # as the process ends
        worker.stop(30.0)
        held.execute("ROLLBACK")
        held.close()
        sandbox.slack._post = post  # type: ignore[method-assign]

        with Store.open(path, clock=clock) as second:
            outbox = Outbox(second, "next")
            clock.advance(LEASE_S)
            assert deliver(Dispatcher(outbox, [bot], ENGLISH, clock=clock), bot.key, clock) == 0
            assert outbox.counts()[bot.key].sent + outbox.counts()[bot.key].dropped == len(STORY)
        replies = [each.text for each in sandbox.slack.messages if each.ts != sandbox.slack.roots[0].ts]

    assert noted == 1
    assert len(sandbox.slack.roots) == 1
    assert [each.split()[0] for each in sorted(replies)] == sorted(["🚀", "⚠️", "✅"])
    assert list(notes.iterdir()) == []


def _opened(folder: Path, clock: FakeClock) -> Store:
    return Store.open(folder / "a.db", clock=clock)


def _holder(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)


def test_no_second_thread_is_opened_while_another_process_tells_of_the_run(tmp_path: Path, clock: FakeClock) -> None:
    """Trainings of a sweep share the database: one may have the start of a run in hand as another one ends it."""
    with Sandbox(clock=clock) as sandbox, bot_of(sandbox, clock) as bot, _opened(tmp_path, clock) as store:
        recorder = Recorder(store, [bot], direct=True)
        one, other = (Dispatcher(Outbox(store, name), [bot], ENGLISH, clock=clock) for name in ("one", "other"))
        post, meanwhile = sandbox.slack._post, []

        def post_meanwhile(arguments: Any) -> Any:
            sandbox.slack._post = post  # type: ignore[method-assign]
            recorder.record(ended())
            meanwhile.append((other.run_once(bot.key), other.wait_s(bot.key)))
            return post(arguments)

        sandbox.slack._post = post_meanwhile  # type: ignore[method-assign]
        recorder.record(started())
        one.run_once(bot.key)
        deliver(other, bot.key, clock)

        assert meanwhile == [(Outcome.IDLE, 0.25)], "it looks again, and not all the time"
        assert len(sandbox.slack.roots) == 1
        assert [each.text.split()[0] for each in sandbox.slack.messages] == ["✅", "🚀", "✅"]


TRAINING = """
import sys
from notifybot import notify_epoch

with notify_epoch(range(4), name=sys.argv[1], progress=False) as epochs:
    for epoch in epochs:
        epochs.log(loss=1 / (epoch + 1))
"""


def test_several_trainings_on_one_state_folder_have_one_root_each(tmp_path: Path) -> None:
    """A sweep on a slow disk: a neighbour has the database most of the time, and each process little of it."""
    names, path = ["one", "two", "three"], tmp_path / "notifybot.db"
    Store.open(path).close()
    with Sandbox() as sandbox:
        settings = {key: value for key, value in sandbox.environment().items() if "SLACK_" in key}
        env = {"NOTIFYBOT_STATE_DIR": str(tmp_path), "NOTIFYBOT_TENSORBOARD": "off", "NOTIFYBOT_PICTURES": "off"}
        env |= {key: value for key, value in settings.items() if "WEBHOOK" not in key}

        def train(name: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", TRAINING, name]
            return subprocess.Popen(command, env={**os.environ, **env}, cwd=tmp_path, stderr=subprocess.DEVNULL)

        with _neighbour(path):
            codes = [each.wait() for each in [train(name) for name in names]]
        for after in ("after", "last", "very-last"):  # bring along what those before had no time for
            names.append(after)
            codes.append(train(after).wait())
            if not _pending(path):
                break
        roots = [each.text for each in sandbox.slack.roots]

    assert codes == [0] * len(names)
    assert sorted(each.split()[1] for each in roots) == sorted(names), roots


def _pending(path: Path) -> int:
    with closing(Store.open(path)) as store:
        return sum(each.pending for each in Outbox(store).counts().values())


@contextmanager
def _neighbour(path: Path) -> Iterator[None]:
    """Somebody else who writes for 0.3 s, and again and again."""
    over = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(path, timeout=60.0, isolation_level=None)) as other:
            while not over.is_set():
                other.execute("BEGIN IMMEDIATE")
                SYSTEM.wait(over, 0.3)
                other.execute("ROLLBACK")
                SYSTEM.wait(over, 0.1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
