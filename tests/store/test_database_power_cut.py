"""A power cut at any moment: what was acknowledged is there, what waits is sent, nothing is called sent that was not.

This is goal R2. A life of the real store, outbox, recorder and dispatcher is lived once on a disk that logs it, and cut
off afterwards again and again; each time `Store.open` has to find the database whole.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from notifybot.delivery.dispatcher import Dispatcher, Outcome
from notifybot.errors import StoreError
from notifybot.store.database import Store
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock, RecordingNotifier
from tests.support.disk_log import Entry, FolderSynced, LoggedDisk, Noted, Removed, Renamed, Synced, Truncated
from tests.support.power_cuts import Platter
from tests.support.sqlite_disk import attached
from tests.support.store_life import ENGLISH, Acknowledged, Facts, Life, Received, facts_of, state_path

_TURNS = (Synced, FolderSynced, Removed, Renamed, Truncated)  # where what lasts changes at once
_LATER_S = 365 * 86_400.0  # no lease and no retry lasts that long
_BEGUN = "what was there before"
_NOTHING = Acknowledged("nothing", {})
_SENT_EACH = 8  # cuts: to send all that waits takes longer than the rest


@dataclass(slots=True)
class Known:
    """What is known at a point of the log: the last call acknowledged, the one under way, and who has what.

    With `spoilt`, the database may have to be set aside.
    """

    last: Acknowledged = _NOTHING
    next: Acknowledged | None = None
    received: set[tuple[str, ...]] = field(default_factory=set)
    spoilt: bool = False


def _lived(root: Path, seed: int, days: int, *, lies: bool = False) -> list[Entry]:
    disk = LoggedDisk(root, lies=lies)
    disk.note(_BEGUN)
    with attached(disk):
        Life(disk, Random(seed)).live(days)
    return disk.log


def _cuts(log: Sequence[Entry], number: int, rng: Random) -> list[int]:
    """So many places in the log, in order, half of them beside an entry that makes something last."""
    turns, begin = _turns(log), log.index(Noted(_BEGUN)) + 1
    return sorted(rng.choice(turns) if rng.random() < 0.5 else rng.randint(begin, len(log)) for _ in range(number))


def _turns(log: Sequence[Entry]) -> list[int]:
    begin = log.index(Noted(_BEGUN)) + 1
    found = [at + after for at, entry in enumerate(log) if isinstance(entry, _TURNS) for after in (0, 1)]
    return [each for each in found if each >= begin]


def _promises(log: Sequence[Entry]) -> list[Acknowledged]:
    return [entry.what for entry in log if isinstance(entry, Noted) and isinstance(entry.what, Acknowledged)]


def _played(
    root: Path, log: Sequence[Entry], cuts: Sequence[int], known: Known
) -> Iterator[tuple[int, Platter, Known]]:
    """Go through the log once, and stop before the entry of each cut."""
    platter, promises, told, done = Platter(root), _promises(log), 0, 0
    for cut in cuts:
        for entry in log[done:cut]:
            platter.follow(entry)
            match entry:
                case Noted(Acknowledged() as promise):
                    told, known.last, known.spoilt = told + 1, promise, False
                case Noted(Received(notifier, event_id)):
                    known.received.add(("delivery", notifier, event_id))
        done = cut
        known.next = promises[told] if told < len(promises) else None
        yield cut, platter, known


def _campaign(root: Path, log: Sequence[Entry], cuts: Sequence[int], known: Known | None = None) -> list[str]:
    """Cut the power at places of a log that was made below `root`; return what was lost, each with its place."""
    rng, lost = Random(len(log)), list[str]()
    image = root.with_name("image")
    for number, (cut, platter, now) in enumerate(_played(root, log, cuts, known or Known())):
        platter.after_a_cut(image, rng)
        if rng.random() < 0.5:  # no power cut keeps shared memory, but its file may be found, with anything in it
            state_path(image).with_name("notifybot.db-shm").write_bytes(rng.randbytes(32_768))
        before = type(log[cut]).__name__ if cut < len(log) else "the end"
        found = _losses(image, now, send=number % _SENT_EACH == 0)
        lost += [f"cut {number}, at {cut} of {len(log)}, before {before}: {each}" for each in found]
        shutil.rmtree(image)
    return lost


def _losses(image: Path, known: Known, *, send: bool) -> list[str]:
    """What a process misses that begins when the power is back, and cannot do."""
    clock = FakeClock()
    clock.advance(_LATER_S)
    try:
        with closing(Store.open(state_path(image), clock=clock)) as store:
            found = facts_of(store)
            lost = [*_damage(store, known), *_differences(found, known), *_false_sent(found, known.received)]
            return lost or (_unsent(store, clock) if send else [])
    except StoreError as error:
        return [f"damage: {error}"]


def _damage(store: Store, known: Known) -> list[str]:
    with store.transaction() as connection:
        verdict = connection.exec_driver_sql("PRAGMA integrity_check").fetchall()
        strays = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    lost = [] if verdict == [("ok",)] and not strays else [f"damage: {verdict[:3]} {strays[:3]}"]
    lost += [f"damage: set aside as {store.set_aside.name}"] if store.set_aside and not known.spoilt else []
    return lost + _ledgers(store)


def _ledgers(store: Store) -> list[str]:
    return [f"ledger of {key}: {each}" for key, each in Outbox(store).counts().items() if not each.conserved]


def _differences(found: Facts, known: Known) -> list[str]:
    """Each fact is as it was acknowledged last, or as the call under way was about to leave it."""
    before, under_way = known.last, known.next or known.last
    return [
        f"lost: {' '.join(name)} is {found.get(name)}; {before.call} had left it {before.facts.get(name)}, "
        f"{under_way.call} was to leave it {under_way.facts.get(name)}"
        for name in sorted(before.facts.keys() | under_way.facts.keys() | found.keys())
        if found.get(name) not in (before.facts.get(name), under_way.facts.get(name))
    ]


def _false_sent(found: Facts, received: Collection[tuple[str, ...]]) -> list[str]:
    sent = {name for name, state in found.items() if name[0] == "delivery" and state == "sent"}
    return [f"false: {' '.join(name)} is called sent, and nobody has it" for name in sent - set(received)]


def _unsent(store: Store, clock: FakeClock) -> list[str]:
    """What waited and reaches nobody, though everybody takes all."""
    people = [RecordingNotifier("slack"), RecordingNotifier("kakao")]
    waiting = {name for name, state in facts_of(store).items() if name[0] == "delivery" and state == "pending"}
    dispatcher = Dispatcher(Outbox(store), people, ENGLISH, clock=clock)
    for each in people:
        while dispatcher.run_once(each.key) is not Outcome.IDLE:
            pass
    found = facts_of(store)
    received = {("delivery", each.key, envelope.event.id) for each in people for envelope in each.sent}
    stuck = [f"stuck: {' '.join(name)} is {found[name]}" for name in waiting if found[name] not in ("sent", "dropped")]
    return [*stuck, *_false_sent({name: found[name] for name in waiting}, received), *_ledgers(store)]


def _shown(lost: Sequence[str]) -> str:
    return "\n".join([f"{len(lost)} losses", *lost[:10]])


def _kinds(lost: Sequence[str]) -> Counter[str]:
    """How many losses there are of each kind: damage, lost, ledger, false, stuck."""
    return Counter(each.split(": ")[1] for each in lost)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def test_two_hundred_power_cuts_lose_nothing_acknowledged(root: Path) -> None:
    """A slice of the campaign below. The life has all in it that makes SQLite move things about."""
    log = _lived(root, seed=20261123, days=2)

    lost = _campaign(root, log, _cuts(log, 200, Random(1)))

    assert lost == [], _shown(lost)
    assert sum(isinstance(each, Truncated) and each.size == 0 for each in log) >= 2, "the WAL was never tidied"
    assert {each.call for each in _promises(log)} >= {"_tell", "_deliver", "_tidy", "_mend", "_forget", "_restart"}


def test_a_second_cut_while_the_first_is_mended_loses_nothing(root: Path) -> None:
    """Recovery writes too: what it found stays found."""
    log = _lived(root, seed=3, days=1)
    for cut, platter, known in _played(root, log, _cuts(log, 6, Random(4)), Known()):
        again = root.with_name(f"again-{cut}")
        platter.after_a_cut(again, Random(cut))
        then = _lived(again, seed=5, days=0)
        found = Known(last=_promises(then)[0], received=set(known.received))

        lost = _campaign(again, then, _cuts(then, 12, Random(6)), found)

        assert lost == [], _shown(lost)


def test_a_cut_while_a_damaged_file_is_set_aside_loses_nothing_new(root: Path) -> None:
    """From the first acknowledgement on, the new database is there, and the damaged one beside it as it was."""
    path = state_path(root)
    path.write_bytes(b"no database, and yet somebody may want to look at it" * 40)
    log = _lived(root, seed=7, days=0)

    lost = _campaign(root, log, _cuts(log, 60, Random(8)), Known(spoilt=True))

    assert lost == [], _shown(lost)
    for _, platter, known in _played(root, log, [len(log)], Known()):
        platter.after_a_cut(root.with_name("left"), Random(9))
        (aside,) = state_path(root.with_name("left")).parent.glob("*.damaged-*")
        assert aside.read_bytes().startswith(b"no database")
        assert known.last.call == "open"


def test_only_the_first_opening_syncs_the_folders_above(root: Path) -> None:
    """A training's start waits for no more syncs than it needs; SQLite's own are of the database's folder."""
    folder = state_path(root).parent
    shutil.rmtree(root / "local")

    first, second = _lived(root, seed=13, days=0), _lived(root, seed=13, days=0)

    assert _synced_folders(first) == {root, folder.parent, folder}
    assert _synced_folders(second) == {folder}


