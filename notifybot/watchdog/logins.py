"""Logins to the pages: links that open them once, and sessions of browsers.

Whoever can read the server's output, or its database, may see every project: they get a link with a key. A project's
token opens its own pages. Either is exchanged for a session, a separate secret that cannot report events and expires.
All of them have 256 random bits and are stored as digests only.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection, delete, or_, select

from notifybot.store.database import Store
from notifybot.store.schema import logins, tokens
from notifybot.watchdog.tokens import digest_of

KEY_FOR = timedelta(hours=1)
SESSION_FOR = timedelta(days=30)
_BYTES = 32
_KEY, _SESSION = "key", "session"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in. `project`: the one whose runs they see; None: those of all projects."""

    project: str | None


def new_key(store: Store) -> str:
    """Make a key that opens all pages once, within an hour. Raises StoreError."""
    with store.transaction() as connection:
        return _new(connection, store, _KEY, KEY_FOR)


def link(store: Store, url: str) -> str:
    """Make an address that opens all pages of a watchdog once, within an hour. Raises StoreError."""
    return f"{url.rstrip('/')}/login?key={new_key(store)}"


def enter_by_key(store: Store, key: str) -> str | None:
    """Use a key up and return a session; None where it was used before, is too old, or never was. Raises StoreError."""
    fresh = (logins.c.digest == digest_of(key), logins.c.kind == _KEY, logins.c.expires_at > store.clock.now())
    with store.transaction() as connection:
        if connection.execute(delete(logins).where(*fresh)).rowcount != 1:
            return None
        return _new(connection, store, _SESSION, SESSION_FOR)


def enter_by_token(store: Store, token: str) -> str | None:
    """Return a session that sees what the token's project has, as long as the token is valid; None for a wrong one.

    Raises StoreError.
    """
    valid = select(tokens.c.id).where(tokens.c.digest == digest_of(token), tokens.c.revoked_at.is_(None))
    with store.transaction() as connection:
        token_id = connection.execute(valid).scalar()
        return None if token_id is None else _new(connection, store, _SESSION, SESSION_FOR, token_id)


def visitor(store: Store, session: str) -> Visitor | None:
    """Return a session's visitor; None if the session has ended. Raises StoreError."""
    query = (
        select(logins.c.token_id, tokens.c.project)
        .join_from(logins, tokens, tokens.c.id == logins.c.token_id, isouter=True)
        .where(logins.c.digest == digest_of(session), logins.c.kind == _SESSION)
        .where(logins.c.expires_at > store.clock.now())
        .where(or_(logins.c.token_id.is_(None), tokens.c.project.is_not(None) & tokens.c.revoked_at.is_(None)))
    )
    with store.reading() as connection:
        found = connection.execute(query).first()
    return None if found is None else Visitor(found.project)


def leave(store: Store, session: str) -> None:
    """End a session. Raises StoreError."""
    with store.transaction() as connection:
        connection.execute(delete(logins).where(logins.c.digest == digest_of(session), logins.c.kind == _SESSION))


def _new(connection: Connection, store: Store, kind: str, lasts: timedelta, token_id: str | None = None) -> str:
    now, secret = store.clock.now(), secrets.token_urlsafe(_BYTES)
    connection.execute(delete(logins).where(logins.c.expires_at <= now))
    row = {
        "digest": digest_of(secret),
        "kind": kind,
        "token_id": token_id,
        "created_at": now,
        "expires_at": now + lasts,
    }
    connection.execute(logins.insert(), row)
    return secret
