"""The database: kept private, kept whole, and set aside when it is neither."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from notifybot.errors import StoreError
from notifybot.events import Event, to_json
from notifybot.policy import Priority
from notifybot.store import runs
from notifybot.store.database import HEAD, Store, __file__
from notifybot.store.location import APPLICATION_ID
from notifybot.store.outbox import Outbox
from notifybot.testing import FakeClock
from notifybot.types import RunRef
from tests.support.store_events import NOON, RUN, alert, ended, epoch, started

_FIRST_STORE = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
from pathlib import Path
from notifybot.store.database import Store
Store.open(Path(sys.argv[1])).close()
print(logging.getLogger("alembic").level)
"""


def test_a_first_database_says_nothing_where_the_program_shows_every_step(tmp_path: Path) -> None:
    """Hydra shows INFO on standard output, and its user asked for no account of our libraries, imported first here."""
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_STORE, str(tmp_path / "a.db")], capture_output=True, text=True, timeout=120
    )

    assert (f"{logging.NOTSET}\n", "") == (done.stdout, done.stderr)


def test_the_head_revision_is_the_newest_migration() -> None:
    scripts = ScriptDirectory(str(Path(__file__).parent / "migrations"))

    assert scripts.get_current_head() == HEAD


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
def test_what_an_older_notifybot_left_is_kept_and_still_sent(tmp_path: Path, revision: str) -> None:
    """The file is brought to the present schema when it is opened, with all that is in it."""
    path = older_file(tmp_path / "a.db", revision)
    with closing(sqlite3.connect(path)) as older:
        record_as_older_versions(older, started())
        record_as_older_versions(older, alert(at=NOON + timedelta(seconds=1)))
        older.execute("INSERT INTO memories VALUES ('slack', ?, '{\"ts\": \"1\"}', '2026-11-23 03:00:00')", [RUN.id])
        older.commit()

    with Store.open(path) as store:
        row, outbox = runs.get(store, RUN.id, project=RUN.project), Outbox(store)
        kinds = [each.kind for each in runs.events_of(store, RUN.id, project=RUN.project)]
        told = [delivery.event.kind for _ in range(2) if (delivery := outbox.claim("slack"))]
        memory = store.memory("slack", RUN.project).get(RUN.id)

    assert row is not None
    assert (row.id, row.project, row.status) == (RUN.id, RUN.project, "running")
    assert kinds == told == ["run_started", "alert_raised"]
    assert memory == {"ts": "1"}


def test_an_older_process_goes_on_recording_into_a_file_that_a_newer_one_has_opened(tmp_path: Path) -> None:
    """A training of days outlives an upgrade; what it still has to say is told, as its own run's."""
    path = older_file(tmp_path / "a.db", "0003")
    with closing(sqlite3.connect(path)) as older:
        older.execute("PRAGMA foreign_keys=ON")
        record_as_older_versions(older, started())
        older.commit()
        with Store.open(path) as store:
            record_as_older_versions(older, ended())
            record_as_older_versions(older, started(other := replace(RUN, id="run-2")))
            older.execute("UPDATE runs SET status = 'finished' WHERE id = ?", [RUN.id])
            older.commit()

            rows = [runs.get(store, each.id, project=each.project) for each in (RUN, other)]
            outbox = Outbox(store)
            told = {(each.event.run.id, each.event.kind) for _ in range(3) if (each := outbox.claim("slack"))}

    assert [row and row.status for row in rows] == ["finished", "running"]
    assert told == {(RUN.id, "run_started"), (RUN.id, "run_ended"), ("run-2", "run_started")}


@pytest.mark.parametrize(
    ("revision", "told"), [("9999", "newer notifybot"), ("0001", "no such table")], ids=["newer", "cannot be migrated"]
)
def test_an_opening_that_fails_lets_go_of_the_file(tmp_path: Path, revision: str, told: str) -> None:
    """The last connection that closes takes the WAL away."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA application_id={APPLICATION_ID}")
        other.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        other.execute("INSERT INTO alembic_version VALUES (?)", [revision])
        other.commit()

    with pytest.raises(StoreError, match=told) as refused:
        Store.open(path)

    assert not path.with_name("a.db-wal").exists(), refused


def older_file(path: Path, revision: str) -> Path:
    """A database as an older version left it."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION_ID}")
        command.upgrade(migrations(connection), revision)
        connection.commit()
    engine.dispose()
    return path


