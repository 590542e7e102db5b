"""Files that a command writes by itself, read behind it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notifybot.command.output_files import MOST_WAITING_BYTES, PIECE_BYTES, FilePiece, OutputFile, OutputFiles


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Any]:
    """Opens a log as a shell does: `>`, or `>>` with `appends`."""
    streams: list[int] = []

    def open_log(name: str = "log", *, appends: bool = False) -> int:
        how = os.O_APPEND if appends else os.O_TRUNC
        streams.append(os.open(tmp_path / name, os.O_CREAT | os.O_WRONLY | how))
        return streams[-1]

    yield open_log
    for each in streams:
        os.close(each)


@pytest.fixture
def follow() -> Iterator[Any]:
    """Follows a file, until the test has ended."""
    files: list[OutputFile] = []

    def open_behind(stream: int) -> OutputFile:
        files.append(OutputFile(stream))
        return files[-1]

    yield open_behind
    for each in files:
        each.close()


def text(file: OutputFile) -> bytes:
    piece = file.news()
    return b"" if piece is None else piece.text


def test_what_is_written_is_read_once_and_no_position_is_moved(opened: Any, follow: Any, tmp_path: Path) -> None:
    """The command shares the position: it would leave a hole, or write over itself."""
    stream = opened()
    file = follow(stream)
    assert (file.news(), file.has_grown()) == (None, False)

    os.write(stream, b"one\n")
    assert (text(file), file.has_grown(), file.has_grown()) == (b"one\n", True, False)
    os.write(stream, b"two\n")

    assert (text(file), text(file), file.tail()) == (b"two\n", b"", b"one\ntwo\n")
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"
    file.close()
    file.close()


@pytest.mark.parametrize("appends", [True, False])
def test_what_stood_in_the_file_is_not_the_commands(appends: bool, opened: Any, follow: Any, tmp_path: Path) -> None:
    """Of a `>>`, and of a script whose commands share one `>`."""
    (tmp_path / "log").write_bytes(b"of yesterday\n")
    stream = opened(appends=appends)
    os.write(stream, b"of the command before\n")
    file = follow(stream)
    os.write(stream, b"mine\n")

    assert (text(file), file.tail()) == (b"mine\n", b"mine\n")


def test_both_streams_of_one_file_are_read_once(opened: Any) -> None:
    first, second = opened(appends=True), opened(appends=True)
    os.write(first, b"before\n")
    files = OutputFiles()
    files.add(first)
    files.add(second)
    os.write(first, b"out\n")
    os.write(second, b"err\n")

    assert files.have_grown()
    assert list(files.news()) == [FilePiece(first, b"out\nerr\n")]
    assert list(files.tails()) == [(first, b"out\nerr\n")]
    files.close()


def test_two_files_are_read_apart(opened: Any) -> None:
    first, second = opened(), opened("errors")
    files = OutputFiles()
    files.add(first)
    files.add(second)
    os.write(second, b"err\n")

    assert list(files.news()) == [FilePiece(second, b"err\n")]
    assert list(files.tails()) == [(first, b""), (second, b"err\n")]
    assert (files.have_grown(), files.have_grown()) == (True, False)
    files.close()


@pytest.mark.parametrize("moved", ["renamed", "deleted"])
def test_a_file_that_is_renamed_or_deleted_is_read_on(moved: str, opened: Any, follow: Any, tmp_path: Path) -> None:
    """As the command writes on into it; before it was looked at first, and after."""
    first, second = opened("log"), opened("log.2")
    files = [follow(first), follow(second)]
    os.write(first, b"one\n")
    assert text(files[0]) == b"one\n"

    for name in ("log", "log.2"):
        path = tmp_path / name
        if moved == "renamed":
            path.rename(tmp_path / f"{name}.old")
        else:
            path.unlink()
        path.write_bytes(b"of somebody else\n" * 9)
    os.write(first, b"two\n")
    os.write(second, b"two\n")

    assert [text(each) for each in files] == [b"two\n", b"two\n"]
    assert [each.tail() for each in files] == [b"one\ntwo\n", b"two\n"]


@pytest.mark.parametrize("appends", [True, False])
@pytest.mark.parametrize("seen_empty", [True, False])
def test_a_truncated_file_is_read_from_its_beginning(appends: bool, seen_empty: bool, opened: Any, follow: Any) -> None:
    """As `copytruncate` of logrotate leaves it: whoever does not append writes on after a hole, however large."""
    stream = opened(appends=appends)
    file = follow(stream)
    os.write(stream, b"x" * 50_000_000 + b"\n")
    while text(file):
        pass

    os.ftruncate(stream, 0)
    if seen_empty:
        assert text(file) == b""
    os.write(stream, b"epoch 2\n")

    assert text(file).lstrip(b"\0") == b"epoch 2\n"
    assert text(file) == b""
    assert file.tail() == b"epoch 2\n"
    assert file.has_grown()


def test_reading_is_bounded_and_skips_what_floods(opened: Any, follow: Any) -> None:
    stream = opened()
    file = follow(stream)
    os.write(stream, b"y" * (PIECE_BYTES + 7))
    assert [len(text(file)), len(text(file))] == [PIECE_BYTES, 7]

    os.write(stream, b"y" * (2 * MOST_WAITING_BYTES) + b"\nepoch 9\n")

    piece = file.news()
    assert piece is not None
    assert (piece.cut, len(piece.text), piece.text[-9:]) == (True, PIECE_BYTES, b"\nepoch 9\n")
    assert file.news() is None


def test_an_hour_of_a_bar_pushes_no_line_out_of_the_tail(opened: Any, follow: Any) -> None:
    stream = opened()
    file = follow(stream)
    os.write(stream, b"loading\n" + b"".join(b"\r%d%%|%s" % (step, b"#" * 50) for step in range(15_000)) + b"\nend\n")

    assert file.tail().splitlines() == [b"loading", b"14999%|" + b"#" * 50, b"end"]


def test_the_commands_position_shows_that_it_writes(opened: Any, follow: Any) -> None:
    """Where a network file system tells an old size, and where the file does not grow."""
    stream = opened()
    file = follow(stream)
    os.write(stream, b"100%")
    assert file.has_grown()

    os.lseek(stream, 0, os.SEEK_SET)
    os.write(stream, b"5%")

    assert file.has_grown()


def test_a_file_that_cannot_be_opened_is_an_error_and_no_tail(
    opened: Any, follow: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where there is no /proc."""
    file = follow(opened())
    monkeypatch.setattr("notifybot.command.output_files._OWN_STREAMS", str(tmp_path / "none"))

    with pytest.raises(OSError, match="none"):
        file.news()
    assert file.tail() == b""
