"""Cutting and cleaning other people's text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from notifybot.rendering.text import clean, one_line, shorten, shorten_path, width

FAMILY = "👨\u200d👩\u200d👧"
FLAGS = "🇰🇷🇺🇸"
CLUSTERS = (
    "a", "한", " ", "\n", "e\u0301", "o\u0302\u0323", FAMILY, "🇰🇷", "🇺🇸", "👍🏽", "❤️", "1️⃣", "🏴\U000e0067\U000e007f",
    "\u1112\u1161\u11ab", "\u1100\u1161", "क्षि", "ｶﾞ", "नि", "가\u11a8",
)  # fmt: skip


@given(st.lists(st.sampled_from(CLUSTERS), max_size=40), st.integers(1, 60))
@example(["🇰🇷"] * 9, 8)
@example([FAMILY] * 3, 7)
def test_what_a_reader_takes_for_one_character_is_kept_or_dropped_whole(clusters: list[str], limit: int) -> None:
    text = "".join(clusters)
    ends = {0}
    for cluster in clusters:
        ends.add(max(ends) + len(cluster))

    cut = shorten(text, limit)

    assert len(cut) <= limit
    if cut != text:
        kept = cut.removesuffix("…")
        dropped_spaces = len(text[len(kept) :]) - len(text[len(kept) :].lstrip())
        assert text.startswith(kept)
        assert {len(kept), *range(len(kept), len(kept) + dropped_spaces + 1)} & ends


@given(st.text(max_size=300), st.integers(-1, 250))
def test_no_text_is_longer_than_the_limit_or_begins_its_dropped_part_with_a_mark(text: str, limit: int) -> None:
    cut = shorten(text, limit)

    assert len(cut) <= max(limit, 0)
    if len(text) > limit > 1:
        kept = cut.removesuffix("…")
        assert text.startswith(kept)
        dropped = text[len(kept) :]
        assert not kept or not unicodedata.category(dropped[0]).startswith("M")
        assert not kept.endswith("\u200d")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("val_acc 0.871", 13),
        ("에포크 3", 8),
        ("−0.021 · ★ ±0 ∞ …", 17),
        ("🚀💾✅❌🔔", 10),
        ("⚠️ 주의", 7),
        ("⚠ bare", 6),
        ("e\u0301o\u0302\u0323", 2),
        ("\u1112\u1161\u11ab\u1100\u1173\u11af", 4),
        ("👍🏽", 2),
    ],
)
def test_a_text_is_as_wide_as_a_terminal_draws_it(text: str, columns: int) -> None:
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        pytest.param("short", 5, "short", id="fits"),
        pytest.param("abcdef", 5, "abcd…", id="cut"),
        pytest.param("abcdef", 1, "…", id="room for the ellipsis alone"),
        pytest.param("abcdef", 0, "", id="no room"),
        pytest.param("the learning rate is too high", 25, "the learning rate is too…", id="at a word's end"),
        pytest.param("first line\nsecond and more", 13, "first line…", id="at a line's end"),
        pytest.param("unbreakablelongword tail", 12, "unbreakable…", id="no word's end near"),
        pytest.param("a" + "\u0301" * 9000, 200, "…", id="one character longer than the limit"),
        pytest.param(FLAGS, 3, "🇰🇷…", id="between two flags"),
        pytest.param(FLAGS, 4, FLAGS, id="flags that fit"),
        pytest.param("ab" + FAMILY, 5, "ab…", id="a family stays together"),
    ],
)
def test_shorten(text: str, limit: int, expected: str) -> None:
    assert shorten(text, limit) == expected


def test_a_path_loses_its_beginning() -> None:
    path = "/content/drive/MyDrive/checkpoints/resnet/epoch_17.pt"

    assert shorten_path(path, 30) == "…/resnet/epoch_17.pt"
    assert shorten_path(path, 200) == path
    assert len(shorten_path("한" * 300, 30)) == 30


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("plain", "plain", id="untouched"),
        pytest.param("tab\there\nline", "tab\there\nline", id="tab and newline stay"),
        pytest.param("\x1b[31mred\x1b[0m \x1b]0;title\x07end", "red end", id="terminal colours and titles"),
        pytest.param("a\r\nb\rc\u2028d\u0085e", "a\nb\nc\nd\ne", id="line breaks"),
        pytest.param("nul\x00bell\x07del\x7fc1\x9b", "nulbelldelc1", id="control characters"),
        pytest.param("gnp\u202egpj.\u2066exe\u2069", "gnpgpj.exe", id="bidirectional overrides"),
        pytest.param("ad\u200bmin\ufeff\u2060", "admin", id="zero-width characters"),
        pytest.param("ad\u200dmin", "admin", id="a joiner that joins nothing"),
        pytest.param(FAMILY, FAMILY, id="a joiner inside emoji"),
        pytest.param("क्\u200dष", "क्\u200dष", id="a joiner inside a word"),
        pytest.param("file\udcff.pt", "file\ufffd.pt", id="lone surrogates"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected


@given(st.text())
def test_cleaning_twice_changes_nothing_more(text: str) -> None:
    once = clean(text)

    assert clean(once) == once
    once.encode()


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    assert len(one_line(text).splitlines()) <= 1
    assert one_line(text) == one_line(text).strip()
