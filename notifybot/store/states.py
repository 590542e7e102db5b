"""Where a delivery stands: the words of the column `deliveries.state`."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Every delivery is in exactly one of these, which is why the ledger adds up."""

    PENDING = "pending"
    SENT = "sent"
    DEAD = "dead"
    DROPPED = "dropped"
