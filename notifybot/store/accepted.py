"""Whether a notifier has told of an event, and what it has told that a busy database does not know of yet.

A note lies in a folder beside the database, written when a process ends, or gives up a try, before the record of what
a receiver has accepted could be made. Whoever sends next takes it up first: nothing accepted is sent again.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from notifybot.errors import StoreError
from notifybot.files import write_atomically
from notifybot.store.database import Store, StoreMemory, as_value
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
_UNTOLD = counting("dropped_untold")
_UNREADY = "."  # a note that is being written has it before its name


@dataclass(frozen=True, slots=True)
class Sent:
    """A delivery that went out, with the `together` that its message told as well, and how many dropped ones."""

    delivery: int
    event_id: str  # a number alone is used again where a damaged database is begun anew
    together: tuple[int, ...] = ()
    untold: int = 0


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the receiver of `owner`, a notifier, has accepted.

    `remembered` holds what the notifier wants to be remembered, by scope, each with its moment.
    """

    owner: str
    sent: Sent | None = None
    remembered: Mapping[str, tuple[dict[str, Any], datetime]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.sent or self.remembered)


class Remembered:
    """A notifier's memory that never fails to remember: what the database does not take at once is written later.

    What a claim has brought along is not asked for again.
    """

    def __init__(self, store: Store, owner: str, project: str, owe: Callable[[Callable[[], object]], None]) -> None:
        self._memory: StoreMemory = store.memory(owner, project)
        self._clock = store.clock
        self._owe = owe
        self._unwritten: dict[str, tuple[dict[str, Any], datetime]] = {}
        self._known: dict[str, str] = {}  # as JSON, by scope as it is stored

    def begin(self, known: Mapping[str, str]) -> None:
        """Go by what a claim has found; by nothing where there is none: another process may have told since."""
        self._known = dict(known)

    def unwritten(self) -> dict[str, tuple[dict[str, Any], datetime]]:
        """What is not in the database, by scope as it is stored there, with the moment it is from."""
        return {self._memory.own(scope): value for scope, value in self._unwritten.copy().items()}

    def get(self, scope: str) -> dict[str, Any]:
        """Raises StoreError, but for what the claim brought, or this process put and has not written yet."""
        if scope in self._unwritten:
            return dict(self._unwritten[scope][0])
        known = self._known.get(self._memory.own(scope))
        return self._memory.get(scope) if known is None else as_value(known)

    def put(self, scope: str, value: dict[str, Any]) -> None:
        self.put_with_mark(scope, value)
        try:
            self._write(scope)
        except StoreError:
            self._owe(partial(self._write, scope))

    def put_with_mark(self, scope: str, value: dict[str, Any]) -> None:
        self._unwritten[scope] = value, self._clock.now()
        self._known[self._memory.own(scope)] = json.dumps(value)

    def write_in(self, connection: Connection) -> None:
        """Write, inside a transaction of yours, what is not written yet; `written` says that it was committed."""
        for scope, (value, _) in self._unwritten.items():
            self._memory.put_in(connection, scope, value)

    def written(self) -> None:
        """All that was put stands in the database."""
        self._unwritten.clear()

    def write(self) -> None:
        """Write what is not written yet. Raises StoreError."""
        for scope in list(self._unwritten):
            self._write(scope)

    def _write(self, scope: str) -> None:
        if scope in self._unwritten:
            self._memory.put(scope, self._unwritten[scope][0])
            del self._unwritten[scope]


def was_sent(store: Store, event_id: str, notifier: str) -> bool:
    """True when the receiver has the message about the event, be it within a digest. Raises StoreError."""
    with store.snapshot() as connection:
        return connection.execute(_SENT, {"event_id": event_id, "notifier": notifier}).first() is not None


class Notes:
    """What one sender has noted and not taken back. Neither raises; callable from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.RLock()  # a signal's handler notes as well, wherever its thread is
        self._last: Accepted | None = None
        self._names: list[str] = []

    def write(self, accepted: Accepted) -> None:
        """Note it, where there is anything and it is not noted yet."""
        with self._lock, suppress(OSError):  # the database is in the same folder, and is tried on
            if accepted and accepted != self._last:
                name = uuid7()  # of its own: whoever takes up an earlier one removes that alone
                note(self._store, name, accepted)
                self._last = accepted
                self._names.append(name)

    def forget(self) -> None:
        """Take all back: it stands in the database."""
        if self._last is None:
            return
        with self._lock:
            for name in self._names:
                with suppress(OSError):  # taken up, perhaps; where it stays it changes nothing
                    (_folder(self._store) / name).unlink()
            self._last, self._names = None, []


def note(store: Store, name: str, accepted: Accepted) -> None:
    """Write down, under a name of its own, what the database does not take. Raises OSError.

    It outlives the process, and is not synced: an exit has no time for a slow disk. Where the machine goes down within
    seconds, a message is sent again, as after a kill.
    """
    place = _folder(store) / name
    place.parent.mkdir(mode=0o700, exist_ok=True)
    remembered = {scope: [value, at.isoformat()] for scope, (value, at) in accepted.remembered.items()}
    sent = asdict(accepted.sent) if accepted.sent else None
    content = json.dumps({"owner": accepted.owner, "sent": sent, "remembered": remembered})
    write_atomically(place, content.encode(), private=True, durable=False)


def take_up(store: Store) -> int:
    """Bring into the database what others noted beside it; return how many notes. Raises StoreError.

    Taken up twice, a note changes nothing more: what was remembered later stays, and so does what was sent. One that
    cannot be read now is left for later, and one that makes no sense is removed.
    """
    taken = 0
    for path in _notes(store):
        try:
            with suppress(ValueError, KeyError, TypeError, AttributeError, OverflowError):
                _bring_in(store, _read(path.read_bytes()))
            path.unlink()
            taken += 1
        except OSError:  # somebody else was quicker, or the disk fails
            continue
    return taken


def _folder(store: Store) -> Path:
    return store.path.with_suffix(".accepted")


def _notes(store: Store) -> list[Path]:
    """The notes, if there are any: one question to the disk where there are none."""
    folder = _folder(store)
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(_UNREADY)]


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
    now = store.clock.now()
    with store.transaction() as connection:
        for scope, (value, at) in accepted.remembered.items():
            put_if_newer(connection, accepted.owner, scope, json.dumps(value), min(at, now))
        if accepted.sent:
            _mark_sent(connection, accepted.owner, accepted.sent, now)


def _mark_sent(connection: Connection, owner: str, sent: Sent, now: datetime) -> None:
    if connection.execute(_KNOWN, {"delivery": sent.delivery, "event_id": sent.event_id}).first() is None:
        return
    done = {"owner": owner, "at": now}
    first = connection.execute(_ACCEPTED, done | {"delivery": sent.delivery, "why": ""})
    if first.rowcount and sent.untold:
        connection.execute(_UNTOLD, {"key": owner, "number": -sent.untold})
    if sent.together:
        connection.execute(_ACCEPTED, [done | {"delivery": each, "why": IN_DIGEST} for each in sent.together])
