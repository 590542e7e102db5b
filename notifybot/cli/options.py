"""Options that several commands share, so that they read the same everywhere."""

from __future__ import annotations

from typing import Annotated

import typer

from notifybot.model import Language

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a program instead of a table.")]
Tongue = Annotated[Language | None, typer.Option("--language", "-l", help="The default is your setting `lang`.")]
