"""Errors of checkpoints carry a reason and say it, in the reader's language and after a pickle."""

from __future__ import annotations

import pickle
import re

import pytest

from notifybot.checkpoints.errors import Flawed, Late, Unreadable, reason_of
from notifybot.errors import READER, CheckpointError
from notifybot.notifiers.base import permanent_error
from notifybot.rendering.error_text import reason_line
from notifybot.types import Language, Reason

EN, KO = Language.EN, Language.KO


NO_STATE = "a.pt: model_state_dict와 epoch이 들어 있지 않습니다"


HANGUL = re.compile("[가-힣]")


@pytest.mark.parametrize(
    ("error", "english", "korean"),
    [
        (OSError(28, "No space left on device", "/somewhere"), "No space left on device", "저장 공간이 부족합니다"),
        (OSError(22, "not a regular file"), "not a regular file", "일반 파일이 아닙니다"),
        (OSError(11, "Try again"), "Try again", "Try again"),
        (TimeoutError("too slow"), "TimeoutError: too slow", "TimeoutError: too slow"),
        (RuntimeError(), "RuntimeError", "RuntimeError"),
        (CheckpointError("no group"), "CheckpointError: no group", "CheckpointError: no group"),
        (Flawed(Reason("no_state", "a.pt"), "more"), "a.pt: it has no model_state_dict and epoch", NO_STATE),
        (
            Late(Reason("not_written", values={"seconds": "120"})),
            "not written after 120 s",
            "120초가 지나도록 저장이 끝나지 않았습니다",
        ),
    ],
)  # fmt: skip
def test_an_error_comes_to_a_reason(error: Exception, english: str, korean: str) -> None:
    """What is not ours stays in its own words: a wrong translation is worse than none."""
    assert (reason_line(reason_of(error), EN), reason_line(reason_of(error), KO)) == (english, korean)


def test_an_error_that_is_read_in_a_terminal_says_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the reader's language, unless there is more to say than the reason."""
    flawed = Flawed(Reason("changed", "a.pt"))

    assert str(flawed) == "a.pt: it has changed since it was saved"
    assert str(Flawed(Reason("empty"), "/tmp/a.pt is empty")) == "/tmp/a.pt is empty"
    assert str(permanent_error("webhook", "gone")).isascii()
    monkeypatch.setattr(READER, "language_of_settings", "ko")
    assert str(flawed) == "a.pt: 저장한 뒤에 내용이 바뀌었습니다"
    assert HANGUL.search(str(permanent_error("webhook", "gone")))


@pytest.mark.parametrize(
    "error",
    [Flawed(Reason("empty"), "/tmp/a.pt is empty"), Late(Reason("still_writing")), Unreadable(Reason("no_json"))],
)
def test_an_error_that_crosses_processes_still_says_why(error: Flawed | Late | Unreadable) -> None:
    """A data loader's worker or a launcher may hand it on."""
    there = pickle.loads(pickle.dumps(error))

    assert (str(there), there.reason) == (str(error), error.reason)
