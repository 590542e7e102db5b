"""`notifybot doctor`"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifybot.cli.options import in_json
from notifybot.config import load
from notifybot.doctor.examine import examine
from notifybot.doctor.findings import Finding, Level
from notifybot.types import Language

_MARKS = {Level.OK: ("✓", "green"), Level.NOTE: ("·", "yellow"), Level.WRONG: ("✗", "bold red")}
_CLOSING = {
    Language.EN: ("All is well.", "1 to mend.", "{number} to mend."),
    Language.KO: ("모두 정상입니다.", "고칠 점이 하나 있습니다.", "고칠 점이 {number}개 있습니다."),
}
_PARTS_KO = {  # a name of its own stays as it is
    "clock": "시계", "disk": "디스크", "notifiers": "알림 수단", "outbox": "보낼 편지함", "settings": "설정",
    "versions": "버전", "watchdog": "감시 서버", "webhook": "웹훅", "KakaoTalk": "카카오톡",
}  # fmt: skip


def run(*, language: Language | None, as_json: bool) -> int:
    """Print what is found, with what to do; 1 when something is wrong."""
    config = load({"lang": language})
    findings = examine(config)
    number = sum(each.verdict is Level.WRONG for each in findings)
    if as_json:
        print(in_json([_plain(each, config.lang) for each in findings]))
    else:
        well, one, several = _CLOSING[config.lang]
        Console().print(table(findings, config.lang))
        Console().print(several.format(number=number) if number > 1 else one if number else well, markup=False)
    return 1 if number else 0


def table(findings: Sequence[Finding], language: Language) -> Table:
    """The findings, each with its mark, and below it what to do."""
    shown = Table.grid(padding=(0, 1))
    for _ in range(3):
        shown.add_column(overflow="fold")  # else Rich cuts a line of Korean by the letter that stands over its end
    for each in findings:
        mark, style = _MARKS[each.verdict]
        part = _PARTS_KO.get(each.part, each.part) if language is Language.KO else each.part
        shown.add_row(Text(mark, style=style), Text(part, style="bold"), Text(each.what.in_(language)))
        if each.remedy is not None:
            shown.add_row("", "", Text(f"→ {each.remedy.in_(language)}", style=style))
    return shown


def _plain(finding: Finding, language: Language) -> dict[str, str | None]:
    return {
        "part": finding.part,
        "verdict": finding.verdict.value,
        "what": finding.what.in_(language),
        "remedy": finding.remedy.in_(language) if finding.remedy else None,
    }
