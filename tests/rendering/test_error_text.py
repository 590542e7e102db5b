"""Why a checkpoint could not be used or saved: each reason in both languages, and nothing of it taken for words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from notifybot.i18n import keys_of, text
from notifybot.rendering import error_text
from notifybot.rendering.error_text import reason_line
from notifybot.types import Language, Reason

EN, KO = Language.EN, Language.KO
PACKAGE = Path(error_text.__file__).parents[1]
WORDED = keys_of("checkpoint.error.")
HANGUL = re.compile("[가-힣]")


def codes_in_use() -> set[str]:
    """The first argument of every `Reason(…)` and `_reason(…)` in the package."""
    found = set()
    for path in [(PACKAGE / each).rglob("*.py") for each in ("checkpoints", "training", "integrations")]:
        for each in path:
            for node in ast.walk(ast.parse(each.read_text("utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Reason", "_reason"):
                    texts = [leaf.value for leaf in ast.walk(node.args[0]) if isinstance(leaf, ast.Constant)]
                    found |= {text for text in texts if isinstance(text, str)}
    return found


def test_every_reason_that_is_given_has_words_and_no_other_has() -> None:
    assert set(WORDED) == codes_in_use() | error_text.NOTES


@pytest.mark.parametrize("code", WORDED)
def test_each_language_says_it_in_its_own_words(code: str) -> None:
    english, korean = (text(language, f"checkpoint.error.{code}", text="its own text") for language in (EN, KO))

    assert HANGUL.search(korean) or korean == "its own text"
    assert not HANGUL.search(english)


@pytest.mark.parametrize(
    ("reason", "english", "korean"),
    [
        (Reason("missing", "a.pt"), "a.pt: it is missing", "a.pt: 파일이 없습니다"),
        (
            Reason("missing", "a.sharded", {"part": "__0_0.distcp"}),
            "a.sharded: __0_0.distcp is missing",
            "a.sharded: __0_0.distcp 파일이 없습니다",
        ),
        (
            Reason("size", "a.pt", {"found": "5", "expected": "77"}),
            "a.pt: it has 5 bytes instead of 77",
            "a.pt: 크기가 77바이트가 아니라 5바이트입니다",
        ),
        (Reason("still_writing"), "the one before is still being written", "이전 체크포인트를 아직 저장하고 있습니다"),
    ],
)
def test_a_reason_names_the_thing_and_what_is_wrong_with_it(reason: Reason, english: str, korean: str) -> None:
    assert (reason_line(reason, EN), reason_line(reason, KO)) == (english, korean)


@pytest.mark.parametrize("language", Language)
def test_a_reason_from_elsewhere_is_told_as_far_as_it_is_known(language: Language) -> None:
    """A stored one may come from a later version, or through the watchdog from anybody."""
    assert reason_line(Reason("dreamt"), language) == "dreamt"
    assert reason_line(Reason("dreamt", "a.pt", {"text": "{0} {x}"}), language) == "a.pt: {0} {x}"
    assert "?" in reason_line(Reason("size"), language)
    assert "{text.__class__}" in reason_line(Reason("unreadable", values={"text": "{text.__class__}"}), language)
