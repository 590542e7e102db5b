"""Room kept for what is urgent, where the disk is full, and a WAL that does not grow for ever.

The file system is a fake here, at its one call; `tests/processes/test_full_disk.py` has a real one.
"""

from __future__ import annotations

import errno
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest

from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Worker
from notifybot.events import Event
from notifybot.notifiers.base import Envelope
from notifybot.policy import Pace
from notifybot.rendering import Renderer
from notifybot.store import disk_reserve, runs
from notifybot.store.database import CAP_BYTES, Store
from notifybot.store.disk_reserve import TIDY_FROM_BYTES, WAL_BYTES, DiskReserve, FullError
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock, RecordingNotifier
from notifybot.types import Language, Status
from tests.store.test_pruning import bulky
from tests.support.store_events import RUN, alert, ended, epoch, started

LONG_S = 60.0  # far more than it takes, on a machine that has much else to do


class Disk:
    """What a file system answers who asks for blocks: an error while it is full."""

    def __init__(self) -> None:
        self.error = 0
        self.asked: list[int] = []

    def fallocate(self, file: int, size: int) -> int:
        self.asked.append(size)
        return self.error


def wal_bytes(store: Store) -> int:
    return store.path.with_name(f"{store.path.name}-wal").stat().st_size


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(disk_reserve, "_fallocate", lambda: disk.fallocate)
    return disk


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock, disk: Disk) -> Iterator[Store]:
    with Store.open(tmp_path / "a.db", clock=clock) as opened:
        yield opened


class Office:
    """A recorder and a dispatcher over some notifiers; time passes between two events."""

    def __init__(self, store: Store, clock: FakeClock, *notifiers: RecordingNotifier) -> None:
        self.clock = clock
        self.outbox = Outbox(store)
        self.recorder = Recorder(store, notifiers, direct=True)
        self.dispatcher = Dispatcher(self.outbox, notifiers, Renderer(Language.EN), clock=clock, rng=Random(7))

    def tell(self, *events: Event) -> list[bool]:
        done = []
        for event in events:
            self.clock.advance(1)
            done.append(self.recorder.record(replace(event, at=self.clock.now())))
        return done

    def deliver(self, notifier: RecordingNotifier) -> list[str]:
        while self.dispatcher.run_once(notifier.key) is not Outcome.IDLE:
            self.clock.advance(60)
        return notifier.kinds


def test_on_a_full_disk_news_wait_and_what_is_urgent_does_not(store: Store, clock: FakeClock, disk: Disk) -> None:
    """An ending overtakes the epochs that are held, is told, and the run is no longer called running."""
    slack = RecordingNotifier()
    office = Office(store, clock, slack)
    assert office.tell(started()) == [True]
    disk.error = errno.ENOSPC

    assert office.tell(epoch(1), alert(), epoch(2), ended(status=Status.FAILED)) == [False, True, False, True]

    assert office.deliver(slack) == ["run_started", "alert_raised", "run_ended"]
    row = runs.get(store, RUN.id)
    assert row is not None
    assert row.status is Status.FAILED


def test_when_there_is_space_again_all_is_recorded_and_told_once(store: Store, clock: FakeClock, disk: Disk) -> None:
    """A program gets each epoch; people, who know of the ending, do not hear of the epochs before it."""
    slack, program = RecordingNotifier("slack"), RecordingNotifier("webhook", Pace(folds=False))
    office = Office(store, clock, slack, program)
    office.tell(started())
    disk.error = errno.ENOSPC
    office.tell(epoch(1), epoch(2), ended())
    office.deliver(slack)

    disk.error = 0
    assert office.recorder.flush()

    assert office.deliver(slack) == ["run_started", "run_ended"]
    assert sorted(office.deliver(program)) == ["epoch_finished", "epoch_finished", "run_ended", "run_started"]
    kinds = [each.kind for each in runs.events_of(store, RUN.id)]
    assert kinds == ["run_started", "epoch_finished", "epoch_finished", "run_ended"]
    assert all(each.conserved and not each.pending for each in office.outbox.counts().values())
    row = runs.get(store, RUN.id)
    assert row is not None
    assert row.status is Status.FINISHED


def test_where_the_disk_cannot_promise_room_all_is_taken(store: Store, clock: FakeClock, disk: Disk) -> None:
    """It is asked once; nothing is refused for that."""
    disk.error = errno.EOPNOTSUPP
    office = Office(store, clock, RecordingNotifier())

    assert office.tell(started(), epoch(1), epoch(2)) == [True, True, True]
    assert len(disk.asked) == 1


