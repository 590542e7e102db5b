"""Labels of a run: its status, how far it has come, and where it failed."""

from __future__ import annotations

import sys

import pytest

from notifybot.rendering.labels import cause, epoch_name, has_end, position
from notifybot.types import Language, Progress


@pytest.mark.parametrize(
    ("progress", "english", "korean"),
    [
        pytest.param(Progress(3, 3, 30), "epoch 3/30", "에포크 3/30", id="labels from one"),
        pytest.param(Progress(2, 3, 30), "epoch 2 (3/30)", "에포크 2 (3/30)", id="labels from zero"),
        pytest.param(Progress(None, 3, 30), "epoch 3/30", "에포크 3/30", id="no labels"),
        pytest.param(Progress(3, 3), "epoch 3", "에포크 3", id="no total"),
        pytest.param(Progress(3, 3, sys.maxsize), "epoch 3", "에포크 3", id="no end"),
        pytest.param(Progress(total=30), "", "", id="before the first"),
    ],
)
def test_a_position_is_the_users_label_and_the_count(progress: Progress, english: str, korean: str) -> None:
    assert position(progress, Language.EN) == english
    assert position(progress, Language.KO) == korean


def test_a_number_of_epochs_that_nobody_reaches_is_no_end() -> None:
    assert [has_end(total) for total in (None, 0, 1, 10**9, 10**9 + 1)] == [False, False, True, True, False]


def test_a_cause_names_its_place_in_the_readers_language() -> None:
    """Only the one at the end, which notifybot put there."""
    assert epoch_name(17, Language.KO) == "에포크 17"
    assert cause("E: [epoch 2] in words [epoch 17]", Language.KO) == "E: [epoch 2] in words [에포크 17]"
    assert cause("E: boom [epoch 3]", Language.EN) == "E: boom [epoch 3]"
