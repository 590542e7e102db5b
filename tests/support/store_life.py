"""A life of the store as a training gives it: processes that tell, deliver, remember, tidy up, end and begin again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.errors import PermanentError, TemporaryError
from notifybot.events import CheckpointSaved
from notifybot.notifiers.base import Envelope
from notifybot.policy import Pace
from notifybot.rendering import Renderer
from notifybot.store import dead_letters, pruning
from notifybot.store.database import Store
from notifybot.store.held import IN_DIGEST
from notifybot.store.location import local_folder
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import Checkpoint, Language, RunRef, Status, uuid7
from tests.support.disk_log import LoggedDisk
from tests.support.store_events import alert, ended, epoch, started

ENGLISH = Renderer(Language.EN)
BIG_CHARS = 1_000_000  # of a memory: five of them fill the WAL so far that it is tidied
WEEK_S = 8 * 86_400.0

Facts = Mapping[tuple[str, ...], str]
_FACTS = (
    "SELECT 'event', id, kind FROM events",
    # What went out in a digest is known by the digest's own event: the person has noted that.
    f"SELECT 'delivery', notifier, event_id, iif(error = '{IN_DIGEST}', 'in digest', state) FROM deliveries",
    "SELECT 'memory', owner, scope, value FROM memories",
    "SELECT 'run', id, status FROM runs",
    "SELECT 'put', notifier, put FROM tallies",
)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A call has returned, and this is what the store said then."""

    call: str
    facts: Facts


@dataclass(frozen=True, slots=True)
class Received:
    """A person has the message of an event."""

    notifier: str
    event_id: str


def facts_of(store: Store) -> Facts:
    """All that a store says and people rely on, each under its name. Raises StoreError."""
    with store.transaction() as connection:
        rows = [tuple(str(each) for each in row) for query in _FACTS for row in connection.exec_driver_sql(query)]
    return {row[:-1]: row[-1] if len(row[-1]) < 100 else _print_of(row[-1]) for row in rows}


def _print_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def state_path(root: Path) -> Path:
    """Where the database stands, as the hook finds the place: in folders that have to be made first."""
    return local_folder(root / "local" / "state") / "notifybot.db"


class Person(RecordingNotifier):
    """Takes most messages, says when; is out of reach now and then, and refuses one for good now and then."""

    def __init__(self, name: str, pace: Pace, disk: LoggedDisk, rng: Random) -> None:
        super().__init__(name, pace)
        self._disk, self._rng = disk, rng

    def send(self, envelope: Envelope) -> None:
        fate = self._rng.random()
        if fate < 0.15:
            raise TemporaryError("no network")
        if fate < 0.25:
            raise PermanentError(f"no such channel: {self._rng.random()}")
        envelope.memory.put(envelope.event.run.id, {"thread": envelope.event.id})
        self._disk.note(Received(self.key, envelope.event.id))


class Life:
    """Does things at random, one after another, and notes each on the disk as acknowledged when it is done."""

    def __init__(self, disk: LoggedDisk, rng: Random) -> None:
        self._disk, self._rng = disk, rng
        self._clock = FakeClock()
        self._people = [
            Person("slack", Pace(), disk, rng), Person("kakao", Pace(daily_budget=20, reserved=8), disk, rng),
        ]  # fmt: skip
        self._run: RunRef | None = None
        self._count = 0
        self._begin()

    def live(self, days: int) -> None:
        """Let every kind of thing happen each day, in any order."""
        day = (
            *[self._tell] * 30, *[self._deliver] * 30, *[self._remember] * 5, *[self._remember_much] * 6,
            *[self._tidy] * 6, self._mend, self._tell_elsewhere, self._restart, self._forget,
        )  # fmt: skip
        for do in (each for _ in range(days) for each in self._rng.sample(day, len(day))):
            self._clock.advance(self._rng.choice([0.0, 1.0, 90.0]))
            do()
            self._acknowledge(do.__name__)
        self._store.close()

    def _begin(self) -> None:
        self._store = Store.open(state_path(self._disk.root), clock=self._clock, patience_s=5)
        self._outbox = Outbox(self._store)
        self._recorder = Recorder(self._store, self._people, direct=True)
        self._dispatcher = Dispatcher(self._outbox, self._people, ENGLISH, clock=self._clock, rng=self._rng)
        self._acknowledge("open")

    def _acknowledge(self, call: str) -> None:
        before = len(self._disk.log)
        facts = facts_of(self._store)
        assert len(self._disk.log) == before, "looking changed the disk"
        self._disk.note(Acknowledged(call, facts))

    def _next(self) -> RunRef:
        self._count += 1
        if self._run is None:
            self._run = RunRef(id=f"run-{self._count}", name="resnet", project="default", session=uuid7())
            assert self._recorder.record(started(self._run, at=self._clock.now()))
            self._acknowledge("start")
        return self._run

    def _tell(self) -> None:
        run, now, fate = self._next(), self._clock.now(), self._rng.random()
        if fate < 0.6:
            event = replace(epoch(self._count, run, at=now), new_best="loss" if fate < 0.1 else None)
            assert self._recorder.record(event)
        elif fate < 0.8:
            assert self._recorder.record(alert("look", run, at=now))
        elif fate < 0.93:
            saved = CheckpointSaved(id=uuid7(), run=run, at=now, checkpoint=Checkpoint("a.pt", epoch=self._count))
            assert self._recorder.record(saved)
        else:
            assert self._recorder.record(ended(run, at=now, status=self._rng.choice([Status.FINISHED, Status.FAILED])))
            self._run = None

    def _deliver(self) -> None:
        self._dispatcher.run_once(self._rng.choice(self._people).key)

    def _remember(self) -> None:
        self._store.memory("tracker:wandb").put(self._next().id, {"step": self._count})

    def _remember_much(self) -> None:
        text = self._rng.randbytes(BIG_CHARS // 2).hex()
        self._store.memory("tracker:jsonl").put("place", {"count": self._count, "text": text})

    def _tidy(self) -> None:
        self._store.tidy()

    def _mend(self) -> None:
        dead_letters.retry(self._store, [each.id for each in dead_letters.find_all(self._store)])

    def _tell_elsewhere(self) -> None:
        """As a command does that is run beside the training."""
        with closing(Store.open(self._store.path, clock=self._clock, patience_s=5)) as other:
            assert Recorder(other, self._people, direct=True).record(alert("from elsewhere", at=self._clock.now()))

    def _forget(self) -> None:
        self._clock.advance(WEEK_S)
        pruning.prune(self._store)

    def _restart(self) -> None:
        self._store.close()
        self._begin()
