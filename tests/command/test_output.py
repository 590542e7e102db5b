"""The tail of an output, and its lines as they pass."""

from __future__ import annotations

import pytest

from notifybot.command.output import LineReader, Tail, plain
from notifybot.testing import FakeClock


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (b"epoch 1\r", "epoch 1"),
        (b" 10%|#\r 50%|###\r100%|#####", "100%|#####"),
        (b"\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07", "red link"),
        (b"loss \xff\xfe 0.5", "loss �� 0.5"),
        ("손실 0.5".encode(), "손실 0.5"),
        (b"  indented", "  indented"),
        (b"\x00\x07bell", "bell"),
        (b"a\tb", "a\tb"),
    ],
)
def test_a_line_is_what_a_terminal_shows_at_its_end(line: bytes, shown: str) -> None:
    assert plain(line) == shown


def test_the_tail_has_the_last_lines_that_show_anything() -> None:
    tail = Tail()
    for piece in (b"one\ntw", b"o\n\n", b"\x1b[0m\nthree\nfour"):
        tail.feed(piece)

    assert tail.lines(3) == ["two", "three", "four"]
    assert tail.lines(0) == []


def test_an_hour_of_a_progress_bar_pushes_out_no_line() -> None:
    tail = Tail(limit_bytes=1000)
    tail.feed(b"loading\n")
    for step in range(10_000):
        tail.feed(f"\r{step / 100:.0f}%|{'#' * 20}".encode())
    tail.feed(b"\nTraceback\n")

    assert tail.lines(5) == ["loading", f"100%|{'#' * 20}", "Traceback"]


def test_memory_is_bounded_whatever_is_printed() -> None:
    """A hundred megabytes without a newline, and as many of short lines."""
    tail = Tail(limit_bytes=10_000)
    for piece in (b"x" * 1_000_000, b"ab\r\n" * 250_000):
        for _ in range(100):
            tail.feed(piece)
            assert sum(map(len, tail.lines(10_000_000))) <= 40_000

    assert tail.lines(1) == ["ab"]


def test_lines_may_precede_all_others() -> None:
    """Those of a file, which are read last: the error on the other stream stays at the end."""
    tail = Tail()
    tail.feed(b"Traceback\n", 2)
    tail.precede(b"one\ntwo\n")

    assert tail.lines(9) == ["one", "two", "Traceback"]


def test_a_line_of_one_stream_is_not_cut_by_the_other() -> None:
    tail = Tail()
    for piece, stream in ((b"epoch 3 lo", 1), (b"Traceback\n", 2), (b"ss 0.5\n", 1), (b"Key", 2)):
        tail.feed(piece, stream)

    assert tail.lines(9) == ["Traceback", "epoch 3 loss 0.5", "Key"]


def read(*pieces: bytes, apart_s: float = 0.0) -> list[str]:
    seen: list[str] = []
    clock = FakeClock()
    reader = LineReader(clock)
    for piece in pieces:
        seen += reader.feed(piece)
        clock.advance(apart_s)
    return seen


def test_lines_are_read_whole_however_they_come() -> None:
    assert read(b"epo", b"ch 1\nepoch", b" 2\nepoch 3") == ["epoch 1", "epoch 2"]


def test_a_bar_is_read_once_a_second() -> None:
    pieces = [f"\r{step}%".encode() for step in range(100)]

    assert 9 <= len(read(*pieces, apart_s=0.1)) <= 11
    assert read(b"5%\r6%\r7", apart_s=0.1) == ["6%"]


def test_after_a_gap_the_rest_of_a_line_is_none() -> None:
    reader = LineReader(FakeClock(), float("inf"))
    assert reader.feed(b"epoch 1\nepo") == ["epoch 1"]

    reader.skip()

    assert reader.feed(b"h 7\nepoch 8\n") == ["epoch 8"]


def test_a_flood_is_left_unread_and_reading_goes_on_after_it() -> None:
    """The line that begins in the flood is cut: it is not taken for a whole one."""
    seen = read(b"epoch 1\n", b"y\n" * 400_000, b"half a ", b"line\nepoch 2\n", apart_s=0.6)

    assert seen == ["epoch 1", "epoch 2"]
