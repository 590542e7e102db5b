"""Notifiers' memories of a run, exported to a new machine, or to the watchdog that posts in the same thread.

Only places and marks are in it (a channel's id, a message's number, event ids), never a token.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, and_, bindparam, or_, select
from sqlalchemy.dialects.sqlite import insert

from notifybot.store.database import Store
from notifybot.store.schema import memories

MOST_OWNERS = 16
LARGEST_VALUE = 16_384  # characters of JSON
_STAY = ("tracker:", "watchdog:")  # owners whose memory is of no use on another machine


def export_for(store: Store, run_key: str) -> dict[str, dict[str, Any]]:
    """Return the memory of each notifier about a run: its key to `{"value": …, "updated_at": …}`, plain JSON.

    Raises StoreError.
    """
    query = (
        select(memories.c.owner, memories.c.value, memories.c.updated_at)
        .where(memories.c.scope == run_key)
        .order_by(memories.c.owner)
    )
    with store.snapshot() as connection:
        rows = list(connection.execute(query))
    kept = [row for row in rows if not row.owner.startswith(_STAY) and len(row.value) <= LARGEST_VALUE]
    return {
        row.owner: {"value": json.loads(row.value), "updated_at": row.updated_at.isoformat()}
        for row in kept[:MOST_OWNERS]
    }


def import_for(store: Store, run_key: str, values: Mapping[str, Any]) -> int:
    """Import the memories that `export_for` gave elsewhere; return how many values were taken. Raises StoreError.

    A value that stands here already and is as new or newer stays. What is malformed is left out.
    """
    with store.transaction() as connection:
        return import_in(connection, store.clock.now(), run_key, values)


def import_in(
    connection: Connection,
    now: datetime,
    run_key: str,
    values: Mapping[str, Any],
    *,
    owners: Collection[str] | None = None,
) -> int:
    """`import_for` inside the caller's transaction; with `owners`, of these notifiers only."""
    taken = 0
    for owner, kept in list(values.items())[:MOST_OWNERS]:
        if (owners is not None and owner not in owners) or owner.startswith(_STAY):
            continue
        try:
            value, found = json.dumps(kept["value"]), datetime.fromisoformat(kept["updated_at"])
        except (KeyError, TypeError, ValueError):
            continue
        if isinstance(kept["value"], dict) and len(value) <= LARGEST_VALUE:
            updated_at = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
            taken += put_if_newer(connection, owner, run_key, value, min(updated_at, now))
    return taken


def put_if_newer(connection: Connection, owner: str, scope: str, value: str, updated_at: datetime) -> int:
    """Put a value, as JSON, unless the stored one is as new; return how many were put, 0 or 1."""
    added = insert(memories).values({"owner": owner, "scope": scope, "value": value, "updated_at": updated_at})
    newer = added.on_conflict_do_update(
        index_elements=["owner", "scope"],
        set_={"value": added.excluded.value, "updated_at": added.excluded.updated_at},
        where=memories.c.updated_at < added.excluded.updated_at,
    )
    return connection.execute(newer).rowcount


PAGES = "tracker:wandb"  # whose tracker knows a page of the run
_OF_RUN = memories.c.scope == bindparam("about")
KNOWN = select(memories.c.owner, memories.c.scope, memories.c.value).where(  # built once, asked with each claim
    or_(
        and_(memories.c.owner == bindparam("of"), or_(memories.c.scope == "", _OF_RUN)),
        and_(memories.c.owner == PAGES, _OF_RUN),
    )
)
_PAGE = select(memories.c.value).where(memories.c.owner == PAGES, _OF_RUN)


def remember(store: Store, run_key: str, tracker: str, url: str) -> None:
    """Keep the address of a run's page, for messages that any process sends. Raises StoreError."""
    store.memory(f"tracker:{tracker}").put(run_key, {"url": url})


def tracker_url(store: Store, run_key: str) -> str | None:
    """Return the address of a run's page; None while no tracker has reported one. Raises StoreError."""
    with store.snapshot() as connection:
        value = connection.execute(_PAGE, {"about": run_key}).scalar()
    return address_in(value) if value else None


def address_in(value: str) -> str | None:
    """Return the address of the page in a tracker's memory of a run."""
    url = json.loads(value).get("url")
    return url if isinstance(url, str) and url else None
