"""Database of the store: opening it, transactions, checkpoints of the WAL, and a memory of notifiers in it.

One connection per process, opened after any fork and guarded by a lock: two connections that write and checkpoint
at the same moment can corrupt a WAL file in SQLite before 3.51.3 (https://sqlite.org/wal.html#walresetbug).
For the same reason automatic checkpoints are off, and ours are taken under a lock that all processes share.

The file and its WAL are bounded: together they stay below 64 MiB, but for a few records that are urgent.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import StaticPool

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import READER, StoreError, reader_text, system_words
from notifybot.files import FileLock
from notifybot.i18n import has_text
from notifybot.store.disk_reserve import DiskReserve, not_taken
from notifybot.store.location import APPLICATION_ID, make_private, set_aside_if_damaged
from notifybot.store.schema import memories
from notifybot.types import run_key

PAGE_BYTES = 4096
OPEN_S = 5.0  # seconds; no epoch waits yet
_AGAIN_S = 0.005  # seconds before a patient thread retries, where SQLite itself did not wait
CAP_BYTES = 48 * 1024 * 1024  # of the file; the WAL may have `disk_reserve.WAL_BYTES` and a long transaction more


class Store:
    """The open database of one process. Every write is on disk (fsync) when `transaction` ends without an error."""

    def __init__(self, engine: Engine, path: Path, *, clock: Clock, patience_s: float) -> None:
        self.path = path
        self.clock = clock
        self.set_aside: Path | None = None
        self._engine = engine
        self._connection = engine.connect()  # kept: taking one from the pool each time costs as much as an insert
        self._lock = FairLock()
        self._reading = FairLock()
        self._reader: Connection | None = None
        self.patience_s = patience_s
        self._patience = _Patience(patience_s)
        self._pid = os.getpid()
        self._closed = False
        self.room = DiskReserve(path.with_name(path.name + "-wal"))

    @classmethod
    def open(cls, path: Path, *, clock: Clock = SYSTEM, patience_s: float = 0.04, cap_bytes: int = CAP_BYTES) -> Store:
        """Open the file, made or migrated when needed; mode 0600, folder 0700.

        A damaged or foreign file is renamed, named by `set_aside`, and a new one begun. `patience_s` bounds how long
        a writer waits for another thread or process, in seconds, unless it says that it is more patient; opening waits
        for seconds anyway. Raises StoreError when no database can be had there.
        """
        path = path.expanduser().absolute()
        try:
            make_private(path)
            aside = set_aside_if_damaged(path, clock.now())
            engine = _engine(path, max(patience_s, OPEN_S), cap_bytes)
            with ExitStack() as undo:
                undo.callback(engine.dispose)
                with _exclusive(path.with_suffix(".lock")), engine.connect() as connection:
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    upgrade(connection)
                    connection.rollback()
                    connection.exec_driver_sql(f"PRAGMA busy_timeout={round(patience_s * 1000)}")
                store = cls(engine, path, clock=clock, patience_s=patience_s)
                undo.pop_all()
        except (OSError, DBAPIError) as error:
            key = "store.database.is_busy" if is_busy(error) else "store.database.cannot_be_opened"
            raise StoreError(reader_text(key, path=path, reason=_reason(error))) from error
        store.set_aside = aside
        return store

    @contextmanager
    def transaction(self, *, read_only: bool = False, apart: bool = False) -> Iterator[Connection]:
        """Hold the write lock; commit at the end, roll back on an error. For reading: see `snapshot` and `reading`.

        Raises StoreError when the database is busy, full or broken. After a failed commit the outcome is unknown
        (an fsync error may come after the write): records carry unique ids so that repeating them is harmless.
        """
        if os.getpid() != self._pid:
            raise StoreError(reader_text("store.database.forked_child"))
        lock, ends_at_s = self._reading if apart else self._lock, SYSTEM.monotonic() + self._patience.wait_s
        try:
            while True:
                if not lock.acquire(timeout=max(ends_at_s - SYSTEM.monotonic(), 0.0)):
                    raise StoreError(reader_text("store.database.busy_thread"))
                try:
                    if self._closed:
                        raise StoreError(reader_text("store.database.closed"))
                    connection = self._reading_one() if apart else self._connection
                    driver: Any = connection.connection.driver_connection  # SQLAlchemy's own begin does nothing here
                    try:
                        driver.execute("BEGIN" if read_only else "BEGIN IMMEDIATE")
                    except sqlite3.Error as error:
                        if not is_busy(error) or SYSTEM.monotonic() >= ends_at_s:
                            raise
                    else:
                        with connection.begin():
                            yield connection
                        return
                finally:
                    lock.release()
                SYSTEM.wait(threading.Event(), _AGAIN_S)  # the lock is free meanwhile: it may be a training's turn
        except (DBAPIError, sqlite3.Error) as error:
            raise StoreError(not_taken(_reason(error))) from error

    def snapshot(self) -> AbstractContextManager[Connection]:
        """Read a snapshot: the write lock is left to other processes. Raises StoreError."""
        return self.transaction(read_only=True)

    def reading(self) -> AbstractContextManager[Connection]:
        """Read a snapshot on a connection of its own: no record waits for it, and it waits for none.

        For a process that answers many readers; the connection is opened with the first. Raises StoreError.
        """
        return self.transaction(read_only=True, apart=True)

    def _reading_one(self) -> Connection:
        """A second way to the file, for reading only: two that write are not safe (see above)."""
        if self._reader is None:
            engine = create_engine(
                "sqlite://",
                creator=lambda: sqlite3.connect(
                    f"{self.path.as_uri()}?mode=ro", uri=True, timeout=self.patience_s, check_same_thread=False,
                    isolation_level=None,
                ),
                poolclass=StaticPool,
            )  # fmt: skip
            self._reader = engine.connect()
        return self._reader

    @contextmanager
    def patient(self, patience_s: float) -> Iterator[None]:
        """Within the block, let this thread wait so many seconds for other threads and processes."""
        before, self._patience.wait_s = self._patience.wait_s, patience_s
        try:
            yield
        finally:
            self._patience.wait_s = before

    def memory(self, owner: str, project: str | None = None) -> StoreMemory:
        """The small durable values of one notifier or tracker. With a project, scopes are ids of its runs."""
        return StoreMemory(self, owner, project)

    def tidy(self) -> None:
        """Move the WAL into the database file when it has grown. Skipped when another process is doing so."""
        if os.getpid() != self._pid or self._closed or not self.room.wal_needs_checkpoint:
            return
        if not self._lock.acquire(timeout=self.patience_s):
            return
        try:
            with _exclusive(self.path.with_suffix(".lock"), wait=False), self._engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
                self.room.renew()
        except (OSError, DBAPIError):  # another process does it, or the disk is full: the WAL keeps its content
            return
        finally:
            self._lock.release()

    def close(self) -> None:
        """Let go of the file. Closing twice is fine; in a forked child it does nothing."""
        if os.getpid() != self._pid:
            return
        with self._lock, self._reading:
            self._closed = True
            if self._reader is not None:
                self._reader.close()
                self._reader.engine.dispose()
            self._connection.close()
            self._engine.dispose()
            self.room.close()

    def rest(self, within_s: float) -> bool:
        """Before a fork: keep all threads out until `go_on` or `forget_after_fork`.

        False where a record takes longer than `within_s` seconds.

        SQLite keeps a process's locks in its memory, of which a child gets a copy: one that is taken then is taken
        there for ever. https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
        """
        if os.getpid() != self._pid or self._closed or self._lock.is_held_here:
            return False
        ends_at_s = SYSTEM.monotonic() + within_s
        if not self._lock.acquire(timeout=within_s):
            return False
        if not self._reading.acquire(timeout=max(ends_at_s - SYSTEM.monotonic(), 0.0)):
            self._lock.release()
            return False
        return True

    def go_on(self) -> None:
        """After a fork, in the parent."""
        self._reading.release()
        self._lock.release()

    def forget_after_fork(self) -> None:
        """After a fork, in the child: have SQLite forget the file, so that the child may open it for itself."""
        self._closed = True
        for each in (self._connection, self._reader):
            if each is not None and (driver := each.connection.driver_connection) is not None:
                driver.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Patience(threading.local):
    """Seconds that a thread waits for others: those given here, in each thread that says nothing else."""

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s


_PUT = insert(memories)  # built once: each message sent puts a value
_PUT = _PUT.on_conflict_do_update(
    index_elements=["owner", "scope"],
    set_={"value": _PUT.excluded.value, "updated_at": _PUT.excluded.updated_at},
)


class StoreMemory:
    """`notifiers.base.Memory` on the store."""

    def __init__(self, store: Store, owner: str, project: str | None = None) -> None:
        self._store = store
        self._owner = owner
        self._project = project

    def get(self, scope: str) -> dict[str, Any]:
        """Return what was last put under `scope`, or an empty dict."""
        own = self.own(scope)
        query = select(memories.c.value).where(memories.c.owner == self._owner, memories.c.scope == own)
        with self._store.snapshot() as connection:
            text = connection.execute(query).scalar()
        value: dict[str, Any] = json.loads(text) if text else {}
        return value

    def put(self, scope: str, value: dict[str, Any]) -> None:
        """Replace the value of `scope`; durable when it returns."""
        with self._store.transaction() as connection:
            self.put_in(connection, scope, value)

    def put_in(self, connection: Connection, scope: str, value: dict[str, Any]) -> None:
        """`put` inside a transaction of yours."""
        given = {"value": json.dumps(value), "updated_at": self._store.clock.now()}
        connection.execute(_PUT, {"owner": self._owner, "scope": self.own(scope), **given})

    def put_with_mark(self, scope: str, value: dict[str, Any]) -> None:
        """`put`: nothing is marked here."""
        self.put(scope, value)

    def own(self, scope: str) -> str:
        """Return the stored form of a scope: the run's key. Values of the notifier itself have an empty scope."""
        return run_key(self._project, scope) if scope and self._project is not None else scope


