"""What a resumed run builds on: the events that count, and what trackers missed when their process was killed."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from notifybot.events import AlertRaised, EpochFinished
from notifybot.training.resume import ReplayCursors, ResumeInfo
from notifybot.types import Progress, RunRef

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


@pytest.mark.parametrize("done", [1, 2, 5])
def test_what_is_before_a_restored_epoch_counts_where_labels_fall_too(done: int) -> None:
    """As in `range(10, 0, -1)`: the epochs after the restored one are run again, those before it are not."""
    labels = list(range(10, 4, -1))
    run, at = RunRef("r", "r", "p", "s"), datetime(2026, 11, 23, tzinfo=UTC)
    events = tuple(
        EpochFinished(id=str(place), run=run, at=at, progress=Progress(epoch=label, done=place))
        for place, label in enumerate(labels, 1)
    )
    restored = ResumeInfo(progress=Progress(epoch=labels[done - 1], done=done))

    kept = [each for each in restored.kept(events) if isinstance(each, EpochFinished)]
    assert [each.progress.epoch for each in kept] == labels[:done]
