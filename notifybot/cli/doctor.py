"""`notifybot doctor`: prints the findings of the examination."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifybot.cli.options import in_json
from notifybot.config import load
from notifybot.doctor.examine import examine
from notifybot.doctor.findings import Finding, Level
from notifybot.i18n import has_text, text
from notifybot.types import Language

_MARKS = {Level.OK: ("✓", "green"), Level.NOTE: ("·", "yellow"), Level.WRONG: ("✗", "bold red")}


def run(*, language: Language | None, as_json: bool) -> int:
    """Print what is found, with what to do; 1 when something is wrong."""
    config = load({"lang": language})
    findings = examine(config)
    number = sum(each.verdict is Level.WRONG for each in findings)
    if as_json:
        plain = [
            {
                "part": each.part,
                "verdict": each.verdict.value,
                "what": each.what.in_(config.lang),
                "remedy": each.remedy.in_(config.lang) if each.remedy else None,
            }
            for each in findings
        ]
        print(in_json(plain))
    else:
        Console().print(table(findings, config.lang))
        key = ("cli.doctor.all_is_well", "cli.doctor.one_to_mend", "cli.doctor.several_to_mend")[min(number, 2)]
        Console().print(text(config.lang, key, number=number), markup=False)
    return 1 if number else 0


def table(findings: Sequence[Finding], language: Language) -> Table:
    """The findings, each with its mark, and below it what to do."""
    shown = Table.grid(padding=(0, 1))
    for _ in range(3):
        shown.add_column(overflow="fold")  # without it, Rich drops the overflowing Korean character
    for each in findings:
        mark, style = _MARKS[each.verdict]
        key = f"cli.doctor.part.{each.part.lower()}"
        part = text(language, key) if has_text(key) else each.part  # a product's name, such as Slack, stays
        shown.add_row(Text(mark, style=style), Text(part, style="bold"), Text(each.what.in_(language)))
        if each.remedy is not None:
            shown.add_row("", "", Text(f"→ {each.remedy.in_(language)}", style=style))
    return shown