def _engine(path: Path, patience_s: float, cap_bytes: int) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),  # as text, a "?" in the path would begin its options
        poolclass=StaticPool,
        connect_args={"check_same_thread": False, "timeout": patience_s, "isolation_level": None},
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: Any) -> None:
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "wal_autocheckpoint=0",
            "foreign_keys=ON",
            f"application_id={APPLICATION_ID}",
            # on a full disk even DELETE fails; below a cap of our own it works
            f"max_page_count={max(cap_bytes // PAGE_BYTES, 64)}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    return engine


@contextmanager
def _exclusive(lock: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock file against other processes. Raises BlockingIOError with `wait=False` when it is taken."""
    held = FileLock(lock)
    try:
        held.acquire(wait=wait)
        yield
    finally:
        held.release()


def is_busy(error: BaseException | None) -> bool:
    """True when another process has the database, so that the same may work a little later."""
    raw = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(raw, "sqlite_errorcode", None) if isinstance(raw, sqlite3.Error) else None
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


_NAMES = {
    getattr(sqlite3, name): name
    for name in (
        "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_CANTOPEN",
        "SQLITE_CORRUPT", "SQLITE_NOTADB",
    )
}  # fmt: skip


def _reason(error: Exception) -> str:
    """Return the message of SQLite or the operating system in the reader's language."""
    raw = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(raw, OSError):
        return system_words(raw)
    key = f"store.database.sqlite.{_NAMES.get(getattr(raw, 'sqlite_errorcode', 0) & 0xFF)}"
    return reader_text(key) if has_text(key, READER.language) else str(raw)


_FOREVER_S = 365 * 86_400.0


class _Here(threading.local):
    depth = 0  # how often this thread holds the lock


class FairLock:
    """Reentrant. At most one thread overtakes those that wait, and only on its way into the turnstile."""

    def __init__(self) -> None:
        self._turnstile = threading.RLock()
        self._lock = threading.RLock()
        self._here = _Here()

    def acquire(self, *, timeout: float) -> bool:
        """Take the lock, at most after so many seconds; False when it was not to be had."""
        again, ends_at_s = self._here.depth > 0, SYSTEM.monotonic() + timeout
        if not again and not self._turnstile.acquire(timeout=timeout):
            return False
        try:
            taken = self._lock.acquire(timeout=max(ends_at_s - SYSTEM.monotonic(), 0.0))
            if taken:
                self._here.depth += 1
            return taken
        finally:
            if not again:
                self._turnstile.release()

    def release(self) -> None:
        """Give it back, once for each time that it was taken."""
        self._lock.release()  # first: a signal between the two may overtake others, but never waits for what we hold
        self._here.depth -= 1

    def __enter__(self) -> None:
        self.acquire(timeout=_FOREVER_S)

    def __exit__(self, *_: object) -> None:
        self.release()

    @property
    def is_held_here(self) -> bool:
        """True in the thread that has it."""
        return self._here.depth > 0


HEAD = "0005"
"""The newest revision under `migrations/versions`; a test holds it to Alembic's own answer."""


def upgrade(connection: Connection) -> None:
    """Bring the database to `HEAD`. Cheap when it is there already: Alembic is imported only for work.

    Raises StoreError when the file was written by a newer notifybot.
    """
    present = None
    try:
        if inspect(connection).has_table("alembic_version"):
            present = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    except SQLAlchemyError as error:
        raise StoreError(reader_text("store.database.unreadable")) from error
    if present == HEAD:
        return
    if present is not None and present > HEAD:
        raise StoreError(reader_text("store.database.of_newer_version", present=present))
    log = logging.getLogger("alembic")  # its account of its steps stays out of a log that shows INFO, as Hydra's does
    before = log.level
    log.setLevel(max(log.getEffectiveLevel(), logging.WARNING))
    try:
        from alembic import command  # its plugins log while it is imported
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    finally:
        log.setLevel(before)
    connection.commit()
