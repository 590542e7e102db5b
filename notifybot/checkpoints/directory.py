"""Checkpoint directory: a folder of payloads, each with a manifest beside it that proves it whole.

At any moment, also after a kill or a power cut, the folder holds only these:

- a payload and its manifest: a checkpoint;
- hidden temporaries that name their process, and perhaps a payload that such a temporary lists: a save or a removal
  under way, or one that was cut short, which `sweep` finishes;
- entries of others, which are never touched.

The rename of its manifest is the moment at which a checkpoint begins, and ceases, to be. To save: payload under a
hidden name, manifest under a hidden name, payload renamed, manifest renamed. To remove: manifest renamed to a hidden
name, payload removed, hidden name removed. So a visible manifest never names a payload that is not there yet, or no
longer there; and a payload without one is listed by a hidden one, so that it can be cleared.
"""

from __future__ import annotations

import contextlib
import errno
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from notifybot.checkpoints.durable_io import Files, Syscall, Temporary, direct, parse_temporary, temporary_name
from notifybot.checkpoints.errors import Flawed, Unread, reason_of
from notifybot.checkpoints.manifest import SUFFIX, Manifest, Part, hash_of_parts, is_plain_name, order
from notifybot.clock import SYSTEM, Clock
from notifybot.errors import CheckpointError, UsageError, reader_text
from notifybot.store.location import is_remote
from notifybot.types import Reason

Fill = Callable[[BinaryIO], object]
MakeManifest = Callable[[str, str, int], Manifest]

_SINGLE, _SHARDED = ".pt", ".sharded"
_MANIFESTS = (_SINGLE + SUFFIX, _SHARDED + SUFFIX)
_LEAST_VERIFIED = 2


class Spared(NamedTuple):
    """Checkpoint that `prune` left alone because it cannot be read."""

    reason: Reason
    size_bytes: int


class RetentionRule(Protocol):
    """Rule that `prune` asks which of one run's checkpoints to keep; `which` returns their names."""

    def which(self, manifests: Iterable[Manifest]) -> set[str]: ...


