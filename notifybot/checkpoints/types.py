"""When a state was saved, what a run goes on from, and whom the saving thread tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from notifybot.types import Checkpoint, Reason


@dataclass(frozen=True, slots=True)
class SavePoint:
    """When a state is saved: after `epoch`, and `step` steps into the next one. `label` is the epoch that names it.

    `name` and `project` are the run's; `final` says why it is over early with this epoch. `story`, `meter` and
    `learning` are the hook's own: how far the run has come, the open epoch's sums, and which parameters learnt when the
    run began and when this was saved.
    """

    epoch: int | None
    metrics: Mapping[str, float]
    step: int = 0
    label: int | None = None
    name: str = ""
    project: str = ""
    final: str = ""
    story: str = ""
    meter: Mapping[str, Any] = field(default_factory=dict)
    learning: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restored:
    """What a run goes on from. `verified` is False for a file that was not saved by us.

    `checkpoint` is the same as people are told of it: the copy that stays the longest.
    """

    path: Path
    moment: SavePoint
    saved_at: datetime | None
    verified: bool
    passed_over: tuple[Reason, ...] = ()
    checkpoint: Checkpoint | None = None
    notes: tuple[Reason, ...] = ()

    @property
    def is_nothing(self) -> bool:
        """True when all that was found was passed over, so that there is nothing to go on from."""
        return self.moment.epoch is None and not self.moment.step


class SaveObserver(Protocol):
    """Whom `Checkpoints` tells what it did, from its own thread."""

    def before_copy(self) -> None:
        """Make durable what must be, before the checkpoint counts as saved. May raise OSError."""
        ...

    def saved(self, checkpoint: Checkpoint, *, whole: bool) -> None:
        """A checkpoint is proven whole in the tier that it names; `whole`: in every one that it should be in."""
        ...

    def spared(self, reasons: Sequence[Reason], size_bytes: int) -> None:
        """These would have been removed, or are of nobody knows whom, and stay because they cannot be read."""
        ...

    def not_saved(self, error: Exception) -> None:
        """Nothing was saved; the last good one is untouched."""
        ...

    def not_copied(self, error: Exception) -> None:
        """It is on this machine only."""
        ...
