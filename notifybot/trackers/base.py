"""The Tracker protocol: it records events, and is closed with the run's last status."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from notifybot.events import Event
from notifybot.types import Param, RunRef, Status, Unit


@dataclass(frozen=True, slots=True)
class TrackerContext:
    """Arguments for opening a tracker. `folder` is the run's own folder, already made.

    `purge_from` is the first epoch of a resumed session: values that an earlier session wrote from there on are void.
    `replay` are this run's earlier events that the tracker may have missed when its process was killed.
    `wandb_artifacts` also sends every checkpoint to W&B, which reads, copies and uploads all of it each time.
    `monitor` is the metric that the best checkpoint goes by, where the user named one. `unit` is what the run's earlier
    sessions counted.
    """

    run: RunRef
    folder: Path
    params: dict[str, Param] = field(default_factory=dict)
    purge_from: int | None = None
    replay: tuple[Event, ...] = ()
    wandb_artifacts: bool = False
    monitor: str | None = None
    unit: Unit = "epoch"


class Tracker(Protocol):
    """Records a run's metrics. May raise anything: the caller catches and counts it, and reports it once."""

    @property
    def name(self) -> str:
        """The tracker's name, such as "tensorboard"."""
        ...

    def record(self, event: Event) -> None:
        """Take an event. Whatever it wrote of an EpochFinished is flushed to the file when this returns."""
        ...

    def go_back(self, first: int) -> None:
        """Void the epochs labelled `first` and above, as far as possible: they will be recorded once more."""
        ...

    def close(self, status: Status) -> None:
        """Write out everything and let go. Closing twice is fine."""
        ...


@runtime_checkable
class HasUrl(Protocol):
    """A tracker that shows the run on a page of its own."""

    @property
    def url(self) -> str | None:
        """The page's address; None where there is none."""
        ...


@runtime_checkable
class WritesLater(Protocol):
    """A tracker whose numbers are on disk some time after `record` returns, as another process writes them."""

    @property
    def written_after_s(self) -> float:
        """Seconds until then."""
        ...


@runtime_checkable
class HasRaw(Protocol):
    """A tracker over another library's object, which users may want for what a tracker does not do."""

    @property
    def raw(self) -> Any:
        """That object: TensorBoard's SummaryWriter, W&B's run."""
        ...
