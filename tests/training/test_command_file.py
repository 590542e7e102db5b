"""The file between `notifybot run` and the processes below it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from notifybot.training.command_file import VARIABLE, CommandFile, announce, joined_run, log_values
from notifybot.types import RunRef

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
    announce(RUN)
    assert log_values({"epoch": 3, "loss": 0.5})

    assert file.news() == [RUN, {"epoch": 3, "loss": 0.5}]
    assert file.news() == []


def test_a_line_that_is_not_whole_yet_is_waited_for(file: CommandFile) -> None:
    announce(RUN)
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[:-5])
    assert file.news() == []

    file.path.write_bytes(whole)
    assert file.news() == [RUN]


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[]\n", b'{"began": {"no": 1}}\n', b'{"log": 3}\n', b"\xff\n", b"3\n"]
)
def test_a_line_that_makes_no_sense_is_left_out(line: bytes, file: CommandFile) -> None:
    with file.path.open("ab") as opened:
        opened.write(line + b"\n")
    announce(RUN)

    assert file.news() == [RUN]


def test_nothing_is_joined_or_said_where_the_wrapper_is_gone(file: CommandFile) -> None:
    file.remove()

    assert joined_run("vision") is None
    announce(RUN)
    assert not file.path.exists()


def test_without_a_wrapper_there_is_nobody_to_tell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)

    assert joined_run("vision") is None
    assert not log_values({"epoch": 1})


def test_only_this_user_may_read_it(file: CommandFile) -> None:
    assert file.path.parent.stat().st_mode & 0o077 == 0
