"""The border between the training and us."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

import notifybot
from notifybot import redaction
from notifybot.errors import READER, ConfigError, UsageError
from notifybot.training.guard import Guard, failures_line


def test_a_fault_is_swallowed_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    redaction.register(["canary-not-a-token"])
    guard = Guard()
    with caplog.at_level(logging.WARNING, logger="notifybot"):
        for _ in range(3):
            with guard("console"):
                raise OSError("canary-not-a-token is wrong")
        with guard("trackers"):
            raise ConfigError("late")

    assert guard.faults == {"console": 3, "trackers": 1}
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "the console failed, training goes on: OSError: [redacted] is wrong",
        "the trackers failed, training goes on: notifybot.errors.ConfigError: late",
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, UsageError, GeneratorExit])
def test_what_is_the_users_passes(error: type[BaseException]) -> None:
    guard = Guard()
    with pytest.raises(error), guard("anything"):
        raise error

    assert guard.faults == {}


def test_an_error_whose_text_cannot_be_read_is_counted_too() -> None:
    class Weird(Exception):
        def __str__(self) -> str:
            raise RuntimeError("unreadable")

    guard = Guard()
    with guard("anything"):
        raise Weird

    assert guard.faults == {"anything": 1}


def kinds_of_faults() -> set[str]:
    """What faults are counted under, as the code names it."""
    found: set[str] = set()
    for path in Path(notifybot.__file__).parent.rglob("*.py"):
        found |= set(re.findall(r'guard(?:\.count)?\(f?"(\w+)', path.read_text("utf-8")))
    return found | {"tracker", "alert_rule"}


def test_every_kind_of_fault_has_korean_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closing line is read by whoever trains, who may not read English."""
    monkeypatch.setattr(READER, "language_of_settings", "ko")

    assert len(kinds_of_faults()) > 30
    for kind in kinds_of_faults():
        line = failures_line("run", {f"{kind} wandb": 2}).removeprefix("run: ")
        line = re.sub("notifybot|wandb|Slack", "", line)
        assert re.search(r"[a-z]{3}", line) is None, line


def test_the_closing_line_tells_our_faults_from_the_programs_values() -> None:
    text = failures_line("digits", {"checkpoint": 1, "tracker wandb": 3, "metric 'note'": 2})

    assert text == (
        "digits: notifybot had trouble, the training had not: a checkpoint (1×), tracker wandb (3×). "
        "values that were skipped: 'note' (2×)"
    )