class CheckpointDirectory:
    """Checkpoints in one folder. Every method raises OSError when the folder itself fails.

    `empty_first` empties a file before it is removed, for a Drive whose bin counts against the quota. `system` makes
    the calls into the operating system, `is_mount` says whether a folder lies on a network mount; a mount that is gone
    is an error, not an empty folder. Several processes may work on one folder, in each one thread at once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        empty_first: bool = False,
        clock: Clock = SYSTEM,
        system: Syscall = direct,
        is_mount: Callable[[Path], bool] = is_remote,
    ) -> None:
        self.folder = folder
        self.oddities: list[Reason] = []
        self.unread: list[Reason] = []
        self.spared: list[Spared] = []
        self._files = Files(folder, system)
        self._empty_first = empty_first
        self._clock = clock
        self._proven = VerifiedCache(self._files)
        self._is_mount = is_mount
        self._on_mount = is_mount(folder)

    def manifests(self, run_id: str | None = None) -> list[Manifest]:
        """Return the manifests of one run, or of all, the newest first. No payload is looked at.

        `oddities` lists files that are no manifests, with reasons; `unread` those that could not be read.
        """
        self._require_mount()
        self.oddities, self.unread = [], []
        names = [each for each in self._files.names() if each.endswith(_MANIFESTS) and not each.startswith(".")]
        found = [each for each in map(self._read, names) if each is not None and run_id in (None, each.run_id)]
        return sorted(found, key=order, reverse=True)

    def write(self, stem: str, fill: Fill, make_manifest: MakeManifest) -> Manifest:
        """Save what `fill` writes as `stem` + ".pt", or "-2" and so on where that name is taken; durable on return.

        `make_manifest` is given name, hash and size, perhaps more than once. When anything raises, earlier files
        are untouched and no new ones stay, as far as the disk lets us remove them.
        """
        temporary = temporary_name("payload")
        with self._discarded_on_error(temporary):
            self._prepare()
            sha256, size_bytes = self._files.fill(temporary, fill)
            return self._publish(temporary, stem + _SINGLE, lambda name: make_manifest(name, sha256, size_bytes))

    def stage(self) -> Path:
        """Return a new hidden folder for the parts of a sharded checkpoint, which any process may write: see `seal`."""
        self._prepare()
        name = temporary_name("payload")
        self._files.make_folder(name)
        return self.folder / name

    def seal(self, staged: Path, stem: str, make_manifest: MakeManifest) -> Manifest:
        """Publish a folder from `stage` as `stem` + ".sharded", once all its parts are written.

        `make_manifest` is given name, hash and size; kind and parts are put in here. On errors as `write`.
        """
        inside = self._files.at(staged)
        with self._discarded_on_error(staged.name):
            parts = {name: Part(*inside.hash(name)) for name in inside.names()}
            if not parts:
                raise CheckpointError(reader_text("checkpoints.directory.no_parts", staged=staged))
            for name in parts:
                inside.sync_file(name)
            inside.sync()
            sha256, size_bytes = hash_of_parts(parts), sum(each.size_bytes for each in parts.values())
            return self._publish(
                staged.name,
                stem + _SHARDED,
                lambda name: replace(make_manifest(name, sha256, size_bytes), kind="sharded", parts=parts),
            )

    def copy(self, source: Path, manifest: Manifest) -> Manifest:
        """Save a copy of another shelf's checkpoint, read back and compared; a copy already here and whole is enough.

        `source` is its payload. Raises CheckpointError when that, or what is read back, is not what the manifest
        proves. On errors as `write`.
        """
        if (there := self._read_if_same(manifest)) is not None:
            return there
        temporary = temporary_name("payload")
        with self._discarded_on_error(temporary):
            self._prepare()
            if manifest.kind == "sharded":
                self._files.make_folder(temporary)
            for name, part in manifest.files.items():
                self._copy_file(source / name, below(temporary, name), part)
            if manifest.kind == "sharded":
                self._files.sync(self.folder / temporary)
            return self._publish(temporary, manifest.file, lambda name: replace(manifest, file=name))

    def verify(self, manifest: Manifest) -> None:
        """Raise CheckpointError, saying what differs, unless every byte is as the manifest has it."""
        problem = difference(self._files, manifest)
        if problem:
            raise Flawed(problem)
        self._proven.add(manifest)

    def seems_whole(self, manifest: Manifest) -> bool:
        """True when all files are there with the right sizes. No payload is read."""
        try:
            return difference_in_size(self._files, manifest) is None
        except OSError as error:
            self.spared.append(self._spared(manifest.file, reason_of(error, manifest.file), manifest.size_bytes))
            return False

    def newest_verified(self, run_id: str | None = None) -> tuple[Manifest | None, list[Reason]]:
        """Return the newest checkpoint that is whole, and why damaged ones were passed over to find it.

        One that cannot be read is not known to be damaged: raises CheckpointError for it, as it may be the newest.
        """
        candidates = self.manifests(run_id)
        if self.unread:
            raise Unread(self.unread)
        passed_over = list(self.oddities)
        for manifest in candidates:
            try:
                self.verify(manifest)
            except CheckpointError as error:
                passed_over.append(reason_of(error, manifest.file))
            except OSError as error:
                raise Unread([reason_of(error, manifest.file)], manifest.file) from error
            else:
                return manifest, passed_over
        return None, passed_over

    def prune(self, rule: RetentionRule, run_id: str | None = None, *, since: str = "") -> list[str]:
        """Remove what the rule does not keep, the oldest first, each run's by itself; return the names removed.

        Two verified ones stay in any case, and all of sessions before `since`. Only files proven to match their
        manifest are removed. A file that differs stays: somebody may have put something of theirs in its place.
        Unreadable ones stay too, and are listed in `spared`.
        """
        removed = []
        manifests = [each for each in self.manifests(run_id) if each.session >= since]
        self.spared = [self._spared(each.about.removesuffix(SUFFIX), each) for each in self.unread]
        by_run = sorted(manifests, key=lambda each: each.run_id)  # stable sort: newest first within each run
        for _, group in groupby(by_run, key=lambda each: each.run_id):
            there = [each for each in group if self.seems_whole(each)]
            kept = self._with_two_verified(there, rule.which(there))
            for manifest in reversed([each for each in there if each.file not in kept]):
                if not self._may_go(manifest):
                    continue
                with contextlib.suppress(FileNotFoundError):  # another process removed it first
                    self._remove(manifest)
                    removed.append(manifest.file)
        return removed

    def sweep(self) -> list[str]:
        """Finish the saves and removals of dead processes and clear their temporaries; return the names cleared."""
        cleared = []
        for name in self._files.names():
            temporary = parse_temporary(name)
            with contextlib.suppress(OSError):  # an entry that cannot be removed is tried again at the next sweep
                if temporary is not None and is_abandoned(self._files, temporary, self._clock.now()):
                    finish(self._files, temporary)
                    self._files.discard(name)
                    cleared.append(name)
        return cleared

    def _read(self, name: str) -> Manifest | None:
        try:
            manifest = Manifest.from_json(self._files.read(name))
        except OSError as error:
            (self.oddities if self._is_no_file(name) else self.unread).append(reason_of(error, name))
            return None
        except ValueError as error:
            self.oddities.append(reason_of(error, name))
            return None
        if manifest.file + SUFFIX != name:
            self.oddities.append(Reason("manifest_of_another", name, {"file": manifest.file}))
            return None
        return manifest

    def _is_no_file(self, name: str) -> bool:
        """True for a folder, a link or the like, which can never be a manifest."""
        try:
            found = self._files.stat(name)
        except OSError:
            return False
        return found is not None and not stat.S_ISREG(found.st_mode)

    def _read_if_same(self, manifest: Manifest) -> Manifest | None:
        """Return the manifest if the same checkpoint is here under the same name and whole, else None."""
        if self._files.stat(manifest.file + SUFFIX) is None or self._read(manifest.file + SUFFIX) != manifest:
            return None
        return None if difference(self._files, manifest) else manifest

    def _copy_file(self, source: Path, name: str, part: Part) -> None:
        origin = self._files.at(source.parent)
        if self._files.fill(name, lambda file: origin.pour(source.name, file)) != (part.sha256, part.size_bytes):
            raise Flawed(Reason("changed", source.name))
        if self._files.read_back(name) != (part.sha256, part.size_bytes):
            raise Flawed(Reason("copy_differs", str(self.folder), {"file": source.name}))

    def _publish(self, temporary: str, wanted: str, describe: Callable[[str], Manifest]) -> Manifest:
        """Give a payload its name and then its manifest's, which makes it a checkpoint."""
        pending = temporary_name("manifest")
        with self._discarded_on_error(pending):
            manifest = self._claim(wanted, pending, describe)
            with self._discarded_on_error(manifest.file), self._discarded_on_error(manifest.file + SUFFIX):
                self._files.replace(temporary, manifest.file)
                self._files.sync()
                self._files.replace(pending, manifest.file + SUFFIX)
        self._files.sync()
        self._proven.add(manifest)
        return manifest

    def _claim(self, wanted: str, pending: str, describe: Callable[[str], Manifest]) -> Manifest:
        """Claim the first free name; it is in a hidden manifest first, so that `sweep` can clear it after a kill."""
        for name in _variants(wanted):
            if self._files.stat(name) is not None or self._files.stat(name + SUFFIX) is not None:
                continue
            manifest = describe(name)
            if manifest.file != name:
                raise UsageError(
                    reader_text("checkpoints.directory.manifest_of_another", name=name, file=manifest.file)
                )
            self._files.write(pending, manifest.to_json().encode())
            claim = self._files.claim_folder if manifest.kind == "sharded" else self._files.claim
            if claim(name):
                return manifest
            self._files.remove(pending)
        raise AssertionError  # unreachable: names do not run out

    def _remove(self, manifest: Manifest) -> None:
        listing = temporary_name("removed")
        self._files.replace(manifest.file + SUFFIX, listing)
        self._files.sync()
        for name in manifest.files:
            if self._empty_first:
                self._files.empty(below(manifest.file, name))
            self._files.remove(below(manifest.file, name))
        self._files.remove_if_empty(manifest.file)
        self._files.remove(listing)

    def _with_two_verified(self, newest_first: list[Manifest], kept: set[str]) -> set[str]:
        verified: list[str] = []
        for manifest in sorted(newest_first, key=lambda each: each.file not in kept):  # stable: kept first
            if len(verified) < _LEAST_VERIFIED and manifest.finite and self._is_whole(manifest):
                verified.append(manifest.file)
        return kept | set(verified) if len(verified) == _LEAST_VERIFIED else {each.file for each in newest_first}

    def _is_whole(self, manifest: Manifest) -> bool:
        """True when the checkpoint was verified before and has not changed, or is verified now."""
        try:
            if not self._proven.holds(manifest):
                self.verify(manifest)
        except (CheckpointError, OSError):
            return False
        return True

    def _may_go(self, manifest: Manifest) -> bool:
        """True when the files to remove are proven to be the ones that notifybot saved."""
        try:
            if not self._proven.holds(manifest):
                self.verify(manifest)
        except CheckpointError:
            return False
        except OSError as error:
            self.spared.append(self._spared(manifest.file, reason_of(error, manifest.file), manifest.size_bytes))
            return False
        return True

    def _spared(self, file: str, why: Reason, size_bytes: int | None = None) -> Spared:
        """Return the entry for an unreadable checkpoint, with its size if the folder shows it."""
        if size_bytes is None:
            with contextlib.suppress(OSError):
                found = self._files.stat(file)
                size_bytes = found.st_size if found is not None else 0
        return Spared(why, size_bytes or 0)

    def _require_mount(self) -> None:
        """Raise OSError if a network mount is gone: its bare folder looks empty and does not outlive the machine."""
        if self._on_mount and not self._is_mount(self.folder):
            raise OSError(errno.ENOTCONN, "it is not mounted any more", str(self.folder))

    def _prepare(self) -> None:
        self._require_mount()
        self._files.make()

    @contextlib.contextmanager
    def _discarded_on_error(self, name: str) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self._files.discard(name)
            raise


