"""A power cut at any call: what was not synced may be lost, in any part, and what was acknowledged is there (R18)."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.retention import Retention
from tests.support.checkpoint_disks import entries, loads_right, orphan, save

Change = tuple[str, str, int]  # "add" or "remove", a name, the file

SAVES = 5
SIZE_BYTES = 3000


class PowerOff(BaseException):
    """Nothing runs any more: not even what tidies up."""


class VolatileDisk:
    """Does every call, remembers what of it is synced, and stops for good at the call number `at`.

    A file is known by an identity of its own, as the system gives the number of a removed file to the next one.
    """

    def __init__(self, at: int) -> None:
        self.at = at
        self.calls = 0
        self._content: dict[int, bytes] = {}
        self._synced: dict[int, bytes] = {}
        self._names: dict[str, int] = {}
        self._synced_names: dict[str, int] = {}
        self._unsynced: list[list[Change]] = []  # what was done to names, in order; a rename does two things at once
        self._open: dict[int, int | None] = {}  # None: the folder

    def __call__(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if self.calls >= self.at:
            if call is os.close:
                os.close(*args)
            raise PowerOff
        self.calls += 1
        result = call(*args, **kwargs)
        note = getattr(self, f"note_{call.__name__}", None)
        if note is not None:
            note(result, *args)
        return result

    def _change(self, *changes: Change) -> None:
        self._unsynced.append(list(changes))
        _apply(self._names, changes)

    def note_open(self, descriptor: int, path: Path, flags: int, *_: Any) -> None:
        if flags & os.O_DIRECTORY:
            self._open[descriptor] = None
            return
        if flags & os.O_CREAT:
            identity = len(self._content)
            self._content[identity] = b""
            self._change(("add", path.name, identity))
        self._open[descriptor] = self._names[path.name]

    def note_write(self, count: int, descriptor: int, data: memoryview) -> None:
        identity = self._open[descriptor]
        assert identity is not None
        self._content[identity] += bytes(data[:count])

    def note_ftruncate(self, _: None, descriptor: int, length: int) -> None:
        identity = self._open[descriptor]
        assert identity is not None
        self._content[identity] = b""

    def note_fsync(self, _: None, descriptor: int) -> None:
        identity = self._open[descriptor]
        if identity is None:
            self._synced_names, self._unsynced = dict(self._names), []
        else:
            self._synced[identity] = self._content[identity]

    def note_replace(self, _: None, source: Path, target: Path) -> None:
        identity = self._names[source.name]
        self._change(("remove", source.name, identity), ("add", target.name, identity))

    def note_unlink(self, _: None, path: Path) -> None:
        self._change(("remove", path.name, self._names[path.name]))

    def after_the_cut(self, folder: Path, rng: random.Random, *, in_order: bool) -> None:
        """Make a folder as it may be found: of what was not synced a beginning, or any part of it."""
        names = dict(self._synced_names)
        if in_order:
            _apply(names, chain.from_iterable(self._unsynced[: rng.randint(0, len(self._unsynced))]))
        else:
            _apply(names, [each for each in chain.from_iterable(self._unsynced) if rng.random() < 0.5])
        folder.mkdir()
        for name, identity in names.items():
            (folder / name).write_bytes(self._left_of(identity, rng))

    def _left_of(self, identity: int, rng: random.Random) -> bytes:
        """A synced file as it was then, or anything on the way to what was written since."""
        synced, content = self._synced.get(identity), self._content[identity]
        if synced == content or (synced is not None and rng.random() < 0.5):
            return synced
        return rng.choice([content[: rng.randint(0, len(content))], bytes(len(content)), b""])


def _apply(names: dict[str, int], changes: Iterable[Change]) -> None:
    for what, name, identity in changes:
        if what == "add":
            names[name] = identity
        elif names.get(name) == identity:
            del names[name]


def _train(folder: Path, disk: VolatileDisk) -> int:
    """Save and prune until the power goes; return the number of the last acknowledged checkpoint."""
    acknowledged = 0
    folder.mkdir()
    shelf = CheckpointDirectory(folder, empty_first=True, system=disk)
    try:
        for number in range(1, SAVES + 1):
            save(shelf, number, size_bytes=SIZE_BYTES)
            acknowledged = number
            shelf.prune(Retention(keep_last=2, keep_best=0))
    except PowerOff:
        pass
    return acknowledged


def _campaign(folder: Path, rounds: int, seed: int) -> None:
    rng = random.Random(seed)
    whole = VolatileDisk(10**9)
    assert _train(folder / "whole", whole) == SAVES
    for number in range(rounds):
        disk = VolatileDisk(rng.randrange(whole.calls))
        acknowledged = _train(folder / f"{number}-before", disk)
        in_order = number % 2 == 0
        disk.after_the_cut(folder / f"{number}-after", rng, in_order=in_order)
        _judge(CheckpointDirectory(folder / f"{number}-after"), acknowledged, in_order=in_order)


def _judge(shelf: CheckpointDirectory, acknowledged: int, *, in_order: bool) -> None:
    for _ in range(2):
        found, passed_over = shelf.newest_verified("run-1")
        assert passed_over == []
        assert (found.sequence if found else 0) >= acknowledged
        assert found is None or loads_right(shelf, found, SIZE_BYTES)
        orphan(shelf.folder)
        shelf.sweep()
    if in_order:  # as a journal keeps it; a disk that forgets the first of two names cannot be cleared up after
        listed = {name for each in shelf.manifests() for name in (each.file, f"{each.file}.json")}
        assert entries(shelf.folder) == listed


def test_thirty_power_cuts_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """A slice of the campaign below, with a seed of its own."""
    _campaign(tmp_path, 30, seed=20261123)


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_three_hundred_power_cuts_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """The campaign of `make torture`."""
    _campaign(tmp_path, 300, seed=7)
