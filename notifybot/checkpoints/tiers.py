"""Two places for one run's checkpoints: this machine's disk first, then the folder that outlives the machine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from notifybot.checkpoints.manifest import Manifest, order
from notifybot.checkpoints.reasons import reason_of
from notifybot.checkpoints.retention import Retention
from notifybot.checkpoints.shelf import Shelf
from notifybot.errors import CheckpointError
from notifybot.model import Reason, Tier

log = logging.getLogger("notifybot")

Fill = Callable[[BinaryIO], None]
MakeManifest = Callable[[str, str, int], Manifest]


@dataclass(frozen=True, slots=True)
class Found:
    """The newest checkpoint that is whole, and why newer ones were passed over."""

    manifest: Manifest | None = None
    path: Path | None = None
    passed_over: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Saved:
    """Where a new checkpoint is proven whole, and why no further."""

    manifest: Manifest
    path: Path
    tier: Tier
    not_copied: Exception | None = None


@dataclass(slots=True)
class Tiers:
    """The shelves of one `Checkpoints`: `local` is None where the durable folder is written to at once."""

    durable: Shelf
    local: Shelf | None
    retention: Retention
    durable_is_remote: bool

    @property
    def shelves(self) -> list[Shelf]:
        """The nearest first."""
        return [self.durable] if self.local is None else [self.local, self.durable]

    def newest(self, run_id: str, *, durable_only: bool = False) -> Found:
        """Return the newest verified checkpoint of a run. A shelf that fails is passed over, and named."""
        best = Found()
        passed: list[Reason] = []
        for shelf in [self.durable] if durable_only else self.shelves:
            try:
                manifest, why = shelf.newest_verified(run_id)
            except OSError as error:
                passed.append(reason_of(error, str(shelf.folder)))
                continue
            passed += [replace(each, about=f"{shelf.folder.name}/{each.about}") for each in why]
            if manifest is not None and (best.manifest is None or order(manifest) > order(best.manifest)):
                best = Found(manifest, shelf.folder / manifest.file)
        return Found(best.manifest, best.path, tuple(passed))

    def last_sequence(self, run_id: str) -> int:
        """The highest number that a save of the run has taken, damaged ones included."""
        known = [each.sequence for shelf in self.shelves for each in _manifests(shelf, run_id)]
        return max(known, default=0)

    def save(self, stem: str, fill: Fill, manifest: MakeManifest, before_copy: Callable[[], None]) -> Saved:
        """Write, then copy, then prune; `before_copy` does what must be durable before the checkpoint is.

        Raises OSError and whatever `fill` raises when nothing was saved at all: what was there before is untouched.
        """
        if self.local is None:
            before_copy()
            written = self.durable.write(stem, fill, manifest)
            _prune(self.durable, self.retention, written.run_id)
            tier = Tier.REMOTE if self.durable_is_remote else Tier.LOCAL
            return Saved(written, self.durable.folder / written.file, tier)
        written = self.local.write(stem, fill, manifest)
        path = self.local.folder / written.file
        _prune(self.local, self.retention, written.run_id)
        try:
            before_copy()
            self._copy(written)
        except (OSError, CheckpointError) as error:
            return Saved(written, path, Tier.LOCAL, error)
        _prune(self.durable, self.retention, written.run_id)
        return Saved(written, self.durable.folder / written.file, Tier.REMOTE)

    def _copy(self, newest: Manifest) -> None:
        """Copy a checkpoint to the durable shelf, with those that are kept here and could not be copied before."""
        local = self.local
        assert local is not None
        self.durable.copy(local.folder / newest.file, newest)
        there = {each.sha256 for each in _manifests(self.durable, newest.run_id)}
        mine = _manifests(local, newest.run_id)
        keep = self.retention.which(mine)
        for each in mine:
            if each.file in keep and each.sha256 not in there:
                self.durable.copy(local.folder / each.file, each)


def _prune(shelf: Shelf, retention: Retention, run_id: str) -> None:
    """Free space; what cannot be removed now is tried again at the next save."""
    try:
        shelf.prune(retention, run_id)
    except OSError as error:
        log.warning("old checkpoints in %s could not be removed: %s", shelf.folder, error.strerror or error)


def _manifests(shelf: Shelf, run_id: str) -> list[Manifest]:
    try:
        return shelf.manifests(run_id)
    except OSError:
        return []