def _variants(wanted: str) -> Iterator[str]:
    """A name, then the name with -2, -3, … before its suffix."""
    if not is_plain_name(wanted) or wanted.startswith("."):
        raise UsageError(reader_text("checkpoints.directory.bad_name", wanted=f"{wanted!r}"))
    yield wanted
    stem, _, suffix = wanted.rpartition(".")
    yield from (f"{stem}-{number}.{suffix}" for number in count(2))


# From here nobody can see whether a process of another machine lives. Its temporary counts as abandoned when untouched
# for so long; if it lives after all, its save fails and is reported, and no saved checkpoint is lost.
_GIVEN_UP_AFTER = timedelta(hours=1)


def is_abandoned(files: Files, temporary: Temporary, now: datetime) -> bool:
    """True when no process works on this temporary any more. Raises OSError."""
    if temporary.of_this_machine:
        return not temporary.owner_lives
    return now - _last_touched(files, temporary.name) > _GIVEN_UP_AFTER


def finish(files: Files, temporary: Temporary) -> None:
    """Finish a save or a removal that lacks only its last steps. Raises OSError."""
    if temporary.purpose == "payload":
        return
    try:
        manifest = Manifest.from_json(files.read(temporary.name))
    except ValueError:
        return  # a torn manifest: nothing had been done after it
    if files.stat(manifest.file + SUFFIX) is not None:
        return  # another checkpoint has taken the name
    if temporary.purpose == "manifest":
        _finish_save(files, manifest, temporary.name)
    else:
        _finish_removal(files, manifest)


