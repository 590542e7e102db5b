"""Fonts of a picture: what can be written is written, in one line, and nothing becomes an empty box."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib import font_manager

from notifybot.charts.fonts import LATIN, Fonts, lettering
from notifybot.types import Language

LATIN_ONLY = Fonts((LATIN,), (Path(font_manager.findfont(LATIN)),))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("run-1", "run-1"),
        ("실험-1", "-1"),
        ("🚀 go\n\tfast", "go fast"),
        ("\u1112\u1161\u11ab", ""),
        ("x" * 50, "x" * 19 + "…"),
        ("$\\frac{1}{2}$", "$\\frac{1}{2}$"),
    ],
)
def test_only_letters_that_a_font_has_are_shown(text: str, shown: str) -> None:
    """What cannot be written is left out, in one line, and cut with a mark."""
    assert LATIN_ONLY.readable(text, 20) == shown


def test_a_font_is_chosen_by_what_it_can_write() -> None:
    """A name on the list whose file has no Hangul is passed over; with no candidate the Latin font is left."""
    assert lettering([LATIN]).families in ((LATIN,), lettering().families)
    assert lettering([]).families == (LATIN,)


def test_labels_are_english_where_korean_would_be_empty_boxes() -> None:
    assert not LATIN_ONLY.has_hangul
    assert [LATIN_ONLY.language(each) for each in Language] == [Language.EN, Language.EN]
