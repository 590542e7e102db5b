"""Accepted deliveries that a busy database has not recorded yet: notes beside it, and a memory that cannot fail.

A note lies in a folder beside the database. A process writes it when it ends, or gives up a try, before it could
record what a receiver has accepted. The next sender records it first: nothing accepted is sent again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from notifybot.errors import StoreError
from notifybot.files import write_atomically
from notifybot.store.database import Store, StoreMemory
from notifybot.store.held import IN_DIGEST
from notifybot.store.notifier_state import put_if_newer
from notifybot.store.outbox_queries import counting
from notifybot.store.schema import deliveries
from notifybot.types import DeliveryState, uuid7

_SENT = select(deliveries.c.id).where(
    deliveries.c.event_id == bindparam("event_id"),
    deliveries.c.notifier == bindparam("notifier"),
    deliveries.c.state == DeliveryState.SENT,
)
_ACCEPTED = (
    update(deliveries)
    .where(
        deliveries.c.id == bindparam("delivery"),
        deliveries.c.notifier == bindparam("owner"),
        deliveries.c.state == DeliveryState.PENDING,
    )
    .values(
        state=DeliveryState.SENT, done_at=bindparam("at"), attempts=deliveries.c.attempts + 1, lease_until=None,
        lease_owner=None, error=bindparam("why"),
    )
)  # fmt: skip
_KNOWN = select(deliveries.c.id).where(
    deliveries.c.id == bindparam("delivery"), deliveries.c.event_id == bindparam("event_id")
)
_UNREPORTED = counting("dropped_untold")


@dataclass(frozen=True, slots=True)
class Sent:
    """Delivery that was sent, with the ids `together` that its message included, and the number of dropped ones."""

    delivery: int
    event_id: str  # the numbers begin anew with a new database, after a damaged one
    together: tuple[int, ...] = ()
    unreported: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """Record of what the receiver of `owner`, a notifier, has accepted.

    `remembered` holds the notifier's values to be stored, by scope, each with its moment.
    """

    owner: str
    sent: Sent | None = None
    remembered: Mapping[str, tuple[dict[str, Any], datetime]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sent or self.remembered)


class Remembered:
    """Notifier's memory whose `put` never fails: a value that the database does not take at once is written later.

    What a claim has brought along is not asked for again.
    """

    def __init__(self, store: Store, owner: str, project: str, owe: Callable[[Callable[[], object]], None]) -> None:
        self._memory: StoreMemory = store.memory(owner, project)
        self._clock = store.clock
        self._owe = owe
        self._unwritten: dict[str, tuple[dict[str, Any], datetime]] = {}
        self.known: Mapping[str, str] = {}  # what a claim has read, as JSON: by now another process may have sent

    def unwritten(self) -> dict[str, tuple[dict[str, Any], datetime]]:
        """Values not in the database yet, by the scope that it stores them under, each with its moment."""
        return {self._memory.own(scope): value for scope, value in self._unwritten.copy().items()}

    def get(self, scope: str) -> dict[str, Any]:
        """Return the value of a scope. Raises StoreError, except for one from the claim, or put and not yet written."""
        if scope in self._unwritten:
            return dict(self._unwritten[scope][0])
        if scope not in self.known:
            return self._memory.get(scope)
        value: dict[str, Any] = json.loads(self.known[scope] or "{}")
        return value

    def put(self, scope: str, value: dict[str, Any]) -> None:
        self.put_with_mark(scope, value)
        try:
            self._write(scope)
        except StoreError:
            self._owe(partial(self._write, scope))

    def put_with_mark(self, scope: str, value: dict[str, Any]) -> None:
        self._unwritten[scope] = value, self._clock.now()
        self.known = {**self.known, scope: json.dumps(value)}

    def write_in(self, connection: Connection) -> None:
        """Write the unwritten values inside the caller's transaction; call `written` after its commit."""
        for scope, (value, _) in self._unwritten.items():
            self._memory.put_in(connection, scope, value)

    def written(self) -> None:
        """Forget the unwritten values: the database has them."""
        self._unwritten.clear()

    def write(self) -> None:
        """Write the unwritten values. Raises StoreError."""
        for scope in list(self._unwritten):
            self._write(scope)

    def _write(self, scope: str) -> None:
        if scope in self._unwritten:
            self._memory.put(scope, self._unwritten[scope][0])
            del self._unwritten[scope]


