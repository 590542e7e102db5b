"""Files written in one step: the old content or the new, nothing half, nothing left behind."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import pytest

from notifybot import files
from notifybot.files import replacing, write_atomically


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path, *, private: bool, durable: bool) -> None:
    place = tmp_path / "a.txt"
    place.write_bytes(b"old")

    write_atomically(place, b"new", private=private, durable=durable)

    assert place.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.skipif(not files.POSIX, reason="modes are POSIX's")
def test_a_private_file_is_its_owners_alone_whatever_was_there(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    place.write_bytes(b"old")
    place.chmod(0o644)

    write_atomically(place, b"new", private=True)

    assert stat.S_IMODE(place.stat().st_mode) == 0o600


def _write_half(file: BinaryIO) -> None:
    file.write(b"ne")
    raise OSError("disk full")


@pytest.mark.parametrize("private", [False, True])
def test_what_fails_half_way_leaves_the_old_file_alone(tmp_path: Path, *, private: bool) -> None:
    place = tmp_path / "a.txt"
    place.write_bytes(b"old")

    with pytest.raises(OSError, match="disk full"), replacing(place, private=private) as file:
        _write_half(file)

    assert place.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [place]


def test_one_that_was_cut_short_is_not_left_for_ever(tmp_path: Path) -> None:
    """A kill leaves the hidden file: the next attempt takes its place."""
    place = tmp_path / "a.txt"
    (tmp_path / f".a.txt{files.TEMPORARY}").write_bytes(b"cut short by a ki")

    write_atomically(place, b"new")

    assert list(tmp_path.iterdir()) == [place]
    assert place.read_bytes() == b"new"


def test_what_is_durable_is_synced_before_it_has_its_name_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "a.txt"
    done: list[str] = []
    sync, rename = os.fsync, os.replace

    def note_sync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def note_rename(source: Path, target: Path) -> None:
        done.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "replace", note_rename)

    write_atomically(place, b"new")
    write_atomically(place, b"newer", durable=False)

    assert done == ["file", "rename", *(["folder"] if files.FOLDER is not None else []), "rename"]
