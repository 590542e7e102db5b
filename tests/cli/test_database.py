"""The database of the commands is that of the trainings on this machine."""

from __future__ import annotations

from notifybot.cli.database import database, open_store
from notifybot.config import load
from notifybot.store.runs import recent
from tests.support.cli_runs import live


def test_what_a_training_has_recorded_is_found() -> None:
    """A person waits longer for a busy database than a training loop may."""
    path = database(load())
    with open_store(path) as store:
        live(store, "resnet")

    with open_store(path) as again:
        assert path == load().state_dir / "notifybot.db"
        assert [each.name for each in recent(again)] == ["resnet"]
        assert again.patience_s == 5.0