def was_sent(store: Store, event_id: str, notifier: str) -> bool:
    """True when the receiver has the message about the event, also as part of a digest. Raises StoreError."""
    with store.snapshot() as connection:
        return connection.execute(_SENT, {"event_id": event_id, "notifier": notifier}).first() is not None


class Notes:
    """Notes of one sender that it has not deleted, `last` the newest. No method raises; callable from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.RLock()  # re-entrant: a signal's handler writes notes too, at any point of its thread
        self.last: Accepted | None = None
        self._names: list[str] = []

    def write(self, accepted: Accepted) -> None:
        """Write a note, if there is anything to note and it differs from the last note."""
        with self._lock, suppress(OSError):  # the same folder holds the database, which is retried
            if accepted and accepted != self.last:
                name = uuid7()  # a new name: a process that records an earlier note removes only that
                note(self._store, name, accepted)
                self.last = accepted
                self._names.append(name)

    def forget(self) -> None:
        """Delete the notes: the database has recorded all of it."""
        with self._lock:
            for name in self._names:
                with suppress(OSError):  # another process may have recorded it; one that stays does no harm
                    (folder_of(self._store) / name).unlink()
            self.last, self._names = None, []


def note(store: Store, name: str, accepted: Accepted) -> None:
    """Write a note of its own name about what the database does not take. Raises OSError.

    It outlives the process, and is not synced: an exit has no time for a slow disk. Where the machine goes down within
    seconds, a message is sent again, as after a kill.
    """
    place = folder_of(store) / name
    place.parent.mkdir(mode=0o700, exist_ok=True)
    remembered = {scope: [value, at.isoformat()] for scope, (value, at) in accepted.remembered.items()}
    sent = accepted.sent and {
        "delivery": accepted.sent.delivery, "event_id": accepted.sent.event_id, "together": accepted.sent.together,
        "untold": accepted.sent.unreported,
    }  # fmt: skip
    content = json.dumps({"owner": accepted.owner, "sent": sent, "remembered": remembered})
    write_atomically(place, content.encode(), private=True, durable=False)


def take_up(store: Store) -> int:
    """Record in the database the notes of other processes; return how many notes. Raises StoreError.

    Taken up twice, a note changes nothing more: what was remembered later stays, and so does what was sent. One that
    cannot be read now is left for later, and one that makes no sense is removed.
    """
    taken, folder = 0, folder_of(store)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return 0
    for path in (folder / name for name in names if not name.startswith(".")):  # else it is being written
        try:
            with suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError):
                _bring_in(store, _read(path.read_bytes()))
            path.unlink()
            taken += 1
        except OSError:  # another process was quicker, or the disk fails
            continue
    return taken


def folder_of(store: Store) -> Path:
    """Return the folder of the notes; without one there are none."""
    return store.path.with_suffix(".accepted")


def _read(content: bytes) -> Accepted:
    """A note's content. Raises ValueError, KeyError, TypeError or AttributeError where it makes no sense."""
    found = json.loads(content)
    remembered = {
        str(scope): (dict(value), datetime.fromisoformat(at)) for scope, (value, at) in found["remembered"].items()
    }
    sent = found["sent"]
    if sent is not None:
        numbers = tuple(map(int, sent["together"]))
        sent = Sent(int(sent["delivery"]), str(sent["event_id"]), numbers, int(sent["untold"]))
    return Accepted(str(found["owner"]), sent, remembered)


def _bring_in(store: Store, accepted: Accepted) -> None:
    now, owner, sent = store.clock.now(), accepted.owner, accepted.sent
    with store.transaction() as connection:
        for scope, (value, at) in accepted.remembered.items():
            put_if_newer(connection, owner, scope, json.dumps(value), min(at, now))
        if sent is None:
            return
        if connection.execute(_KNOWN, {"delivery": sent.delivery, "event_id": sent.event_id}).first() is None:
            return
        done = {"owner": owner, "at": now}
        first = connection.execute(_ACCEPTED, done | {"delivery": sent.delivery, "why": ""})
        if first.rowcount and sent.unreported:
            connection.execute(_UNREPORTED, {"key": owner, "number": -sent.unreported})
        if sent.together:
            connection.execute(_ACCEPTED, [done | {"delivery": each, "why": IN_DIGEST} for each in sent.together])
