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
        print(in_json([_plain(each, config.lang) for each in findings]))
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
        part = _part(each.part, language)
        shown.add_row(Text(mark, style=style), Text(part, style="bold"), Text(each.what.in_(language)))
        if each.remedy is not None:
            shown.add_row("", "", Text(f"→ {each.remedy.in_(language)}", style=style))
    return shown


def _part(name: str, language: Language) -> str:
    """Return the name of a part in the language; a product's name, such as Slack, is not translated."""
    key = f"cli.doctor.part.{name.lower()}"
    return text(language, key) if has_text(key) else name


def _plain(finding: Finding, language: Language) -> dict[str, str | None]:
    return {
        "part": finding.part,
        "verdict": finding.verdict.value,
        "what": finding.what.in_(language),
        "remedy": finding.remedy.in_(language) if finding.remedy else None,
    }
