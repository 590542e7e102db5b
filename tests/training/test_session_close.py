"""Letting go of database and delivery within a process that goes on, as tests do after each run."""

from __future__ import annotations

import logging
import threading

import pytest

from notifybot import notify_run
from notifybot.sandbox import Sandbox
from notifybot.training.session import close


def test_no_thread_of_ours_looks_into_a_database_that_was_closed(
    settings: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """The dead man's switch waits for the end to be told, for ten minutes if need be: for each look it had a fault."""
    with Sandbox() as slack, caplog.at_level(logging.DEBUG, "notifybot"):
        ours = {key.removeprefix("NOTIFYBOT_").lower(): value for key, value in slack.environment().items()}
        given = settings | {key: value for key, value in ours.items() if key.startswith("slack")}
        with notify_run("watched", config=given) as run:
            assert "notifybot-deadman" in {each.name for each in threading.enumerate()}

        close()

        assert "notifybot-deadman" not in {each.name for each in threading.enumerate()}
    assert run.faults == {}
    assert "database is closed" not in caplog.text
