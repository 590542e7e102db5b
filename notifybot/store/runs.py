"""Runs and their events: turns events into rows, and reads runs and events back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, func, not_, or_, select, true, update

from notifybot.events import (
    AlertRaised,
    CheckpointSaved,
    EpochFinished,
    Event,
    RunEnded,
    RunLost,
    RunRecovered,
    RunStalled,
    RunStarted,
    from_json,
    to_json,
)
from notifybot.policy import Priority
from notifybot.store.database import Store
from notifybot.store.outbox import put
from notifybot.store.schema import events, runs
from notifybot.types import Host, Progress, RunRef, Status, run_key

# Built once: putting a statement together costs more than running it, and an epoch's end waits for these.
_KNOWN = select(events.c.id).where(events.c.id == bindparam("event_id"))
_STATE = select(runs.c.session, runs.c.last_event_at).where(runs.c.key == bindparam("run_key"))
_CHANGE = update(runs).where(runs.c.key == bindparam("run_key"))
CHANGE_IF_NEWS = _CHANGE.where(
    runs.c.session == bindparam("by_session"),
    or_(runs.c.last_event_at.is_(None), runs.c.last_event_at <= bindparam("source_at")),
    not_(exists().where(events.c.id == bindparam("event_id"))),
)
_ADD_EVENT = events.insert()
_COLUMNS = [each for each in runs.c if each.name not in ("key", "need")]  # computed from other columns


_AHEAD = timedelta(days=1)  # of a clock years ahead, an event would stay the latest
IN_NEED, AT_WORK = 2, 1  # of the column `need`
_UNKNOWN = Progress()  # of an event without progress


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as the store knows it now."""

    id: str
    name: str
    project: str
    session: str
    status: Status
    stalled: bool
    attempt: int
    incident: int
    direct: bool
    beat_s: float | None
    beat_seq: int
    started_at: datetime
    ended_at: datetime | None
    alive_at: datetime | None
    progress_at: datetime | None
    next_by: datetime | None
    deadline_at: datetime | None
    told_at: datetime | None
    stack: str
    last_event_at: datetime | None
    host: Host
    progress: Progress
    params: dict[str, Any]

    @property
    def key(self) -> str:
        return run_key(self.project, self.id)

    @property
    def ref(self) -> RunRef:
        return RunRef(id=self.id, name=self.name, project=self.project, session=self.session)


def record(
    store: Store, event: Event, deliveries: Sequence[tuple[str, Priority]] = (), *, direct: bool = False
) -> bool:
    """Write an event, what it says about its run, and its deliveries, in one transaction. Repeating it is harmless.

    Returns False when the event was known already. Raises StoreError.
    """
    with store.transaction() as connection:
        return record_in(connection, store.clock.now(), event, deliveries, direct=direct)


def record_in(
    connection: Connection,
    now: datetime,
    event: Event,
    deliveries: Sequence[tuple[str, Priority]] = (),
    *,
    direct: bool = False,
) -> bool:
    """`record` inside a transaction of yours."""
    run, is_usual = event.run, isinstance(event, EpochFinished | CheckpointSaved | AlertRaised)
    guards = {"run_key": run.key, "by_session": run.session, "source_at": event.at, "event_id": event.id}
    # In one statement where it is a new event of the session that reports the run. Else look closer.
    if not is_usual or connection.execute(CHANGE_IF_NEWS, guards | values_of(event, now)).rowcount != 1:
        if connection.execute(_KNOWN, {"event_id": event.id}).first() is not None:
            return False
        _touch_run(connection, now, event, direct=direct)
    connection.execute(
        _ADD_EVENT, {"id": event.id, "run_id": run.key, "kind": event.kind, "at": event.at, "body": to_json(event)}
    )
    put(connection, now, event.id, run.key, deliveries)
    return True


def _touch_run(connection: Connection, now: datetime, event: Event, *, direct: bool) -> None:
    run, values = event.run, values_of(event, now)
    row = connection.execute(_STATE, {"run_key": run.key}).first()
    if row is None:
        blank = {
            "key": run.key, "id": run.id, "name": run.name, "project": run.project, "session": run.session,
            "status": Status.RUNNING.value, "started_at": event.at if event.at <= now + _AHEAD else now,
            "alive_at": now, "progress_at": now, "host": "{}", "progress": "{}", "params": "{}",
        }  # fmt: skip
        connection.execute(runs.insert(), blank | values | {"direct": direct})
        return
    is_verdict = isinstance(event, RunLost | RunStalled | RunRecovered | RunEnded)
    is_late = run.session == row.session and row.last_event_at is not None and event.at < row.last_event_at
    if run.session < row.session or (is_late and not is_verdict):
        return  # from an older process, or older than the row: kept as an event, but not as the state
    if isinstance(event, RunStarted):
        values |= {"direct": direct}
    connection.execute(_CHANGE, values | {"run_key": run.key})


def values_of(event: Event, now: datetime) -> dict[str, Any]:
    """Return the values that an event sets in its run's row."""
    at = event.at if event.at <= now + _AHEAD else now
    heard: dict[str, Any] = {"session": event.run.session, "alive_at": now, "last_event_at": at}
    if event.progress != _UNKNOWN:
        heard["progress"] = _json(Progress).dump_json(event.progress).decode()
    match event:
        case RunStarted():
            return heard | {
                "name": event.run.name, "status": Status.RUNNING.value, "stalled": False, "attempt": event.attempt,
                "beat_s": event.beat_s, "beat_seq": 0, "progress_at": now, "ended_at": None, "next_by": None,
                "stack": "", "host": _json(Host).dump_json(event.host).decode(),
                "params": _json(dict).dump_json(event.params).decode(),
            }  # fmt: skip
        case EpochFinished():
            return heard | {"progress_at": now, "next_by": None}
        case CheckpointSaved() | AlertRaised():
            return heard
        case RunEnded():
            over = {"stalled": False, "deadline_at": None, "next_by": None}
            return heard | over | {"status": event.status.value, "ended_at": event.at}
        case RunLost():
            return {"status": Status.LOST.value, "told_at": now}
        case RunStalled():
            return {"stalled": True, "told_at": now}
        case RunRecovered():
            return {"status": Status.RUNNING.value, "stalled": False}


