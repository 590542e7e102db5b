"""Shared by the tests of the commands: their database, and a sandbox in the place of Slack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from notifybot.config import load
from notifybot.sandbox.server import Sandbox
from notifybot.store.database import Store


@pytest.fixture
def store() -> Iterator[Store]:
    """The database where the commands look for it."""
    with Store.open(load().state_dir / "notifybot.db") as opened:
        yield opened


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """Slack by webhook in the sandbox, and nothing else."""
    monkeypatch.setenv("COLUMNS", "200")
    with Sandbox() as opened:
        monkeypatch.setenv("NOTIFYBOT_SLACK_WEBHOOK_URL", opened.environment()["NOTIFYBOT_SLACK_WEBHOOK_URL"])
        yield opened