def record_as_older_versions(older: sqlite3.Connection, event: Event) -> None:
    """The statements of 0.1.0, for an event that is told on Slack."""
    at = f"{event.at:%Y-%m-%d %H:%M:%S.%f}"
    columns = "id, name, project, session, status, stalled, attempt, incident, direct, beat_seq, started_at"
    blank, empty = "stack, host, progress, params", "'', '{}', '{}', '{}'"
    if not older.execute("SELECT 1 FROM runs WHERE id = ?", [event.run.id]).fetchone():
        values = (event.run.id, event.run.name, event.run.project, event.run.session, at)
        older.execute(
            f"INSERT INTO runs ({columns}, {blank}) VALUES (?, ?, ?, ?, 'running', 0, 1, 0, 0, 0, ?, {empty})",
            values,
        )
    older.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?)", [event.id, event.run.id, event.kind, at, to_json(event)])
    older.execute(
        "INSERT INTO deliveries (event_id, run_id, notifier, priority, state, attempts, created_at, due_at, error) "
        "VALUES (?, ?, 'slack', 0, 'pending', 0, ?, ?, '')",
        [event.id, event.run.id, at, at],
    )
    older.execute("INSERT OR IGNORE INTO tallies VALUES ('slack', 0, 0, 0, 0, 0)")


def test_two_projects_may_have_a_run_of_the_same_id(tmp_path: Path) -> None:
    theirs = replace(RUN, project="speech")
    with Store.open(tmp_path / "a.db") as store:
        for run in (RUN, theirs):
            runs.record(store, started(run), [("slack", Priority.NORMAL)])
            store.memory("slack", run.project).put(run.id, {"root": run.project})
        runs.record(store, ended(theirs), [("slack", Priority.URGENT)])

        found = [runs.get(store, RUN.id, project=each.project) for each in (RUN, theirs)]
        kinds = [[each.kind for each in runs.events_of(store, RUN.id, project=p)] for p in (RUN.project, "speech")]
        roots = [store.memory("slack", each.project).get(each.id)["root"] for each in (RUN, theirs)]

    assert [row and (row.project, row.status) for row in found] == [(RUN.project, "running"), ("speech", "finished")]
    assert kinds == [["run_started"], ["run_started", "run_ended"]]
    assert roots == [RUN.project, "speech"]


def migrations(connection: Connection) -> Config:
    """Alembic's settings for ours."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def test_what_was_recorded_is_there_after_opening_again(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as store:
        runs.record(store, started())
        runs.record(store, epoch(3, loss=float("nan")))

    with Store.open(tmp_path / "a.db") as store:
        row = runs.get(store, RUN.id)

    assert row is not None
    assert row.progress.epoch == 3
    assert str(row.progress.metrics["loss"].value) == "nan"


def test_recording_an_event_twice_changes_nothing(tmp_path: Path) -> None:
    event = epoch(1)
    with Store.open(tmp_path / "a.db") as store:
        assert runs.record(store, event)
        assert not runs.record(store, event)
        assert len(runs.events_of(store, RUN.id)) == 1


def test_an_older_session_no_longer_moves_the_run(tmp_path: Path, clock: FakeClock) -> None:
    newer = RunRef(id=RUN.id, name=RUN.name, project=RUN.project, session="s2")
    with Store.open(tmp_path / "a.db", clock=clock) as store:
        runs.record(store, started())
        runs.record(store, started(newer, attempt=2))
        runs.record(store, ended())
        row = runs.get(store, RUN.id)

    assert row is not None
    assert (row.session, row.status.value) == ("s2", "running")


def test_a_writer_does_not_wait_for_a_long_lock(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with Store.open(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked"):
            runs.record(store, started())
        other.execute("ROLLBACK")

        assert runs.record(store, started())


def test_another_thread_is_refused_while_one_writes(tmp_path: Path) -> None:
    raised: list[Exception] = []

    def write(store: Store) -> None:
        try:
            runs.record(store, started())
        except StoreError as error:
            raised.append(error)

    with Store.open(tmp_path / "a.db") as store, store.transaction():
        thread = threading.Thread(target=write, args=(store,))
        thread.start()
        thread.join()

    assert "busy" in str(raised[0])


def test_memory_outlives_the_process(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as store:
        store.memory("slack:1").put("run", {"ts": "1"})
        store.memory("slack:1").put("run", {"ts": "2"})

    with Store.open(tmp_path / "a.db") as store:
        assert store.memory("slack:1").get("run") == {"ts": "2"}
        assert store.memory("kakao:1").get("run") == {}
