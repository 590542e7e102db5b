"""`notifybot gallery`: writes the pages with every message."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from notifybot.cli.samples import pieces
from notifybot.clock import SYSTEM, Clock
from notifybot.config import load
from notifybot.errors import UsageError, reader_text, system_words
from notifybot.gallery.page import pages
from notifybot.i18n import text
from notifybot.types import Language


def run(*, out: Path, clock: Clock = SYSTEM) -> int:
    """Write the pages, and print the path of their index. Raises UsageError when the folder cannot be written."""
    reader = load().lang
    path = out / "index.html"
    try:
        for name, html in pages({each: pieces(each, clock.now()) for each in Language}, clock, reader):
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(html, encoding="utf-8")
    except OSError as error:
        why = system_words(error)
        raise UsageError(reader_text("cli.gallery.cannot_be_written", path=path, why=why)) from None
    told = text(reader, "cli.gallery.is_written", path=out / "index.html")
    Console().print(told, markup=False, soft_wrap=True, highlight=False)
    return 0
