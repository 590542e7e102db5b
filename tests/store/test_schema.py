"""The tables: as the migrations build them, and moments that come back as they were stored."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select
from sqlalchemy.exc import StatementError

from notifybot.store.database import Store
from notifybot.store.schema import metadata, ticks


def test_migrations_build_exactly_the_schema(tmp_path: Path) -> None:
    with Store.open(tmp_path / "a.db") as store, store.transaction() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)

    assert differences == []


def test_a_moment_comes_back_as_the_same_moment_in_utc(tmp_path: Path) -> None:
    """SQLite keeps no time zone, and a moment without one could be any."""
    seoul = datetime(2026, 11, 23, 12, 0, 0, 123456, timezone(timedelta(hours=9)))
    with Store.open(tmp_path / "a.db") as store, store.transaction() as connection:
        connection.execute(ticks.insert(), {"part": "scan", "at": seoul})
        stored = connection.exec_driver_sql("SELECT at FROM ticks").scalar()
        found = connection.execute(select(ticks.c.at)).scalar()

        with pytest.raises(StatementError, match="without a time zone"):
            connection.execute(ticks.insert(), {"part": "ingest", "at": seoul.replace(tzinfo=None)})

    assert stored == "2026-11-23 03:00:00.123456"
    assert (found, found and found.tzinfo) == (seoul, UTC)
