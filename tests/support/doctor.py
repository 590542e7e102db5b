"""The findings of the doctor for the settings as they are."""

from __future__ import annotations

from notifybot.config import load
from notifybot.doctor.examine import examine
from notifybot.doctor.findings import Finding, Level


def examined() -> list[Finding]:
    return examine(load())


def wrongs(findings: list[Finding]) -> list[Finding]:
    return [each for each in findings if each.verdict is Level.WRONG]
