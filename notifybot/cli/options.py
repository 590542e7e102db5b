"""Shared parts of the commands, so that all read and write alike: options, listings, JSON, and missing extras."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TextIO

import typer
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from notifybot.errors import UsageError, install, reader_text
from notifybot.i18n import text
from notifybot.types import Language

AsJson = Annotated[bool, typer.Option("--json")]
LanguageOption = Annotated[Language | None, typer.Option("--language", "-l")]


class Use(StrEnum):
    """Use of something: where it fits, in any case, or not at all."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


Cell = str | Text | tuple[str, ...]
"""A field of a listing, of one line; a tuple's items may stand in one line or below each other."""

_LEAST_COLUMNS = 24  # of a text that goes over several lines


@dataclass(frozen=True, slots=True)
class Listing:
    """Rows below headings: a table where it fits in whole, else a block for each row. Neither cuts a word off.

    The last column's text may take several lines of a table if it `wraps`.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    wraps: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        for between in ("  ", "\n"):
            table = self._table(between)
            if Measurement.get(console, options.update(width=10_000), table).minimum <= options.max_width:
                yield table
                return
        for row in self.rows:
            yield from self._block(row)

    def _table(self, between: str) -> Table:
        rows = [[_text(cell, between) for cell in row] for row in self.rows]
        table = Table()
        for heading, cells in zip(self.headings, zip(*rows, strict=True), strict=True):
            widest = max(line.cell_len for cell in (Text(heading), *cells) for line in cell.split(allow_blank=True))
            wraps = self.wraps and heading == self.headings[-1]
            least = min(widest, _LEAST_COLUMNS) if wraps else widest
            justify: JustifyMethod = "right" if all(cell.plain.isdigit() for cell in cells) else "left"
            table.add_column(heading, min_width=least, no_wrap=not wraps, overflow="fold", justify=justify)
        for row in rows:
            table.add_row(*row)
        return table

    def _block(self, row: Sequence[Cell]) -> Iterator[RenderableType]:
        """The first field on a line of its own, the others below it: a tuple's items alone, else after the heading."""
        yield Text(_text(row[0], "  ").plain, style="bold", overflow="fold")
        for heading, cell in zip(self.headings[1:], row[1:], strict=True):
            items = cell if isinstance(cell, tuple) else [Text.assemble(f"{heading}: ", cell)] if cell else []
            for item in items:
                line = Text.assemble(item, overflow="fold")
                yield Padding(line, (0, 0, 0, 2), expand=False)


def _text(cell: Cell, between: str) -> Text:
    if isinstance(cell, Text):
        return cell
    return Text(cell if isinstance(cell, str) else between.join(cell))


def columns(language: Language, *names: str) -> tuple[str, ...]:
    """The headings of these columns."""
    return tuple(text(language, f"cli.column.{name}") for name in names)


def in_json(value: object) -> str:
    """JSON for a program: in ASCII where standard output cannot carry every character."""
    return json.dumps(value, ensure_ascii=not is_utf8(sys.stdout), indent=2)


def is_utf8(stream: TextIO) -> bool:
    """True for a stream that takes every character."""
    return (getattr(stream, "encoding", None) or "utf-8").lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig")


@contextmanager
def extra(name: str) -> Iterator[None]:
    """While inside, a missing package becomes a UsageError that names the extra which brings it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"notifybot", *sys.stdlib_module_names}:
            raise  # a part of Python that this system lacks is brought by no extra
        raise UsageError(reader_text("cli.options.needs_package", name=error.name, command=install(name))) from error
