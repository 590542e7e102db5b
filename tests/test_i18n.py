"""The catalog of texts: the same keys and places in both languages, every key used, the user's own texts in front."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from notifybot.i18n import MESSAGES, OVERRIDES, _catalog, localized, places_of, text

ROOT = Path(__file__).parents[1]
SAY = {"text", "reader_text", "localized", "Localized", "t", "_text"}  # what takes a key; `t` in pages


BY_CODE = re.compile(r"\w+\.error\.")  # the texts of a service's codes; tests/rendering look for each code's


@cache
def written() -> tuple[set[str], tuple[str, ...]]:
    """The keys that stand in the code and the pages, and the beginnings of those that are put together there."""
    keys: set[str] = set()
    beginnings: set[str] = set()
    for path in (ROOT / "notifybot").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                keys.add(node.value)
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                beginnings.add(str(node.values[0].value))
    for path in [*(ROOT / "templates").rglob("*.html"), *(ROOT / "templates").rglob("*.j2")]:
        keys |= set(re.findall(r"""\bt\((?:[\w.']+, )?["']([\w.-]+)["']""", path.read_text("utf-8")))
    return keys, tuple(each for each in beginnings if re.fullmatch(r"[a-z_]+\.(?:[\w-]+\.)*[\w-]*", each))


def said_keys() -> Iterator[tuple[str, str]]:
    """Where in the code a key stands as a constant, and the key."""
    for path in (ROOT / "notifybot").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", getattr(node.func, "attr", "")) not in SAY:
                continue
            for each in node.args[:2]:
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and "." in each.value:
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", each.value


def test_both_languages_have_the_same_texts_with_the_same_places() -> None:
    english, korean = _catalog("en"), _catalog("ko")

    assert english.keys() == korean.keys()
    assert {key for key in english if places_of(english[key]) != places_of(korean[key])} == set()


def test_every_key_that_is_said_is_in_the_catalog() -> None:
    assert [(where, key) for where, key in said_keys() if key not in _catalog("en")] == []


def given_places() -> Iterator[tuple[str, str, set[str]]]:
    """Where in the code a key is said with its values, the key, and the names of the values."""
    for path in (ROOT / "notifybot").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", getattr(node.func, "attr", "")) not in SAY:
                continue
            names = [each.arg for each in node.keywords]
            keys = [each.value for each in node.args[:2] if isinstance(each, ast.Constant)]
            if None not in names and keys and isinstance(keys[-1], str) and "." in keys[-1]:
                yield f"{path.relative_to(ROOT)}:{node.lineno}", keys[-1], {name for name in names if name}


def test_every_place_of_a_text_is_given_a_value() -> None:
    """A value that is not given would be a question mark, and one without a place would be lost."""
    english = _catalog("en")

    assert [
        (where, key, places_of(english[key]) ^ names)
        for where, key, names in given_places()
        if key in english and names != places_of(english[key])
    ] == []


def test_every_text_is_used() -> None:
    """A key stands in the code as a whole or is put together there from a beginning: f"kakao.error.{code}"."""
    keys, beginnings = written()

    assert [
        key for key in _catalog("en") if key not in keys and not key.startswith(beginnings) and not BY_CODE.match(key)
    ] == []


def test_a_text_is_filled_in_the_language_asked_for() -> None:
    assert "-: " not in text("en", "i18n.unfit", path="a.toml", keys="x")
    assert text("en", "i18n.unfit", path="a.toml", keys="x").startswith("a.toml: texts that stay ours")
    assert text("ko", "i18n.unfit", path="a.toml", keys="x").startswith("a.toml: 모르는 키")


def test_what_is_missing_costs_no_message() -> None:
    """A value that is not given, a key that is not known, a language that we do not speak."""
    assert text("ko", "i18n.unfit", path="a.toml").endswith(": ?")
    assert text("en", "no.such_key") == "no.such_key"
    assert text("fr", "i18n.unfit", path="a.toml") == text("en", "i18n.unfit", path="a.toml")


def test_a_text_that_is_said_later_takes_others_into_its_places() -> None:
    inner = localized("i18n.unfit", path="b.toml", keys="y")

    outer = localized("i18n.unfit", path="a.toml", keys=inner)

    assert outer.ko.endswith(inner.ko)
    assert outer.en.endswith(inner.en)


@pytest.fixture
def own_texts(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "ko").mkdir()
    OVERRIDES.use(tmp_path)
    yield tmp_path / "ko" / MESSAGES
    OVERRIDES.use(None)


def test_a_users_own_text_stands_for_ours(own_texts: Path) -> None:
    own_texts.write_text('[i18n]\nunfit = "{path}에서 {keys}는 쓰지 않아요"\n', "utf-8")

    assert text("ko", "i18n.unfit", path="a", keys="b") == "a에서 b는 쓰지 않아요"
    assert text("en", "i18n.unfit", path="a", keys="b").startswith("a: texts")


@pytest.mark.parametrize(
    "own",
    ['[i18n]\nunfit = "{nothing_of_ours}"', '[i18n]\nunfit = "{path"', "[i18n]\nunfit = 3", "[[", '[other]\nkey = "x"'],
    ids=["place", "brace", "number", "no TOML", "key"],
)
def test_a_users_text_that_cannot_be_said_is_told_and_ours_stays(
    own: str, own_texts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    own_texts.write_text(own, "utf-8")

    assert text("ko", "i18n.unfit", path="a", keys="b").startswith("a: 모르는 키")
    assert text("ko", "i18n.unfit", path="a", keys="b").startswith("a: 모르는 키")
    assert [record.getMessage().partition(": ")[0] for record in caplog.records] == [str(own_texts)]


def test_the_catalogs_are_toml_with_nothing_but_texts() -> None:
    for language in ("en", "ko"):
        tables = [tomllib.loads((ROOT / "templates" / language / MESSAGES).read_text("utf-8"))]
        while tables:
            for value in tables.pop().values():
                assert isinstance(value, str | dict)
                if isinstance(value, dict):
                    tables.append(value)
