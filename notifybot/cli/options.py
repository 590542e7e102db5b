"""What several commands share, so that they read and write the same everywhere: options, and JSON."""

from __future__ import annotations

import json
import sys
from typing import Annotated, TextIO

import typer

from notifybot.model import Language

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a table.")]
Tongue = Annotated[Language | None, typer.Option("--language", "-l", help="The default is your setting `lang`.")]


def in_json(value: object) -> str:
    """JSON for a program: in ASCII where standard output cannot carry every character."""
    return json.dumps(value, ensure_ascii=not is_utf8(sys.stdout), indent=2)


def is_utf8(stream: TextIO) -> bool:
    """True for a stream that takes every character."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")