def test_the_room_is_real_blocks_that_the_file_does_not_show(tmp_path: Path) -> None:
    """They outlast nothing but the WAL's being cut off, after which they are asked for again."""
    with Store.open(tmp_path / "a.db") as store:
        wal = tmp_path / "a.db-wal"
        before = wal.stat()
        store.room.begin()
        after = wal.stat()
        if after.st_blocks == before.st_blocks:
            pytest.skip("this file system does not keep blocks")
        assert after.st_size == before.st_size
        assert after.st_blocks * 512 - after.st_size >= TIDY_FROM_BYTES // 2

        store.memory("test").put("much", {"text": "x" * TIDY_FROM_BYTES})
        store.tidy()

        assert wal.stat().st_size == 0
        assert wal.stat().st_blocks * 512 >= TIDY_FROM_BYTES


def test_without_a_wal_there_is_nothing_to_keep(tmp_path: Path) -> None:
    """SQLite falls back to another journal on some file systems."""
    nowhere = DiskReserve(tmp_path / "none-wal")
    nowhere.begin()
    nowhere.keep()
    assert not nowhere.wal_needs_checkpoint
    nowhere.close()


def test_a_disk_that_cannot_be_asked_stops_nobody(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A record is then taken as without the room, and no thread of ours dies of the question."""
    store.room.begin()

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:  # pytest itself asks as well, afterwards
        patch.setattr("notifybot.store.disk_reserve.os.fstat", refuse)
        taken = Recorder(store, [], direct=True).record(epoch(0))
        needed = store.room.wal_needs_checkpoint

    assert taken
    assert not needed


def test_a_wal_that_somebody_keeps_from_being_moved_is_bounded(store: Store, clock: FakeClock) -> None:
    """A reader that never ends is another program's: news wait in memory, and all are taken when it is gone."""
    office = Office(store, clock)
    office.tell(started())
    with closing(sqlite3.connect(store.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        for number in range(13):
            store.memory("test").put(str(number), {"text": "x" * 1_000_000})
            store.tidy()
        assert office.tell(epoch(1), ended()) == [False, True]
        assert not office.recorder.flush()
        assert WAL_BYTES < wal_bytes(store) < WAL_BYTES + 2 * 1024 * 1024
        with pytest.raises(FullError):
            store.room.keep()

    assert office.recorder.flush()
    assert wal_bytes(store) < TIDY_FROM_BYTES
    assert len(runs.events_of(store, RUN.id)) == 3


class Hanging(RecordingNotifier):
    """Takes the first message, and gives no answer before `released`."""

    def __init__(self) -> None:
        super().__init__("slack")
        self.hangs, self.released = threading.Event(), threading.Event()

    def send(self, envelope: Envelope) -> None:
        self.hangs.set()
        self.released.wait(LONG_S)
        super().send(envelope)


@pytest.mark.parametrize("told", [True, False])
def test_the_wal_is_moved_whoever_hangs_and_if_nobody_is_told(tmp_path: Path, told: bool) -> None:
    """This is goal R9: nobody but the keeper comes by, as a notifier hangs, or there is none."""
    slack = Hanging()
    with Store.open(tmp_path / "a.db", patience_s=LONG_S) as store:
        recorder = Recorder(store, [slack] if told else [], direct=True)
        worker = Worker(Dispatcher(Outbox(store), [slack] if told else [], Renderer(Language.EN)), recorder)
        worker.start()
        recorder.record(started())
        worker.wake()
        assert not told or slack.hangs.wait(LONG_S)
        sizes = []
        for number in range(500):
            assert recorder.record(bulky(number, at=store.clock.now()))
            worker.wake()
            sizes.append(wal_bytes(store))
        slack.released.set()
        worker.stop(LONG_S)

    assert any(later < before for before, later in pairwise(sizes)), "it was never moved"
    assert TIDY_FROM_BYTES < max(sizes) < WAL_BYTES


def test_the_file_and_its_wal_stay_within_their_bounds(tmp_path: Path) -> None:
    """This is goal R9 in small: a storm beyond the file's cap, at every moment."""
    cap_bytes, slack = 256 * 4096, RecordingNotifier("slack", Pace(folds=False))
    with Store.open(tmp_path / "a.db", cap_bytes=cap_bytes, patience_s=5.0) as store:
        recorder = Recorder(store, [slack], direct=True)
        worker = Worker(Dispatcher(Outbox(store), [slack], Renderer(Language.EN)), recorder)
        worker.start()
        recorder.record(started())
        for number in range(400):
            recorder.record(bulky(number, at=store.clock.now()))
            worker.wake()
            assert store.path.stat().st_size <= cap_bytes
            assert wal_bytes(store) < WAL_BYTES + 2 * 1024 * 1024
        assert worker.flush(LONG_S)
        worker.stop(LONG_S)


def test_both_bounds_together_are_the_documented_one() -> None:
    """64 MiB for the file, its WAL, and a long transaction's worth."""
    assert CAP_BYTES + WAL_BYTES + 4 * 1024 * 1024 <= 64 * 1024 * 1024