def _finish_save(files: Files, manifest: Manifest, pending: str) -> None:
    """Publish the manifest if its payload is whole; else remove the payload if it is an empty claim of its name."""
    if not difference(files, manifest):
        files.replace(pending, manifest.file + SUFFIX)
        files.sync()
    else:
        files.remove_if_empty(manifest.file)


def _finish_removal(files: Files, manifest: Manifest) -> None:
    """Remove the files whose content still matches; somebody may have put others in their place."""
    for name, part in manifest.files.items():
        place = below(manifest.file, name)
        found = files.stat(place)
        if found is not None and stat.S_ISREG(found.st_mode) and found.st_size:
            if files.hash(place) == (part.sha256, part.size_bytes):
                files.remove(place)
        else:
            files.remove_if_empty(place)
    files.remove_if_empty(manifest.file)


def _last_touched(files: Files, name: str) -> datetime:
    """Newest modification time of a temporary, which is a file or a folder of files."""
    found = [files.stat(name), *(files.stat(below(name, each)) for each in files.names_in(name))]
    return datetime.fromtimestamp(max((each.st_mtime for each in found if each is not None), default=0.0), UTC)


def below(file: str, name: str) -> str:
    """Path of one file of a checkpoint: a part in its folder, or the payload itself if the name is empty."""
    return f"{file}/{name}" if name else file


