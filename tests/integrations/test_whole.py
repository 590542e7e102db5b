"""Choice of a framework's newest whole checkpoint."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.checkpoints.errors import Flawed
from notifybot.integrations.guest import Guest
from notifybot.integrations.whole import _passed_over, newest_first, newest_whole, tell_passed_over
from notifybot.types import Reason


def check(path: Path) -> None:
    content = path.read_text()
    if content:
        raise Flawed(Reason("cut_short", content))


def test_the_first_that_is_whole_is_chosen_and_those_before_it_are_remembered(tmp_path: Path) -> None:
    """One that is gone is passed over, too; the next look forgets."""
    for name, content in (("c", "c"), ("b", "part"), ("a", "")):
        (tmp_path / name).write_text(content)
    newest_first = [tmp_path / name for name in ("gone", "c", "b", "a")]

    assert newest_whole(tmp_path, newest_first, check) == tmp_path / "a"
    passed_over, used = _passed_over[tmp_path]
    assert ([each.about for each in passed_over], used) == (["gone", "c", "b/part"], "a")
    assert newest_whole(tmp_path, newest_first[3:], check) == tmp_path / "a"
    assert tmp_path not in _passed_over


def test_nothing_whole_is_none(tmp_path: Path) -> None:
    assert newest_whole(tmp_path, [tmp_path / "gone"], check) is None
    assert newest_whole(tmp_path, [], check) is None


def test_without_a_run_nobody_is_told(tmp_path: Path) -> None:
    newest_whole(tmp_path, [tmp_path / "gone"], check)
    tell_passed_over(Guest("digits"), tmp_path)

    assert tmp_path not in _passed_over


def test_the_newest_files_come_first_also_from_folders_below(tmp_path: Path) -> None:
    (tmp_path / "version_1").mkdir()
    for moment, name in enumerate(("a.ckpt", "version_1/b.ckpt", "c.pt", "d.ckpt")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (moment, moment))

    assert [each.name for each in newest_first(tmp_path, "*.ckpt")] == ["d.ckpt", "b.ckpt", "a.ckpt"]
    assert newest_first(tmp_path / "none", "*.ckpt") == []


def test_a_folder_that_cannot_be_read_has_no_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a Drive that is no longer connected: the training begins anew, as with a Trainer's checkpoints."""
    (found := tmp_path / "a.ckpt").touch()

    def disconnected(self: Path, pattern: str) -> Iterator[Path]:
        yield found
        raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")

    monkeypatch.setattr(Path, "rglob", disconnected)

    assert newest_first(tmp_path, "*.ckpt") == []
