"""Checkpoint types: the point of a save, the restored state, and the observer of saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from notifybot.types import Checkpoint, Reason


@dataclass(frozen=True, slots=True)
class SavePoint:
    """Point of a save: after `epoch`, and `step` steps into the next one. `label` is the epoch that names it.

    `name` and `project` are the run's; `final` says why it ends early with this epoch. `progress` (as JSON),
    `meter` and `learning` are the loop's own: the progress, the open epoch's sums, and which parameters learnt at the
    run's start and at this save.
    """

    epoch: int | None
    metrics: Mapping[str, float]
    step: int = 0
    label: int | None = None
    name: str = ""
    project: str = ""
    final: str = ""
    progress: str = ""
    meter: Mapping[str, Any] = field(default_factory=dict)
    learning: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restored:
    """State that a run resumes from. `verified` is False for a file that notifybot did not save.

    `checkpoint` is the form reported to people: the copy that lasts the longest.
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
        """True when everything found was passed over, so that there is nothing to resume from."""
        return self.moment.epoch is None and not self.moment.step


class SaveObserver(Protocol):
    """Observer of saves: `Checkpoints` calls it from its own thread."""

    def before_copy(self) -> None:
        """Make the run's other files durable, before the checkpoint counts as saved. May raise OSError."""

    def saved(self, checkpoint: Checkpoint, *, whole: bool) -> None:
        """Report a checkpoint that is proven whole in its tier; `whole`: in every tier that it should be in."""

    def spared(self, reasons: Sequence[Reason], size_bytes: int) -> None:
        """Report checkpoints that were not removed because they, or their manifests, cannot be read."""

    def not_saved(self, error: Exception) -> None:
        """Report that nothing was saved; the last good checkpoint is untouched."""

    def not_copied(self, error: Exception) -> None:
        """Report that the checkpoint is on this machine only."""
