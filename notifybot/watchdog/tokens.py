"""Tokens: the right to report for a project. Shown once, stored as a digest.

A token has 256 random bits, so it cannot be guessed and a plain SHA-256 is enough at rest: slow hashes protect
passwords that people choose. Looking it up by its digest takes the same time for every wrong one.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from notifybot.store.database import Store
from notifybot.store.schema import tokens
from notifybot.types import uuid7

PREFIX = "nb_"
_BYTES = 32


@dataclass(frozen=True, slots=True)
class TokenRow:
    """Stored record of a token: enough to recognise and revoke it, not enough to use it."""

    id: str
    project: str
    label: str
    created_at: datetime
    revoked_at: datetime | None


def create(store: Store, project: str, *, label: str = "") -> str:
    """Make a token for a project and return it. It cannot be shown again. Raises StoreError."""
    token = PREFIX + secrets.token_urlsafe(_BYTES)
    now = store.clock.now()
    row = {
        "id": uuid7(now.timestamp()),
        "project": project,
        "digest": digest_of(token),
        "label": label,
        "created_at": now,
    }
    with store.transaction() as connection:
        connection.execute(tokens.insert(), row)
    return token


def verify(store: Store, token: str | None) -> str | None:
    """Return a token's project; None when the token is absent, wrong or revoked. Raises StoreError."""
    with store.reading() as connection:
        return verify_in(connection, token)


def verify_in(connection: Connection, token: str | None) -> str | None:
    """`verify` inside the caller's transaction."""
    digest = digest_of(token or "")
    query = select(tokens.c.project).where(tokens.c.digest == digest, tokens.c.revoked_at.is_(None))
    project: str | None = connection.execute(query).scalar()
    return project


def list_tokens(store: Store) -> list[TokenRow]:
    """All tokens ever made, oldest first. Raises StoreError."""
    columns = (tokens.c.id, tokens.c.project, tokens.c.label, tokens.c.created_at, tokens.c.revoked_at)
    with store.transaction() as connection:
        return [TokenRow(*row) for row in connection.execute(select(*columns).order_by(tokens.c.created_at))]


def revoke(store: Store, token_id: str) -> bool:
    """End a token's power at once; False when there is no such token or it has none. Raises StoreError."""
    now = store.clock.now()
    ended = update(tokens).where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None)).values(revoked_at=now)
    with store.transaction() as connection:
        return connection.execute(ended).rowcount == 1


def digest_of(token: str) -> str:
    """Return the digest to store for a token, or for another secret of 256 random bits."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
