"""What a tracker has missed when its process was killed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from notifybot.events import AlertRaised
from notifybot.training.resume import ReplayCursors
from notifybot.types import RunRef

EVENTS = [
    AlertRaised(id=name, run=RunRef("r", "r", "p"), at=datetime(2026, 11, 23, tzinfo=UTC), title=name) for name in "abc"
]


@pytest.mark.parametrize(("mark", "missed"), [("a", "bc"), ("c", ""), ("z", ""), (None, "abc")])
def test_what_lies_behind_the_mark_was_missed(tmp_path: Path, mark: str | None, missed: str) -> None:
    marks = ReplayCursors(tmp_path)
    if mark is not None:
        marks.put("jsonl", "a")
        marks.put("jsonl", mark)

    assert "".join(event.id for event in marks.missed("jsonl", EVENTS)) == missed


def test_trackers_have_their_own_marks(tmp_path: Path) -> None:
    marks = ReplayCursors(tmp_path)
    marks.put("jsonl", "b")

    assert len(marks.missed("jsonl", EVENTS)) == 1
    assert len(marks.missed("wandb", EVENTS)) == 3
