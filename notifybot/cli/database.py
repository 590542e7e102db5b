"""Local database of the commands: its path, and opening it."""

from __future__ import annotations

from pathlib import Path

from notifybot.config import Config
from notifybot.store.database import Store
from notifybot.store.location import database_in

_PATIENCE_S = 5.0  # a person waits longer for a busy database than a training loop may


def database(config: Config) -> Path:
    """Path of the database in which the training processes of this machine keep their events."""
    return database_in(config.state_dir)


def open_store(path: Path) -> Store:
    """Open a database, made when it is missing. Raises StoreError."""
    return Store.open(path, patience_s=_PATIENCE_S)