@pytest.mark.parametrize(("error", "opens"), [(errno.EINVAL, True), (errno.EACCES, True), (errno.EIO, False)])
def test_a_folder_that_cannot_be_synced_stops_nobody_but_a_broken_disk_does(
    tmp_path: Path, error: int, opens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a file system never does is not missed; what it fails at is told before the training relies on it."""

    def refuse(_: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", refuse)
    with nullcontext() if opens else pytest.raises(StoreError, match="no database can be opened"):
        Store.open(tmp_path / "state" / "a.db").close()


def _synced_folders(log: Sequence[Entry]) -> set[Path]:
    return {each.path for each in log[log.index(Noted(_BEGUN)) :] if isinstance(each, FolderSynced)}


@pytest.mark.parametrize("setting", ["synchronous=OFF", "synchronous=NORMAL", "journal_mode=DELETE"])
def test_a_weaker_setting_of_sqlite_would_be_noticed(root: Path, setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With each of these a power cut may take what was committed, as SQLite says; only OFF may damage the file.

    https://sqlite.org/pragma.html#pragma_synchronous
    """
    name = setting.partition("=")[0]

    class Careless(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            weakens = sql.startswith(f"PRAGMA {name}=")
            return super().execute(f"PRAGMA {setting}" if weakens else sql, *values)

    monkeypatch.setattr(sqlite3.dbapi2, "connect", partial(sqlite3.dbapi2.connect, factory=Careless))
    log = _lived(root, seed=9, days=1)
    monkeypatch.undo()

    found = _kinds(_campaign(root, log, _cuts(log, 80, Random(10))))

    assert found["lost"] > 0
    assert setting == "synchronous=OFF" or found["damage"] == 0


def test_a_disk_that_lies_about_its_syncs_would_be_noticed(root: Path) -> None:
    """No database can do anything about such a disk, and the campaign sees it."""
    log = _lived(root, seed=11, days=1, lies=True)

    found = _kinds(_campaign(root, log, _cuts(log, 40, Random(12))))

    assert found["lost"] > 0


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_thousands_of_power_cuts_lose_nothing_acknowledged(root: Path, seed: int) -> None:
    """The campaign of `make torture`: beside every sync of a life, and as often anywhere."""
    log = _lived(root, seed, days=4)
    turns = _turns(log)

    lost = _campaign(root, log, sorted([*turns, *_cuts(log, len(turns), Random(seed))]))

    assert lost == [], _shown(lost)
