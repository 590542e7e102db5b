"""Storage tiers of a run's checkpoints: this machine's disk first, then the folder that outlives the machine."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple

from notifybot.checkpoints.directory import CheckpointDirectory, Spared
from notifybot.checkpoints.errors import reader_reason, reason_of
from notifybot.checkpoints.manifest import SUFFIX, Manifest, order
from notifybot.checkpoints.retention import Retention
from notifybot.clock import SYSTEM, Clock
from notifybot.config import machine_is_reset
from notifybot.errors import CheckpointError, reader_text, system_words
from notifybot.files import path_text
from notifybot.types import Checkpoint, Reason, Tier

log = logging.getLogger("notifybot")

_PATIENCE_S = 60.0
_FIRST_PAUSE_S = 1.0
HOPELESS = frozenset({"EACCES", "EPERM", "ENOTDIR", "EEXIST", "EISDIR", "ENAMETOOLONG", "EROFS", "ELOOP"})
"""What is wrong with a path, by errno's names: waiting does not help."""

Fill = Callable[[BinaryIO], None]
MakeManifest = Callable[[str, str, int], Manifest]


class Copy(NamedTuple):
    """Copy of a checkpoint on one shelf."""

    shelf: CheckpointDirectory
    manifest: Manifest

    @property
    def path(self) -> Path:
        return self.shelf.folder / self.manifest.file


class Copies(NamedTuple):
    """A run's checkpoints, grouped by their copies. `unread`: manifests that could not be read."""

    groups: list[list[Copy]]
    passed_over: list[Reason]
    unread: list[Reason]


@dataclass(frozen=True, slots=True)
class Found:
    """The newest checkpoint that is whole, and why damaged ones were passed over.

    `unread` lists what could not be read and may be newer. `checkpoint` is the copy that lasts the longest.
    """

    manifest: Manifest | None = None
    path: Path | None = None
    checkpoint: Checkpoint | None = None
    passed_over: tuple[Reason, ...] = ()
    unread: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Saved:
    """New checkpoint with the tier in which it is proven whole; `not_copied` is the error of the copy to the next."""

    manifest: Manifest
    path: Path
    tier: Tier
    not_copied: Exception | None = None
    spared: tuple[Spared, ...] = ()


