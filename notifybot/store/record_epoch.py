"""Fast path that records the end of an epoch, the one record that a training waits for.

The same rows as `runs.record_in` writes, by statements that are compiled once and run by the driver itself: with
SQLAlchemy's own execution around them they cost more than the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.dialects import sqlite

from notifybot.events import EpochFinished, to_json
from notifybot.policy import Priority
from notifybot.store import pruning, runs
from notifybot.store.database import Store
from notifybot.store.outbox_queries import counting
from notifybot.store.schema import deliveries, events

_DIALECT = sqlite.dialect(paramstyle="named")
_stored: Any = events.c.at.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)


def _compiled(statement: Any, columns: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
    """A statement as the driver takes it, and the defaults in it. `columns` are those set besides its parameters."""
    compiled: Any = statement.compile(dialect=_DIALECT, column_keys=list(columns))
    return str(compiled), {each.key: each.default.arg for each in compiled.insert_prefetch}


_CHANGE, _ = _compiled(
    runs.CHANGE_IF_NEWS, ["session", "alive_at", "last_event_at", "progress", "progress_at", "next_by"]
)
_ADD_EVENT, _ = _compiled(events.insert(), ["id", "run_id", "kind", "at", "body"])
_ADD_DELIVERY, _FRESH = _compiled(
    deliveries.insert(), ["event_id", "run_id", "notifier", "priority", "created_at", "due_at"]
)
_COUNT, _ZEROS = _compiled(counting("put"))


def record_epoch(store: Store, event: EpochFinished, routes: Sequence[tuple[str, Priority]]) -> bool:
    """Write an epoch, the new state of its run, and its deliveries; on disk when this returns True.

    False, and nothing written, unless it is a new event of the session that reports the run: then `runs.record_in`
    has to look closer. Raises StoreError.
    """
    now, run = store.clock.now(), event.run
    values: dict[str, Any] = runs.values_of(event, now) | {
        "run_key": run.key, "by_session": run.session, "source_at": event.at, "event_id": event.id,
        "id": event.id, "run_id": run.key, "kind": event.kind, "at": event.at, "body": to_json(event),
        "created_at": now, "due_at": now,
    }  # fmt: skip
    values = {name: _stored(each) if isinstance(each, datetime) else each for name, each in values.items()}
    with store.transaction() as connection:
        driver: Any = connection.connection.driver_connection
        if driver.execute(_CHANGE, values).rowcount != 1:
            return False
        driver.execute(_ADD_EVENT, values)
        for key, priority in routes:
            driver.execute(_ADD_DELIVERY, values | _FRESH | {"notifier": key, "priority": int(priority)})
            driver.execute(_COUNT, _ZEROS | {"key": key, "number": 1})
        pruning.keep_reserve(connection)
    return True
