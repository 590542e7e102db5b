"""The text of a settings file with other values for some keys: all else in it stays as a person wrote it."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from notifybot.files import OVERWRITE, make_private

_VALUE = r"""("(?:[^"\\\r\n]|\\.)*"|'[^'\r\n]*')(?=[ \t]*(?:#|\r?$))"""


def read(path: Path) -> str:
    """The file's text with its own line ends; empty where there is no file. Raises OSError."""
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return ""


def with_values(text: str, values: Mapping[str, str]) -> str | None:
    """The text in which each key has its value; None where that cannot be done without touching anything else.

    A key that is there keeps its place and its comment; others stand above all that is there, since what follows a
    table's heading would belong to the table.
    """
    there = tomllib.loads(text)
    end = "\r\n" if "\r\n" in text else "\n"
    added = "".join(f"{key} = {_quoted(value)}{end}" for key, value in values.items() if key not in there)
    edited: str | None = f"{added}{end}{text}" if added and text else added or text
    for key, value in values.items():
        edited = _replaced(edited, key, value) if edited is not None and key in there else edited
    return edited if edited is not None and tomllib.loads(edited) == {**there, **values} else None


def _replaced(text: str, key: str, value: str) -> str | None:
    """The text with the one value replaced that a parser reads for the key: the same words may stand in a string."""
    before = tomllib.loads(text)
    for found in re.finditer(rf"^[ \t]*(?:{key}|\"{key}\"|'{key}')[ \t]*=[ \t]*{_VALUE}", text, re.MULTILINE):
        edited = text[: found.start(1)] + _quoted(value) + text[found.end(1) :]
        if tomllib.loads(edited) == {**before, key: value}:
            return edited
    return None


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def write_private(path: Path, text: str) -> None:
    """Replace a file, or what a link leads to, in one step; its owner alone can read it. Raises OSError."""
    path = path.resolve()
    fresh = path.with_name(f".{path.name}.new")
    number = os.open(fresh, OVERWRITE, 0o600)
    with os.fdopen(number, "wb") as file:
        make_private(number)  # one that an earlier try left may be open to others
        file.write(text.encode())
        file.flush()
        os.fsync(number)
    fresh.replace(path)