def difference_in_size(files: Files, manifest: Manifest) -> Reason | None:
    """Return the first difference in kind or size, without reading content; None if there is none. Raises OSError."""
    if manifest.kind == "sharded":
        found = files.stat(manifest.file)
        if found is None or not stat.S_ISDIR(found.st_mode):
            return Reason("folder_missing" if found is None else "no_folder", manifest.file)
    for name, part in manifest.files.items():
        found = files.stat(below(manifest.file, name))
        if found is None:
            return _reason("missing", manifest, name)
        if not stat.S_ISREG(found.st_mode):
            return _reason("no_file", manifest, name)
        if found.st_size != part.size_bytes:
            return _reason("size", manifest, name, found=str(found.st_size), expected=str(part.size_bytes))
    return None


def difference(files: Files, manifest: Manifest) -> Reason | None:
    """Return the first difference after reading every byte; None if the checkpoint is whole. Raises OSError."""
    problem = difference_in_size(files, manifest)
    if problem:
        return problem
    for name, part in manifest.files.items():
        if files.hash(below(manifest.file, name)) != (part.sha256, part.size_bytes):
            return _reason("content", manifest, name)
    return None


class VerifiedCache:
    """Cache of verified checkpoints; an entry holds as long as sizes and modification times have not changed."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[str, tuple[str, object]] = {}  # file → hash, and its sizes and times then

    def add(self, manifest: Manifest) -> None:
        """Remember a checkpoint that was just verified."""
        with contextlib.suppress(OSError):  # not remembered: it will be verified once more
            self._known[manifest.file] = (manifest.sha256, self._signature(manifest))

    def holds(self, manifest: Manifest) -> bool:
        """True when the checkpoint need not be read again. Raises OSError."""
        return self._known.get(manifest.file) == (manifest.sha256, self._signature(manifest))

    def _signature(self, manifest: Manifest) -> list[tuple[int, int] | None]:
        """Sizes, and times in milliseconds: Drive keeps no finer ones. FUSE may number its files anew at any time."""
        found = [self._files.stat(below(manifest.file, name)) for name in manifest.files]
        return [each and (each.st_size, each.st_mtime_ns // 1_000_000) for each in found]


def _reason(code: str, manifest: Manifest, part: str, **values: str) -> Reason:
    return Reason(code, manifest.file, values | ({"part": part} if part else {}))
