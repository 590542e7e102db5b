"""Damage of every kind to what is on a shelf: all of it is found, and an earlier checkpoint is used instead (R19)."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from notifybot.checkpoints.directory import CheckpointDirectory
from notifybot.checkpoints.manifest import Manifest
from tests.support.checkpoint_disks import SIZE_BYTES, loads_right, save, save_sharded

HOLE_BYTES = 4096


@pytest.fixture(scope="module", params=["single", "sharded"])
def original(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A shelf with three whole checkpoints."""
    shelf = CheckpointDirectory(tmp_path_factory.mktemp("original"))
    for number in range(1, 4):
        (save if request.param == "single" else save_sharded)(shelf, number)
    return shelf.folder


def _damaged(
    original: Path, folder: Path, damage: Callable[[Path], None], *, manifest: bool = False
) -> CheckpointDirectory:
    """A copy of the shelf, the newest checkpoint's payload or manifest damaged."""
    shutil.copytree(original, folder)
    shelf = CheckpointDirectory(folder)
    newest = shelf.manifests()[0]
    payload = folder / newest.file / next(iter(newest.files))
    damage(folder / f"{newest.file}.json" if manifest else payload)
    return shelf


def _flip(rng: random.Random) -> Callable[[Path], None]:
    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        position = rng.randrange(len(data) * 8)
        data[position // 8] ^= 1 << position % 8
        path.write_bytes(data)

    return flip


def _cut(rng: random.Random) -> Callable[[Path], None]:
    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size - 1)])

    return cut


def _hole(rng: random.Random) -> Callable[[Path], None]:
    def hole(path: Path) -> None:
        data = bytearray(path.read_bytes())
        start = rng.randrange(max(1, len(data) - HOLE_BYTES))
        data[start : start + HOLE_BYTES] = bytes(len(data[start : start + HOLE_BYTES]))
        path.write_bytes(data)

    return hole


def _steps_back(shelf: CheckpointDirectory) -> bool:
    """The one before is used, and there is one line to tell a person."""
    found, passed_over = shelf.newest_verified("run-1")
    return found is not None and found.sequence == 2 and loads_right(shelf, found) and len(passed_over) == 1


def _campaign(
    original: Path, folder: Path, make: Callable[[random.Random], Callable[[Path], None]], rounds: int
) -> None:
    rng = random.Random(f"{make.__name__} {rounds}")
    for number in range(rounds):
        shelf = _damaged(original, folder / str(number), make(rng))
        assert _steps_back(shelf), number
        shutil.rmtree(shelf.folder)


@pytest.mark.parametrize(("make", "rounds"), [(_flip, 10), (_cut, 4), (_hole, 4)], ids=["flips", "cuts", "holes"])
def test_damage_is_found_and_stepped_over(original: Path, tmp_path: Path, make: object, rounds: int) -> None:
    """A slice of the campaign below."""
    _campaign(original, tmp_path, make, rounds)  # type: ignore[arg-type]


@pytest.mark.torture
@pytest.mark.parametrize(("make", "rounds"), [(_flip, 300), (_cut, 20), (_hole, 20)], ids=["flips", "cuts", "holes"])
def test_every_damage_is_found_and_stepped_over(original: Path, tmp_path: Path, make: object, rounds: int) -> None:
    """300 bit flips, 20 truncations, 20 holes of zeros."""
    _campaign(original, tmp_path, make, rounds)  # type: ignore[arg-type]


@pytest.mark.parametrize("rounds", [20, pytest.param(300, marks=pytest.mark.torture)])
def test_a_flip_in_a_manifest_misleads_nobody(original: Path, tmp_path: Path, rounds: int) -> None:
    """It is refused, or, where the bit changed nothing but a blank, read as it was."""
    rng = random.Random(rounds)
    for number in range(rounds):
        shelf = _damaged(original, tmp_path / str(number), _flip(rng), manifest=True)
        found, passed_over = shelf.newest_verified("run-1")
        assert found is not None
        assert (found.sequence, len(passed_over)) in ((2, 1), (3, 0))
        assert loads_right(shelf, found)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _remove(path: Path) -> None:
    path.unlink()


def _zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("damage", [_empty, _remove, _zeros, _longer, _folder, _link])
def test_a_payload_that_is_something_else_is_stepped_over(original: Path, tmp_path: Path, damage: object) -> None:
    """Power cuts leave empty files and files of zeros under the right name; people leave the rest."""
    assert _steps_back(_damaged(original, tmp_path / "shelf", damage))  # type: ignore[arg-type]


@pytest.mark.parametrize("damage", [_empty, _zeros, _folder, _link])
def test_a_manifest_that_is_something_else_is_stepped_over(original: Path, tmp_path: Path, damage: object) -> None:
    assert _steps_back(_damaged(original, tmp_path / "shelf", damage, manifest=True))  # type: ignore[arg-type]


def test_a_payload_without_a_manifest_was_never_acknowledged(original: Path, tmp_path: Path) -> None:
    """It is not loaded, and there is nothing to tell: nobody can say what it was to be."""
    shelf = _damaged(original, tmp_path / "shelf", _remove, manifest=True)

    found, passed_over = shelf.newest_verified("run-1")

    assert (found and found.sequence, passed_over) == (2, [])


def test_a_stale_manifest_beside_a_newer_payload_proves_nothing(original: Path, tmp_path: Path) -> None:
    """As a mount leaves it that keeps one file of two."""

    def swap(path: Path) -> None:
        path.write_bytes(path.read_bytes()[::-1])

    assert _steps_back(_damaged(original, tmp_path / "shelf", swap))


def test_when_all_are_damaged_there_is_none_and_each_is_named(original: Path, tmp_path: Path) -> None:
    shutil.copytree(original, tmp_path / "shelf")
    shelf = CheckpointDirectory(tmp_path / "shelf")
    for each in shelf.manifests():
        _zeros(shelf.folder / each.file / next(iter(each.files)))

    found, passed_over = shelf.newest_verified("run-1")

    assert found is None
    assert [each.about.partition(".")[0] for each in passed_over] == ["epoch3", "epoch2", "epoch1"]


def test_the_shelves_here_are_as_large_as_the_damage_needs(original: Path) -> None:
    """A hole must not cover a whole file, or it would be another test."""
    found: list[Manifest] = CheckpointDirectory(original).manifests()

    assert min(part.size_bytes for each in found for part in each.files.values()) > HOLE_BYTES
    assert sum(part.size_bytes for part in found[0].files.values()) == SIZE_BYTES
