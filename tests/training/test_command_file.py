"""The file between `notifybot run` and the processes below it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.training.command_file import VARIABLE, CommandFile, announce, joined_run
from notifybot.types import RunRef


def path_of(file: CommandFile) -> Path:
    assert file.path is not None
    return file.path


RUN = RunRef("run-1", "digits", "vision", "session-1")


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch) -> Iterator[CommandFile]:
    """The file of a wrapper that this process is below."""
    made = CommandFile.create("run-1", "vision")
    monkeypatch.setenv(VARIABLE, str(made.path))
    yield made
    made.remove()


def test_a_process_joins_the_run_above_it_once(file: CommandFile) -> None:
    """A second run of the same program is one of its own."""
    assert joined_run("vision") == "run-1"
    assert joined_run("vision") is None


def test_a_run_of_another_project_joins_nothing(file: CommandFile) -> None:
    assert joined_run("audio") is None
    assert joined_run("vision") == "run-1"


def test_the_wrapper_hears_each_thing_once_and_in_order(file: CommandFile) -> None:
    later = RunRef("run-2", "second", "vision", "session-2")
    announce(RUN)
    announce(later)

    assert file.news() == [RUN, later]
    assert file.news() == []


def test_a_line_that_is_not_whole_yet_is_waited_for(file: CommandFile) -> None:
    announce(RUN)
    whole = path_of(file).read_bytes()
    path_of(file).write_bytes(whole[:-5])
    assert file.news() == []

    path_of(file).write_bytes(whole)
    assert file.news() == [RUN]


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[]\n", b'{"began": {"no": 1}}\n', b'{"log": 3}\n', b"\xff\n", b"3\n"]
)
def test_a_line_that_makes_no_sense_is_left_out(line: bytes, file: CommandFile) -> None:
    with path_of(file).open("ab") as opened:
        opened.write(line + b"\n")
    announce(RUN)

    assert file.news() == [RUN]


def test_nothing_is_joined_or_said_where_the_wrapper_is_gone(file: CommandFile) -> None:
    file.remove()

    assert joined_run("vision") is None
    announce(RUN)
    assert not path_of(file).exists()


def test_without_a_wrapper_there_is_nobody_to_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    assert joined_run("vision") is None
    announce(RUN)


def test_only_this_user_may_read_it(file: CommandFile) -> None:
    assert path_of(file).parent.stat().st_mode & 0o077 == 0


def test_a_full_disk_keeps_no_command_from_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no file can be made, wrapper and training do not know of each other."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    file = CommandFile.create("run-1", "vision")

    assert (file.path, file.news()) == (None, [])
    file.remove()
