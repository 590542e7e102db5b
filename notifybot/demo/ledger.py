"""The watchdog's database as the demo reads it: what happened, who was told, and that nothing is missing."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from notifybot.events import Event
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox import Counts, Outbox
from notifybot.store.schema import deliveries


def events(store: Store, run_id: str, kind: str | None = None) -> list[Event]:
    """The run's events, oldest first."""
    return runs.events_of(store, run_id, kinds=None if kind is None else [kind])


def is_told(store: Store, event: Event) -> bool:
    """True when every notifier that was to tell the event has done so, and there is one."""
    with store.transaction() as connection:
        states = list(connection.execute(select(deliveries.c.state).where(deliveries.c.event_id == event.id)).scalars())
    return bool(states) and set(states) == {"sent"}


def counts_of(store: Store) -> list[Counts]:
    """What every notifier of a database was given, and what became of it."""
    return list(Outbox(store).counts().values())


def counts(path: Path) -> list[Counts]:
    """The same of a database that somebody else keeps."""
    with Store.open(path, patience_s=5.0) as store:
        return counts_of(store)
