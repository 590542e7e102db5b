"""What a session knows of those before it in the same process, whatever the database did meanwhile."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from notifybot import notify_run


def test_a_session_knows_what_the_one_before_could_not_write_yet(settings: dict[str, object], tmp_path: Path) -> None:
    """The database was busy from the first epoch to the end, and free again a moment before the next start."""
    database = tmp_path / "state" / "notifybot.db"
    with notify_run("toy", run_id="again", config=settings) as busy:
        busy.log_epoch(0, loss=0.5)
        busy.flush(60)
        lock = sqlite3.connect(database, isolation_level=None, timeout=30)
        lock.execute("BEGIN IMMEDIATE")
        busy.log_epoch(1, loss=0.25)
    lock.close()

    with notify_run("toy", run_id="again", config=settings) as run:
        assert (run.attempt, run.progress.done, run.progress.epoch) == (2, 2, 1)
