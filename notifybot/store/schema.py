"""The tables. Migrations under `migrations/` build exactly this; a test compares the two."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

from notifybot.types import DeliveryState

metadata = MetaData()


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment in UTC. SQLite keeps no time zone, so it is taken off and put back here."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a moment without a time zone cannot be stored: {value!r}")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


_NEED = "CASE WHEN status = 'lost' OR (status = 'running' AND stalled) THEN 2 WHEN status = 'running' THEN 1 ELSE 0 END"

runs = Table(
    "runs",
    metadata,
    Column("key", String(200), primary_key=True),  # model.run_key: the id of its project's run
    Column("name", Text, nullable=False),
    Column("project", String(200), nullable=False),
    Column("session", String(64), nullable=False, default=""),  # the process that reports the run
    Column("status", String(16), nullable=False),
    Column("stalled", Boolean, nullable=False, default=False),
    Column("attempt", Integer, nullable=False, default=1),
    Column("incident", Integer, nullable=False, default=0),  # messages that it is lost or stalled
    Column("direct", Boolean, nullable=False, default=False),  # the process itself sends its messages
    Column("beat_s", Float),  # promised seconds between heartbeats; NULL: none are sent, nobody can be late
    Column("beat_seq", Integer, nullable=False, default=0),
    Column("started_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("alive_at", UtcDateTime),
    Column("progress_at", UtcDateTime),
    Column("next_by", UtcDateTime),
    Column("deadline_at", UtcDateTime),  # when the scan must look at it; NULL: never
    Column("told_at", UtcDateTime),  # when the last message said lost or stalled
    Column("stack", Text, nullable=False, default=""),
    Column("last_event_at", UtcDateTime),
    Column("host", Text, nullable=False, default="{}"),  # JSON of model.Host
    Column("progress", Text, nullable=False, default="{}"),  # JSON of model.Progress, NaN-safe
    Column("params", Text, nullable=False, default="{}"),
    Column("id", String(200), nullable=False, default="", server_default=""),  # as its process names it
    Column("need", Integer, Computed(_NEED, persisted=False)),  # 2: somebody should look, 1: at work, 0: over
    Index("runs_by_deadline", "deadline_at"),
    Index("runs_by_id", "id"),
    Index("runs_by_need", "need", "started_at"),
    Index("runs_by_project_and_need", "project", "need", "started_at"),
)

events = Table(
    "events",
    metadata,
    Column("id", String(64), primary_key=True),  # UUIDv7 made at the source: the idempotency key
    Column("run_id", String(200), ForeignKey("runs.key", ondelete="CASCADE"), nullable=False),  # its key
    Column("kind", String(32), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("body", Text, nullable=False),  # events.to_json
    Index("events_by_run", "run_id", "at"),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),  # in SQLite no other type counts up by itself
    Column("event_id", String(64), ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    Column("run_id", String(200), nullable=False),  # the run's key
    Column("notifier", String(80), nullable=False),  # notifier key, name:fingerprint; never a secret
    Column("priority", Integer, nullable=False),
    Column("state", String(8), nullable=False, default=DeliveryState.PENDING),
    Column("attempts", Integer, nullable=False, default=0),
    Column("rounds", Integer, nullable=False, default=0, server_default="0"),  # of failed attempts: fewer go first
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime),
    Column("lease_owner", String(64)),
    Column("done_at", UtcDateTime),
    Column("error", Text, nullable=False, default=""),
    UniqueConstraint("event_id", "notifier", name="one_delivery_per_event_and_notifier"),
    Index("deliveries_next", "notifier", "state", "priority", "rounds"),  # SQLite appends the rowid: in id order
    Index("deliveries_by_run", "run_id", "notifier", "priority", "state"),
)

tallies = Table(
    "tallies",
    metadata,
    Column("notifier", String(80), primary_key=True),
    Column("put", BigInteger, nullable=False, default=0),  # all deliveries ever put
    Column("pruned_sent", BigInteger, nullable=False, default=0),
    Column("pruned_dead", BigInteger, nullable=False, default=0),
    Column("pruned_dropped", BigInteger, nullable=False, default=0),
    Column("dropped_untold", BigInteger, nullable=False, default=0),  # reported with the next success
)

memories = Table(
    "memories",
    metadata,
    Column("owner", String(80), primary_key=True),  # notifier key, or tracker:name
    Column("scope", String(200), primary_key=True),  # a run's key, or a word of the owner's own
    Column("value", Text, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("project", String(200), nullable=False),
    Column("digest", String(64), nullable=False, unique=True),  # SHA-256 of the token; the token itself is shown once
    Column("label", Text, nullable=False, default=""),
    Column("created_at", UtcDateTime, nullable=False),
    Column("revoked_at", UtcDateTime),
)

logins = Table(
    "logins",
    metadata,
    Column("digest", String(64), primary_key=True),  # SHA-256 of the key or session
    Column("kind", String(8), nullable=False),  # key | session
    Column("token_id", String(64)),  # the token whose project it may see; NULL: all
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

ticks = Table(
    "ticks",
    metadata,
    Column("part", String(32), primary_key=True),  # "scan" or "ingest"
    Column("at", UtcDateTime, nullable=False),
)
