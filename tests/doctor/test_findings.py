"""Findings: a state with its sentence and, where something is to be done, the remedy, in both languages."""

from __future__ import annotations

import pytest

from notifybot.doctor.findings import Finding, Level, note, ok, wrong
from notifybot.i18n import localized

FREE = localized("doctor.machine.free_some_room", key="state_dir")


@pytest.mark.parametrize(
    ("finding", "level", "remedy"),
    [
        (ok("versions", "doctor.as_it_is", text="torch 2.10"), Level.OK, None),
        (note("versions", "doctor.as_it_is", text="torch 2.10"), Level.NOTE, None),
        (note("versions", localized("doctor.as_it_is", text="torch 2.10"), FREE), Level.NOTE, FREE.en),
        (wrong("versions", "doctor.as_it_is", FREE, text="torch 2.10"), Level.WRONG, FREE.en),
    ],
    ids=["ok", "note", "note with a remedy", "wrong"],
)
def test_a_text_is_given_by_its_key_and_values_or_whole(finding: Finding, level: Level, remedy: str | None) -> None:
    assert (finding.part, finding.verdict, finding.what.en) == ("versions", level, "torch 2.10")
    assert (finding.remedy.en if finding.remedy else None) == remedy
