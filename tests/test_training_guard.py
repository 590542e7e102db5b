"""The border between the training and us."""

from __future__ import annotations

import logging

import pytest

from notifybot import redaction
from notifybot.errors import ConfigError, UsageError
from notifybot.training.guard import Guard


def test_a_fault_is_swallowed_counted_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    redaction.register(["canary-not-a-token"])
    guard = Guard()
    with caplog.at_level(logging.WARNING, logger="notifybot"):
        for _ in range(3):
            with guard("the console"):
                raise OSError("canary-not-a-token is wrong")
        with guard("the trackers"):
            raise ConfigError("late")

    assert guard.faults == {"the console": 3, "the trackers": 1}
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
