"""What a person reads of our errors, warnings and output is a text of the catalog, whichever way it takes."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from notifybot.errors import READER, reader_text, system_words
from notifybot.i18n import _catalog

PACKAGE = Path(__file__).parents[1] / "notifybot"
OURS = frozenset(
    {"NotifybotError", "UsageError", "ConfigError", "CheckpointError", "StoreError", "FullError", "Flawed"}
)
VALIDATORS = ("config.py", "config_sources.py", "preferences.py")  # whose ValueErrors become a ConfigError's text
LEVELS = frozenset({"warning", "error", "critical", "exception"})
PRINTED = frozenset(
    {"print", "echo", "secho", "ask", "confirm", "prompt", "say", "add_row", "add_column", "Text", "Panel"}
)
SHOWN = frozenset({"help", "short_help", "epilog", "title", "caption"})  # arguments of whatever builds a page or a help
NO_WORDS = {  # and may only become fewer: why
    'pip install -c constraints.txt ".[': "a command",
    "  export NOTIFYBOT_WATCHDOG_TOKEN=…": "a command",
    "Value error, ": "pydantic's own beginning, which is taken off",
    "notebook cell": "stands in a traceback, as Python's English does",
    "notifybot watchdog": "the name of the API",
}
STYLES = frozenset({"bold", "dim", "red", "green", "yellow"})


def in_words(text: str) -> bool:
    """True for English that is to be read: two words at least, what a format string is filled with left aside."""
    plain = re.sub(r"%[-.\d]*[a-z]|\{[^{}]*\}", "", text)
    return len(re.findall(r"[A-Za-z]{2,}", plain)) >= 2 and " " in plain.strip() and not set(plain.split()) <= STYLES


@cache
def trees() -> Mapping[str, ast.Module]:
    """Every module of the package by its path in it."""
    return {
        path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def functions() -> Mapping[str, list[ast.FunctionDef]]:
    """Every function of the package that returns text, by name."""
    found: dict[str, list[ast.FunctionDef]] = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.returns is not None and ast.unparse(node.returns) == "str":
                found.setdefault(node.name, []).append(node)
    return found


def name_of(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def english(node: ast.AST, inside: ast.AST, seen: frozenset[str] = frozenset()) -> Iterator[str]:
    """The English that an expression is made of, and that is no key of the catalog.

    What it takes from a variable of the function around it, `inside`, and from a function of ours is looked at too.
    """
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str) and in_words(node.value) and node.value not in NO_WORDS:
            yield node.value
    elif isinstance(node, ast.Name) and node.id not in seen:
        for each in ast.walk(inside):
            if isinstance(each, ast.Assign) and any(name_of(target) == node.id for target in each.targets):
                yield from english(each.value, inside, seen | {node.id})
    elif isinstance(node, ast.Call):
        words = (
            node.args[1:] if name_of(node.func) in ("search", "match", "fullmatch") else node.args
        )  # no pattern is one
        for argument in [*words, *[each.value for each in node.keywords]]:
            yield from english(argument, inside, seen)
        if (name := name_of(node.func)) not in seen:
            for function in functions().get(name, ()):
                for each in ast.walk(function):
                    if isinstance(each, ast.Return) and each.value is not None:
                        yield from english(each.value, function, seen | {name})
    else:
        for child in ast.iter_child_nodes(node):
            yield from english(child, inside, seen)


def is_logged(function: ast.expr) -> bool:
    """True for `log.warning` and what is more urgent: it reaches a console where nobody has set logging up."""
    if not isinstance(function, ast.Attribute) or function.attr not in LEVELS:
        return False
    return name_of(function.value).lower().strip("_") in ("log", "logger")


def spoken(module: str, tree: ast.Module) -> Iterator[tuple[ast.Call, ast.AST]]:
    """The calls whose arguments a person reads, each with the function around it."""
    kinds = OURS | {"ValueError"} if module in VALIDATORS else OURS
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        for node in ast.walk(function):
            raised = node.exc if isinstance(node, ast.Raise) else None
            if isinstance(raised, ast.Call) and name_of(raised.func) in kinds:
                yield raised, function
            if isinstance(node, ast.Call) and (is_logged(node.func) or name_of(node.func) in PRINTED):
                yield node, function


@cache
def all_spoken() -> list[tuple[str, ast.Call, ast.AST]]:
    return [(module, *each) for module, tree in trees().items() for each in spoken(module, tree)]


def of_one_language() -> dict[str, str]:
    """Where something is said in English alone, and what."""
    return {
        f"{module}:{call.lineno}": text
        for module, call, function in all_spoken()
        for argument in [*call.args, *[each.value for each in call.keywords]]
        for text in english(argument, function)
    }


def of_one_language_in_a_help() -> dict[str, str]:
    """Where the help of a command or the head of a table is said in the code, and what."""
    return {
        f"{module}:{node.lineno}": text
        for module, tree in trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for each in node.keywords
        if each.arg in SHOWN
        for text in english(each.value, tree)
    }


def test_errors_warnings_and_output_are_said_in_both_languages() -> None:
    """`raise UsageError(reader_text("…"))`: whoever writes two lines around a loop may not read English."""
    assert of_one_language() == {}


def test_no_help_and_no_head_of_a_table_stands_in_the_code() -> None:
    assert of_one_language_in_a_help() == {}


def test_the_search_finds_what_it_is_for() -> None:
    """A text that is given at once, by way of a variable, or by way of a function of ours."""
    source = 'def f():\n    text = f"{a} is no number"\n    raise UsageError(text)'
    tree = ast.parse(source)
    ((call, function),) = spoken("given.py", tree)

    assert list(english(call.args[0], function)) == [" is no number"]
    assert list(english(ast.parse('reader_text("config.no_number")'), function)) == []
    assert list(english(ast.parse('print(Text("two words", "bold red"))'), function)) == ["two words"]
    assert len(all_spoken()) > 200


def own_causes() -> list[str]:
    """Where an error of ours is raised while another of ours is handled, and would stand above it in the traceback."""
    ours = OURS | {"Unread", "Superseded", "DeliveryError", "TemporaryError", "PermanentError"}
    return [
        f"{module}:{node.lineno}"
        for module, tree in trees().items()
        for handler in ast.walk(tree)
        if isinstance(handler, ast.ExceptHandler) and handler.type is not None
        if ours & {each.id for each in ast.walk(handler.type) if isinstance(each, ast.Name)}
        for node in ast.walk(handler)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        if not (isinstance(node.cause, ast.Constant) and node.cause.value is None)
    ]


def test_no_error_of_ours_is_shown_as_the_cause_of_another() -> None:
    """Sixty lines of our own doing stand between a person and the one line that is meant for them."""
    assert own_causes() == []


def test_what_the_system_says_is_translated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number and the path are left out; where we have no words, the system's own stay."""
    full = OSError(errno.ENOSPC, "No space left on device", "/data/a.pt")
    monkeypatch.setattr(READER, "language_of_settings", "ko")

    assert system_words(full) == "저장 공간이 부족합니다"
    assert system_words(OSError(errno.EXDEV, "Invalid cross-device link")) == "Invalid cross-device link"
    assert system_words(OSError("no errno at all")) == "no errno at all"


def test_in_english_the_system_has_its_own_words() -> None:
    """The catalog's are the same; words that say more than those are kept."""
    codes = [key.rpartition(".")[2] for key in _catalog("en") if key.startswith("errors.system.E")]

    assert [_catalog("en")[f"errors.system.{code}"] for code in codes] == [
        os.strerror(getattr(errno, code)) for code in codes
    ]
    assert (
        system_words(OSError(errno.EIO, "of 5 bytes written the disk kept 3")) == "of 5 bytes written the disk kept 3"
    )
    assert len(codes) > 20


@pytest.mark.parametrize(("language", "text"), [("ko", "글자여야 합니다"), ("en", "must be text")])
def test_a_text_is_in_the_readers_language(language: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the settings have it at the moment when it is said."""
    monkeypatch.setattr(READER, "language_of_settings", language)

    assert text == reader_text("config.must_be_text")