def get(store: Store, run_id: str, *, project: str | None = None) -> RunRow | None:
    """Return a project's run, or None. Without a project the latest of that id. Raises StoreError."""
    with store.transaction() as connection:
        return get_in(connection, _key_of(run_id, project))


@dataclass(frozen=True, slots=True)
class Board:
    """A page of runs, those in need first, then those at work, newest first in each; and how many there are in all.

    `counts` holds the number of running, stalled and lost ones by these words, whatever page they are on.
    """

    rows: tuple[RunRow, ...]
    counts: Mapping[str, int]
    total: int


def board(connection: Connection, *, project: str | None = None, limit: int = 100, offset: int = 0) -> Board:
    """Return a page of a project's runs, or of all. By indexes alone: it looks at no run that is not on the page."""
    mine = _of(project)
    page = select(*_COLUMNS).where(mine).order_by(runs.c.need.desc(), runs.c.started_at.desc())
    rows = connection.execute(page.limit(limit).offset(offset)).all()
    by_need = select(runs.c.need, func.count()).where(mine).group_by(runs.c.need)
    numbers: dict[int, int] = {row[0]: row[1] for row in connection.execute(by_need)}
    lost = select(func.count()).where(mine, runs.c.need == IN_NEED, runs.c.status == Status.LOST.value)
    number = connection.execute(lost).scalar() or 0 if numbers.get(IN_NEED) else 0
    counts = {"running": numbers.get(AT_WORK, 0), "stalled": numbers.get(IN_NEED, 0) - number, "lost": number}
    return Board(tuple(map(row_to_run, rows)), counts, sum(numbers.values()))


def named(connection: Connection, run_id: str, *, project: str | None = None) -> list[RunRow]:
    """Return the runs of an id, of one project or of all that have one."""
    query = select(*_COLUMNS).where(runs.c.id == run_id, _of(project)).order_by(runs.c.project)
    return [row_to_run(row) for row in connection.execute(query)]


def _of(project: str | None) -> ColumnElement[bool]:
    return true() if project is None else runs.c.project == project


def get_in(connection: Connection, key: Any) -> RunRow | None:
    """Return the run of a key (`RunRef.key`), or None, inside a transaction of yours."""
    row = connection.execute(select(*_COLUMNS).where(runs.c.key == key)).first()
    return None if row is None else row_to_run(row)


def recent(store: Store, *, limit: int = 50, project: str | None = None) -> list[RunRow]:
    """Return the latest runs, newest first. Raises StoreError."""
    query = select(*_COLUMNS).where(_of(project)).order_by(runs.c.started_at.desc()).limit(limit)
    with store.transaction() as connection:
        return [row_to_run(row) for row in connection.execute(query)]


def events_of(
    store: Store, run_id: str, *, project: str | None = None, kinds: Sequence[str] | None = None, limit: int = 10_000
) -> list[Event]:
    """Return a run's latest events (at most `limit`), oldest first. The run is the one that `get` returns.

    Raises StoreError.
    """
    with store.transaction() as connection:
        return events_in(connection, _key_of(run_id, project), kinds=kinds, limit=limit)


def events_in(
    connection: Connection, key: Any, *, kinds: Sequence[str] | None = None, limit: int = 10_000
) -> list[Event]:
    """`events_of` the run of a key, inside a transaction of yours."""
    query = (
        select(events.c.body)
        .where(events.c.run_id == key)
        .order_by(events.c.at.desc(), events.c.id.desc())
        .limit(limit)
    )
    if kinds is not None:
        query = query.where(events.c.kind.in_(kinds))
    return readable(reversed(list(connection.execute(query).scalars())))


def _key_of(run_id: str, project: str | None) -> Any:
    if project is not None:
        return run_key(project, run_id)
    latest = select(runs.c.key).where(runs.c.id == run_id).order_by(runs.c.started_at.desc())
    return latest.limit(1).scalar_subquery()


def readable(bodies: Iterable[str]) -> list[Event]:
    """Decode stored events; one that another version wrote, and this one cannot read, is left out."""
    found = []
    for body in bodies:
        with suppress(ValueError):
            found.append(from_json(body))
    return found


def row_to_run(row: Row[Any]) -> RunRow:
    """Turn a row of the table into values. Unreadable fields are empty: a silent run must be reported anyway."""
    fields = dict(row._mapping)
    fields["status"] = Status(fields["status"])
    for name, kind in (("host", Host), ("progress", Progress), ("params", dict)):
        try:
            fields[name] = _json(kind).validate_json(fields[name])
        except ValueError:
            fields[name] = kind()
    return RunRow(**fields)


@cache
def _json(kind: type) -> Any:
    from pydantic import ConfigDict, TypeAdapter  # 30 ms, paid when a run starts

    # a bare dataclass takes no config here, a union does
    union: Any = kind if kind is dict else kind | None
    return TypeAdapter(union, config=ConfigDict(ser_json_inf_nan="strings"))
