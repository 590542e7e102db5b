"""Shared by the tests of the doctor: Slack's bot in the sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from notifybot.sandbox.server import Sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Slack by bot in the sandbox, and nothing else."""
    monkeypatch.setenv("COLUMNS", "200")
    with Sandbox() as opened:
        for name, value in opened.environment().items():
            if "SLACK" in name and "WEBHOOK" not in name:
                monkeypatch.setenv(name, value)
        yield opened