@dataclass(slots=True)
class Tiers:
    """Shelves of one `Checkpoints`. `local` is None if files are written to the durable folder directly."""

    durable: CheckpointDirectory
    local: CheckpointDirectory | None
    retention: Retention
    durable_is_remote: bool
    clock: Clock = SYSTEM
    since: str = ""  # sessions before this one keep all their checkpoints

    @property
    def shelves(self) -> list[CheckpointDirectory]:
        """Shelves, the nearest first."""
        return [self.durable] if self.local is None else [self.local, self.durable]

    def newest(self, run_id: str, *, durable_only: bool = False) -> Found:
        """Return the newest verified checkpoint of a run; while one cannot be read, look again for a minute."""
        shelves = [self.durable] if durable_only else self.shelves
        for last in tries(self.clock):
            found = self._look(run_id, shelves)
            if last or not any(each.values.get("name") not in HOPELESS for each in found.unread):
                break
        return found

    def copies(self, run_id: str, shelves: Sequence[CheckpointDirectory] | None = None) -> Copies:
        """Return every checkpoint of a run, the newest first, each with its copies, the nearest first."""
        known: dict[tuple[str, int, str], list[Copy]] = {}
        passed: list[Reason] = []
        unread: list[Reason] = []
        for shelf in self.shelves if shelves is None else shelves:
            try:
                manifests = shelf.manifests(run_id)
            except OSError as error:
                unread.append(reason_of(error, str(shelf.folder)))
                continue
            passed += _within(shelf, shelf.oddities)
            unread += _within(shelf, shelf.unread)
            for each in manifests:
                known.setdefault((each.session, each.sequence, each.sha256), []).append(Copy(shelf, each))
        files = {copy.manifest.file + SUFFIX for group in known.values() for copy in group}
        hidden = [each for each in unread if each.about.rpartition("/")[2] not in files]  # else another copy is known
        groups = sorted(known.values(), key=lambda group: order(group[0].manifest), reverse=True)
        return Copies(groups, passed, hidden)

    def _look(self, run_id: str, shelves: Sequence[CheckpointDirectory]) -> Found:
        groups, passed, unread = self.copies(run_id, shelves)
        for group in sorted(groups, key=lambda each: not each[0].manifest.finite):  # those not finite come last
            whole, damaged, failed = first_whole(group)
            passed += damaged
            if whole is not None:
                for shelf, manifest in (each[0] for each in groups):  # newer ones that are whole, but not finite
                    if not manifest.finite and order(manifest) > order(whole.manifest):
                        passed += _within(shelf, [Reason("not_finite", manifest.file)])
                shown = self._shown(whole, group)
                return Found(whole.manifest, whole.path, shown, tuple(passed), tuple(unread))
            unread += failed
        return Found(passed_over=tuple(passed), unread=tuple(unread))

    def _shown(self, whole: Copy, group: list[Copy]) -> Checkpoint:
        """Return a whole checkpoint as reported to people: as its durable copy if there is one."""
        far = next((each for each in group if each.shelf is self.durable), None)
        if far is not None and self.durable_is_remote and (far is whole or far.shelf.seems_whole(far.manifest)):
            return shown_as(far.path, whole.manifest, Tier.REMOTE)
        return shown_as(whole.path, whole.manifest, Tier.LOCAL)

    def last_sequence(self, run_id: str) -> int:
        """The highest number that a save of the run has taken, damaged ones included."""
        known = [each.sequence for shelf in self.shelves for each in _manifests(shelf, run_id)]
        return max(known, default=0)

    def save(self, stem: str, fill: Fill, manifest: MakeManifest, before_copy: Callable[[], None]) -> Saved:
        """Write, then copy, then prune; `before_copy` makes durable what must be so before the checkpoint.

        Raises OSError and whatever `fill` raises when nothing was saved at all: what was there before is untouched.
        """
        if self.local is None:
            before_copy()
            written = self.durable.write(stem, fill, manifest)
            spared = self._prune(self.durable, written.run_id)
            tier = Tier.REMOTE if self.durable_is_remote else Tier.LOCAL
            return Saved(written, self.durable.folder / written.file, tier, spared=spared)
        written = self.local.write(stem, fill, manifest)
        path = self.local.folder / written.file
        spared = self._prune(self.local, written.run_id)
        try:
            before_copy()
            self._copy(written)
        except (OSError, CheckpointError) as error:
            return Saved(written, path, Tier.LOCAL, error, spared)
        spared += self._prune(self.durable, written.run_id)
        return Saved(written, self.durable.folder / written.file, Tier.REMOTE, spared=spared)

    def _prune(self, shelf: CheckpointDirectory, run_id: str) -> tuple[Spared, ...]:
        """Remove checkpoints by the rule, a failure is tried again at the next save; return the unreadable ones."""
        try:
            shelf.prune(self.retention, run_id, since=self.since)
        except OSError as error:
            text = reader_text("checkpoints.tiers.old_ones_not_removed", folder=shelf.folder, error=system_words(error))
            log.warning("%s", text)
            return ()
        return tuple(shelf.spared)

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


def first_whole(group: Iterable[Copy]) -> tuple[Copy | None, list[Reason], list[Reason]]:
    """Return the first copy that is proven whole now, and why others before it are damaged, or could not be read."""
    damaged: list[Reason] = []
    unread: list[Reason] = []
    for copy in group:
        try:
            copy.shelf.verify(copy.manifest)
        except CheckpointError as error:
            damaged += _within(copy.shelf, [reason_of(error, copy.manifest.file)])
        except OSError as error:
            unread += _within(copy.shelf, [reason_of(error, copy.manifest.file)])
        else:
            for each in unread:
                values = {"folder": copy.shelf.folder, "reason": reader_reason(each)}
                log.warning("%s", reader_text("checkpoints.tiers.other_copy_taken", **values))
            return copy, damaged, []
    return None, damaged, unread


def tries(clock: Clock, patience_s: float = _PATIENCE_S) -> Iterator[bool]:
    """Yield before each try of reading, at once and then after pauses that double; True before the last.

    Drive refuses for minutes at times, and a mount may come back.
    """
    until_s, pause_s = clock.monotonic() + patience_s, _FIRST_PAUSE_S
    while (left_s := until_s - clock.monotonic()) > 0:
        yield False
        if pause_s == _FIRST_PAUSE_S:
            log.warning("%s", reader_text("checkpoints.tiers.trying_again", left_s=f"{left_s:.0f}"))
        clock.wait(threading.Event(), min(pause_s, left_s))
        pause_s *= 2
    yield True


def shown_as(path: Path, manifest: Manifest, tier: Tier) -> Checkpoint:
    """Return a verified checkpoint in the form that is reported to people."""
    fleeting = tier is Tier.LOCAL and machine_is_reset()
    return Checkpoint(path_text(path), manifest.epoch, manifest.size_bytes, tier, fleeting)


def _within(shelf: CheckpointDirectory, reasons: Iterable[Reason]) -> list[Reason]:
    return [replace(each, about=f"{shelf.folder.name}/{each.about}") for each in reasons]


def _manifests(shelf: CheckpointDirectory, run_id: str) -> list[Manifest]:
    try:
        return shelf.manifests(run_id)
    except OSError:
        return []
