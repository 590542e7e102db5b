"""Fast path that records the end of an epoch, the one record that a training waits for.

The same rows as `runs.record_in` writes, by statements that are compiled once and run by the driver itself: with
SQLAlchemy's own execution around them they cost more than the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy.dialects import sqlite

from notifybot.events import EpochFinished, to_json
from notifybot.policy import Priority
from notifybot.store import pruning, runs
from notifybot.store.database import Store
from notifybot.store.outbox_queries import counting
from notifybot.store.schema import deliveries, events

_DIALECT = sqlite.dialect(paramstyle="named")


class Prepared:
    """A statement as the driver takes it. `columns` are those that it sets, besides the parameters in it."""

    def __init__(self, statement: Any, columns: Iterable[str] = ()) -> None:
        compiled: Any = statement.compile(dialect=_DIALECT, column_keys=list(columns))
        kinds = {name: each.type.dialect_impl(_DIALECT) for name, each in compiled.binds.items()}
        found = {name: kind.bind_processor(_DIALECT) for name, kind in kinds.items()}
        self._sql = str(compiled)
        self._processors = {name: process for name, process in found.items() if process is not None}
        self._defaults = {each.key: each.default.arg for each in compiled.insert_prefetch}

    def run(self, driver: sqlite3.Connection, values: Mapping[str, Any]) -> int:
        """Run it once; return the number of rows changed."""
        given = {**self._defaults, **values}
        for name, process in self._processors.items():
            given[name] = process(given[name])
        return driver.execute(self._sql, given).rowcount


_ADD_EVENT = Prepared(events.insert(), [each.name for each in events.columns])
_ADD_DELIVERY = Prepared(deliveries.insert(), ["event_id", "run_id", "notifier", "priority", "created_at", "due_at"])
_COUNT = Prepared(counting("put"))
_CHANGE = Prepared(runs.CHANGE_IF_NEWS, ["session", "alive_at", "last_event_at", "progress", "progress_at", "next_by"])


def record_epoch(store: Store, event: EpochFinished, routes: Sequence[tuple[str, Priority]]) -> bool:
    """Write an epoch, the new state of its run, and its deliveries; on disk when this returns True.

    False, and nothing written, unless it is a new event of the session that reports the run: then `runs.record_in`
    has to look closer. Raises StoreError.
    """
    now = store.clock.now()
    guards = runs.guards_of(event)
    with store.driver() as driver:
        if _CHANGE.run(driver, guards | runs.values_of(event, now)) != 1:
            return False
        _ADD_EVENT.run(
            driver,
            {"id": event.id, "run_id": event.run.key, "kind": event.kind, "at": event.at, "body": to_json(event)},
        )
        delivery = {"event_id": event.id, "run_id": event.run.key, "created_at": now, "due_at": now}
        for key, priority in routes:
            _ADD_DELIVERY.run(driver, {**delivery, "notifier": key, "priority": int(priority)})
            _COUNT.run(driver, {"key": key, "number": 1})
        pruning.keep_reserve_of(driver)
    return True
