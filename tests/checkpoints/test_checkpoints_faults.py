"""A disk that fills up, errs or vanishes at any call: what was saved stays whole, nothing is claimed that is not."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.durable_io import BUFFER_BYTES
from notifybot.checkpoints.retention import Retention
from notifybot.errors import CheckpointError
from tests.support.checkpoint_disks import (
    FailingDisk,
    content,
    entries,
    loads_right,
    orphan,
    save,
    save_sharded,
)

LARGE = BUFFER_BYTES + 4000  # more than one write

Act = Callable[[CheckpointDirectory, Path], object]


def _write(shelf: CheckpointDirectory, near: Path) -> object:
    return save(shelf, 3, size_bytes=LARGE)


def _write_sharded(shelf: CheckpointDirectory, near: Path) -> object:
    return save_sharded(shelf, 3)


def _copy(shelf: CheckpointDirectory, near: Path) -> object:
    saved = CheckpointDirectory(near).manifests()[0]
    return shelf.copy(near / saved.file, saved)


def _copy_sharded(shelf: CheckpointDirectory, near: Path) -> object:
    saved = CheckpointDirectory(near).manifests()[1]
    return shelf.copy(near / saved.file, saved)


def _prune(shelf: CheckpointDirectory, near: Path) -> object:
    return shelf.prune(Retention(keep_last=2, keep_best=0))


def _sweep(shelf: CheckpointDirectory, near: Path) -> object:
    return shelf.sweep()


ACTS = {each.__name__[1:]: each for each in (_write, _write_sharded, _copy, _copy_sharded, _prune, _sweep)}


class Scene:
    """A shelf with checkpoints 0, 1 and 2 on it and some debris, and a near one that holds number 3 in both kinds."""

    def __init__(self, folder: Path) -> None:
        self.far, self.near = folder / "far", folder / "near"

    def build(self) -> None:
        """Make what every copy of the scene begins with."""
        for number in range(3):
            save(CheckpointDirectory(self.far), number)
        save_sharded(CheckpointDirectory(self.near), 3)
        save(CheckpointDirectory(self.near), 4, size_bytes=LARGE)
        self._leave_debris()

    def copied(self, folder: Path) -> Scene:
        """The same scene in another folder."""
        shutil.copytree(self.far, folder / "far")
        shutil.copytree(self.near, folder / "near")
        return Scene(folder)

    def _leave_debris(self) -> None:
        """A payload half written, and a removal cut short."""
        shelf = CheckpointDirectory(self.far)
        save(shelf, 9)
        listing = shelf.stage()
        listing.rmdir()
        (self.far / "epoch9.pt.json").rename(listing.with_suffix(".removed"))
        shelf.stage()
        orphan(self.far)

    def act(self, act: Act, disk: FailingDisk) -> bool:
        """Do it on that disk; True when it says that it has done it."""
        try:
            act(CheckpointDirectory(self.far, empty_first=True, system=disk), self.near)
        except (OSError, CheckpointError):
            return False
        return True

    def judge(self, act: Act, *, acknowledged: bool) -> None:
        """With the disk well again, and then after the next start: the newest is right, all is accounted for."""
        shelf = CheckpointDirectory(self.far)
        least = 2 if act in (_prune, _sweep) or not acknowledged else 3
        for _ in range(2):
            found, passed_over = shelf.newest_verified("run-1")
            assert found is not None
            assert found.sequence >= least
            assert _right(shelf, found.sequence)
            assert passed_over == []
            assert len(shelf.manifests()) >= 2
            orphan(self.far)
            shelf.sweep()
        listed = {name for each in shelf.manifests() for name in (each.file, f"{each.file}.json")}
        assert entries(self.far) == listed


def _right(shelf: CheckpointDirectory, sequence: int) -> bool:
    (found,) = (each for each in shelf.manifests() if each.sequence == sequence)
    large = found.kind == "single" and found.sequence > 2
    return loads_right(shelf, found, LARGE) if large else loads_right(shelf, found)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    scene = Scene(tmp_path_factory.mktemp("scene"))
    scene.build()
    return scene


WAYS = {
    "full, refused": (errno.ENOSPC, False, False),
    "full, done but not answered": (errno.ENOSPC, True, False),
    "gone, refused": (errno.ENOTCONN, False, True),
    "gone, done but not answered": (errno.ENOTCONN, True, True),
}


def _fail_at(scene: Scene, folder: Path, act: Act, way: tuple[int, bool, bool], calls: Iterable[int]) -> int:
    """Let one call after the other fail, each on a scene of its own; return how many there were to fail."""
    number, after, for_good = way
    for at in calls:
        copy = scene.copied(folder / str(at))
        disk = FailingDisk(at, number, after=after, for_good=for_good)
        acknowledged = copy.act(act, disk)
        copy.judge(act, acknowledged=acknowledged)
        if not disk.reached:
            assert acknowledged
            return len(disk.calls)
    return at + 1


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_error_at_some_calls_leaves_the_last_good_one(tmp_path: Path, scene: Scene, act: Act, way: Any) -> None:
    """A few calls of each operation, picked by a seed; the campaign below takes every one."""
    calls = FailingDisk(10**9, 0)
    scene.copied(tmp_path / "all").act(act, calls)
    picked = random.Random(f"{act.__name__}{way}").sample(range(len(calls.calls)), 3)

    _fail_at(scene, tmp_path, act, way, picked)


@pytest.mark.torture
@pytest.mark.timeout(900)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_error_at_any_call_leaves_the_last_good_one(tmp_path: Path, scene: Scene, act: Act, way: Any) -> None:
    """Every call of a save, a copy, a removal and a sweep in turn: a full disk, or a mount that goes away for good."""
    assert _fail_at(scene, tmp_path, act, way, count()) > 12


@pytest.mark.parametrize("act", [_write, _copy, _copy_sharded], ids=["write", "copy", "copy_sharded"])
def test_a_failed_save_clears_up_behind_itself(tmp_path: Path, scene: Scene, act: Act) -> None:
    """Where the disk has recovered by then, the very same entries are there as before."""
    before = entries(scene.far)
    for at in count():
        copy = scene.copied(tmp_path / str(at))
        disk = FailingDisk(at, errno.ENOSPC, only=("write", "fsync", "replace", "open"))
        acknowledged = copy.act(act, disk)
        if not disk.reached:
            break
        made = {name for name in entries(copy.far) - before if not name.startswith(".")}
        assert not acknowledged
        assert entries(copy.far) - made == before
        assert len(made) in (0, 2)  # all but the very last sync was done: whole, though not acknowledged

    assert at >= 8


def test_a_copy_that_reads_back_as_something_else_is_no_copy(tmp_path: Path) -> None:
    """A mount that takes all bytes and returns others, as it may when the network breaks in between."""
    near = CheckpointDirectory(tmp_path / "near")
    saved = save(near, 1)

    def liar(call: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        result = call(*args, **kwargs)
        if call is os.readv and result:
            buffer = args[1][0]  # type: ignore[index]
            buffer[5] ^= 1
        return result

    far = CheckpointDirectory(tmp_path / "far", system=liar)  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=r"the copy of epoch1\.pt reads back as something else"):
        far.copy(near.folder / saved.file, saved)

    assert entries(far.folder) == set()


def test_a_copy_that_comes_back_short_is_no_copy(tmp_path: Path) -> None:
    near = CheckpointDirectory(tmp_path / "near")
    saved = save(near, 1)
    reads = count()

    def short(call: Callable[..., object], /, *args: object, **kwargs: object) -> object:
        if call is os.readv:
            buffer = args[1][0]  # type: ignore[index]
            return os.readv(args[0], [buffer[:1000]]) if next(reads) < 3 else 0  # type: ignore[arg-type]
        return call(*args, **kwargs)

    with pytest.raises(CheckpointError, match="reads back as something else"):
        CheckpointDirectory(tmp_path / "far", system=short).copy(near.folder / saved.file, saved)  # type: ignore[arg-type]


def test_a_mount_that_is_gone_is_not_replaced_by_a_folder_of_the_same_name(tmp_path: Path) -> None:
    """Unmounted, its path is a bare folder of this machine, or none: saving there would be a claim and no more."""
    mounted = [True]
    far = CheckpointDirectory(tmp_path / "drive" / "exp", is_mount=lambda _: mounted[0])
    save(far, 1)
    (tmp_path / "drive").rename(tmp_path / "unmounted")
    mounted[0] = False

    for _ in range(2):
        with pytest.raises(OSError, match="not mounted any more") as caught:
            save(far, 2)
        assert caught.value.errno == errno.ENOTCONN
        with pytest.raises(OSError, match="not mounted any more"):
            far.newest_verified("run-1")
        assert not (tmp_path / "drive").exists()

    mounted[0] = True
    (tmp_path / "unmounted").rename(tmp_path / "drive")
    assert save(far, 2) == far.newest_verified("run-1")[0]


# ── Cannot be read is not damaged ────────────────────────────────────────────────────────────────────────────────────


def _full(size_bytes: int) -> None:
    """No file of this process may become longer: the operating system itself says so."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@pytest.mark.parametrize("limit", [0, 1, 500, 4096, BUFFER_BYTES - 1, BUFFER_BYTES, LARGE - 1])
def test_a_limit_of_the_system_itself_is_an_error_and_no_more(tmp_path: Path, limit: int) -> None:
    """The real thing, no stand-in: the write comes back short, then fails."""
    before, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    shelf = CheckpointDirectory(tmp_path)
    for number in range(2):
        save(shelf, number)
    there = entries(tmp_path)

    _full(limit)
    try:
        with pytest.raises(OSError) as caught:
            save(shelf, 3, size_bytes=LARGE)
    finally:
        _full(before)

    assert caught.value.errno == errno.EFBIG
    assert entries(tmp_path) == there
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # Python's own doing, on which this relies
    assert CheckpointDirectory(tmp_path).newest_verified("run-1")[0] == shelf.manifests()[0]
    assert content(1) == (tmp_path / "epoch1.pt").read_bytes()
