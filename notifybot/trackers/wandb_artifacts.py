"""Checkpoints as W&B artifacts of the type "model": versions of one artifact per run, with moving aliases."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from notifybot.errors import reader_text
from notifybot.events import CheckpointSaved, EpochFinished
from notifybot.redaction import redact
from notifybot.types import Param

_log = logging.getLogger("notifybot")

TYPE = "model"


def log_artifact(
    run: Any, path: Path, name: str, aliases: Iterable[str] = (), metadata: Mapping[str, Param] | None = None
) -> str:
    """Log a file or a folder as a new version of an artifact; return what went wrong, or nothing. Never raises.

    This reads all of it once for its checksum and copies it into W&B's staging folder (`WANDB_DATA_DIR`), so that it
    may be pruned before W&B has uploaded it. Offline the copy waits there, on this machine, for `wandb sync`.
    """
    import wandb

    given = {  # W&B's server takes JSON only
        name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in (metadata or {}).items()
    }
    try:
        artifact = wandb.Artifact(_clean(name), type=TYPE, metadata=given)
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path))
        run.log_artifact(artifact, aliases=[_clean(alias) for alias in aliases])
    except (OSError, ValueError, TypeError, RuntimeError, wandb.Error) as error:
        reason = redact(" ".join(f"{type(error).__name__}: {error}".split()))[:200]
        _log.warning("%s", reader_text("trackers.wandb_artifacts.file_not_uploaded", path=path, reason=reason))
        return reason
    return ""


class CheckpointVersions:
    """Says which aliases a saved checkpoint gets, from what the events before it said."""

    def __init__(self, monitor: str | None = None) -> None:
        self._monitor = monitor
        self._best_epoch: int | None = None
        self._seen: set[tuple[str, int | None, int | None]] = set()

    def finished(self, event: EpochFinished) -> None:
        """Remember the epoch that is the best so far: by `monitor`, else by the metric whose new best is reported.

        A first best is no news. It is known by no metric's best being of another epoch, as values before it that are
        not finite leave it the first.
        """
        epoch, metrics = event.progress.epoch, event.progress.metrics
        watched = metrics.get(self._monitor or event.new_best or "")
        bests = {each.best_epoch for each in metrics.values() if each.best is not None}
        if watched is not None and watched.best is not None:
            self._best_epoch = watched.best_epoch
        elif event.new_best is not None or (self._best_epoch is None and bests == {epoch}):
            self._best_epoch = epoch

    def is_new(self, event: CheckpointSaved) -> bool:
        """False for a checkpoint that was logged before, as when it has reached the second of two folders."""
        saved = event.checkpoint
        key = (Path(saved.path).name, saved.epoch, saved.size_bytes)
        fresh = key not in self._seen
        self._seen.add(key)
        return fresh

    def aliases(self, event: CheckpointSaved) -> list[str]:
        """Its epoch or step, and "best" while it is the best. "latest" W&B gives by itself to every new version."""
        epoch = event.checkpoint.epoch
        if epoch is None:
            return []
        return [*(["best"] if epoch == self._best_epoch else []), f"{event.progress.unit}-{epoch}"]


def metadata_of(event: CheckpointSaved) -> dict[str, Param]:
    """Return the metadata of a checkpoint: its origin and its epoch's metrics."""
    metrics = {name: metric.value for name, metric in event.progress.metrics.items()}
    saved = event.checkpoint
    return {**metrics, event.progress.unit: saved.epoch, "file": Path(saved.path).name, "tier": saved.tier.value}


def _clean(name: str) -> str:
    """W&B takes these characters in the names of artifacts, and at most 128 of them."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:128]
