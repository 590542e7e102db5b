"""History of a run's metrics, read from the database file by another process: read-only, standard library only.

A reader of a WAL database holds nobody up, and its file locks are its own process's. Nothing else of the store is
imported: the process that asks is started for one picture.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from notifybot.errors import StoreError, reader_text

MOST_EPOCHS = 10_000
_PATIENCE_S = 2.0
_EPOCHS = (
    "SELECT body FROM events WHERE run_id = ? AND kind = 'epoch_finished' AND at <= ? ORDER BY at DESC, id DESC LIMIT ?"
)


@dataclass(slots=True)
class History:
    """Every metric's values by epoch, and the epochs that sessions after the first one began with.

    A session that began further back than the one before it came does that part again: what was there is dropped. So
    does a loop of the user's own that went back, which alone lets the number of finished epochs fall.
    """

    values: dict[str, dict[int, float]] = field(default_factory=dict)
    resumed: list[int] = field(default_factory=list)
    _session: str = ""
    _labels: list[int] = field(default_factory=list)
    _done: int = 0

    def add(self, session: str, progress: Mapping[str, Any]) -> None:
        """Add an epoch from an event's JSON.

        The first of a session also has what was before it: its epochs may lie in another machine's store.
        """
        epoch = int(progress["done"] if progress["epoch"] is None else progress["epoch"])
        begins = session != self._session
        if begins and self.values:
            self._rewind(epoch)
            self.resumed = [*(each for each in self.resumed if each < epoch), epoch]
        elif len(self._labels) > 1 and self._labels[-2] < self._labels[-1] > epoch and progress["done"] < self._done:
            self._rewind(epoch)
        if self._labels[-1:] != [epoch]:
            self._labels.append(epoch)
        self._done = int(progress["done"])
        for name, metric in progress["metrics"].items():
            values = self.values.setdefault(name, {})
            if begins:
                history, labels = list(metric["history"]), list(metric.get("epochs") or ())
                if len(labels) != len(history):  # a version before this one counted back from the epoch
                    labels = list(range(epoch - len(history) + 1, epoch + 1))
                for label, value in zip(labels[:-1], history[:-1], strict=True):
                    values.setdefault(int(label), float(value))
            values[epoch] = float(metric["value"])
        self._session = session

    def _rewind(self, epoch: int) -> None:
        kept = {name: {at: value for at, value in values.items() if at < epoch} for name, values in self.values.items()}
        self.values = {name: values for name, values in kept.items() if values}
        self._labels = [each for each in self._labels if each < epoch]

    def points(self) -> dict[str, tuple[tuple[float, float], ...]]:
        """Each metric's (epoch, value), in order."""
        return {name: tuple((float(at), values[at]) for at in sorted(values)) for name, values in self.values.items()}


def history_of(path: Path, run_key: str, until: datetime) -> History:
    """Read a run's epochs up to a moment. Raises StoreError where the file cannot be read."""
    last = until.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")  # the stored form, without a time zone
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=_PATIENCE_S)) as connection:
            bodies = [body for (body,) in connection.execute(_EPOCHS, (run_key, last, MOST_EPOCHS))]
    except sqlite3.Error as error:
        kind = type(error).__name__
        raise StoreError(reader_text("store.history.unreadable", kind=kind)) from error
    history = History()
    for body in reversed(bodies):
        event = json.loads(body)  # NaN and infinity are stored as words that float() reads
        history.add(event["run"]["session"], event["progress"])
    return history
