"""Tiers that cannot be read now: tried again, stepped over, and never taken for empty."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.durable_io import direct
from notifybot.checkpoints.retention import Retention
from notifybot.checkpoints.tiers import Tiers
from notifybot.testing import FakeClock
from tests.support.checkpoint_disks import (
    SIZE_BYTES,
    FailingDisk,
    content,
    save,
    untouched,
)

READS = ("listdir", "lstat", "open", "fstat", "read", "readv")


LAYOUTS = {"this machine alone": (True, False), "Drive alone": (False, True), "both": (True, True)}


def _saved_in(folder: Path, layout: tuple[bool, bool]) -> None:
    """Two checkpoints in each of the tiers that the layout has any in."""
    for name, used in zip(("near", "far"), layout, strict=True):
        (folder / name).mkdir(parents=True)
        for number in (1, 2) if used else ():
            save(CheckpointDirectory(folder / name), number, size_bytes=100)


def _tiers(folder: Path, disk: FailingDisk | None = None) -> Tiers:
    near, far = (
        CheckpointDirectory(folder / name, empty_first=True, system=disk or direct) for name in ("near", "far")
    )
    return Tiers(far, near, Retention(keep_last=1, keep_best=0), durable_is_remote=True, clock=FakeClock())


def _calls(folder: Path) -> int:
    """How many reads one look takes."""
    disk = FailingDisk(10**9, 0, only=READS)
    _tiers(folder, disk).newest("run-1")
    return len(disk.calls)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE], ids=["EIO", "ESTALE"])
def test_a_read_that_fails_once_is_tried_again(tmp_path: Path, layout: tuple[bool, bool], error: int) -> None:
    """Whichever it is: the newest is found all the same, and nothing is told of it."""
    _saved_in(tmp_path, layout)

    for at in range(_calls(tmp_path)):
        found = _tiers(tmp_path, FailingDisk(at, error, only=READS)).newest("run-1")

        assert found.manifest is not None
        assert (found.manifest.sequence, found.unread, found.passed_over) == (2, (), ())


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_a_disk_that_reads_no_more_is_never_taken_for_an_empty_one(tmp_path: Path, layout: tuple[bool, bool]) -> None:
    """From whichever read on: either the newest was found before, or it is told what cannot be read."""
    _saved_in(tmp_path, layout)

    for at in range(_calls(tmp_path)):
        with untouched(tmp_path):
            found = _tiers(tmp_path, FailingDisk(at, errno.EIO, for_good=True, only=READS)).newest("run-1")

        assert found.unread or (found.manifest is not None and found.manifest.sequence == 2), at
        assert found.passed_over == ()


class RefusingDisk:
    """Gives no content of these files, and takes everything, as Drive does beyond its quota for downloads."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __call__(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        refused = call is os.open and Path(args[0]).name in self._names and not args[1] & os.O_CREAT
        if refused:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return call(*args, **kwargs)


def test_the_other_copy_is_taken_at_once(tmp_path: Path) -> None:
    """The same bytes are proven there: nobody waits, and nothing is passed over."""
    _saved_in(tmp_path, (True, True))
    tiers = _tiers(tmp_path)
    tiers.local = CheckpointDirectory(tmp_path / "near", system=RefusingDisk("epoch2.pt", "epoch1.pt.json"))
    began_s = tiers.clock.monotonic()

    found = tiers.newest("run-1")

    assert found.path == tmp_path / "far" / "epoch2.pt"
    assert (found.unread, found.passed_over, tiers.clock.monotonic()) == ((), (), began_s)


def test_what_cannot_be_read_is_named_with_what_can(tmp_path: Path) -> None:
    """After a minute, and no more."""
    _saved_in(tmp_path, (False, True))
    tiers = _tiers(tmp_path)
    tiers.durable = CheckpointDirectory(tmp_path / "far", system=RefusingDisk("epoch2.pt"))
    began_s = tiers.clock.monotonic()

    found = tiers.newest("run-1")

    assert found.path == tmp_path / "far" / "epoch1.pt"
    assert [each.about for each in found.unread] == ["far/epoch2.pt"]
    assert tiers.clock.monotonic() - began_s == 60


@pytest.mark.parametrize("refused", ["epoch1.pt", "epoch1.pt.json"])
def test_retention_removes_nothing_that_it_cannot_read(tmp_path: Path, refused: str) -> None:
    """It is counted with its size; what can be read and is ours goes."""
    for number in range(4):
        save(CheckpointDirectory(tmp_path), number)
    shelf = CheckpointDirectory(tmp_path, empty_first=True, system=RefusingDisk(refused))

    removed = shelf.prune(Retention(keep_last=2, keep_best=0))

    assert removed == ["epoch0.pt"]
    assert [(each.reason.about, each.size_bytes) for each in shelf.spared] == [(refused, SIZE_BYTES)]
    assert (tmp_path / "epoch1.pt").read_bytes() == content(1)


def test_retention_spares_sessions_before_the_one_that_began_anew(tmp_path: Path) -> None:
    shelf = CheckpointDirectory(tmp_path)
    for number in range(3):
        save(shelf, number, session="s1")
    for number in range(3, 6):
        save(shelf, number, session="s2")

    assert shelf.prune(Retention(keep_last=2, keep_best=0), "run-1", since="s2") == ["epoch3.pt"]
