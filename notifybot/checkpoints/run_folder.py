"""A run in the folder that outlives its machine: its card, and a mirror of its own folder for the trackers."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from notifybot.checkpoints.durable_io import write_bytes
from notifybot.errors import reader_text, system_words
from notifybot.files import READ, TEMPORARY, read_at, replacing

NAME = "notifybot-run.json"
RUNS = "runs"  # folder beside the card, with a copy of the run's own folder
_CARD_BYTES = 1024 * 1024
LIMIT_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024
_FORMER_TEMPORARY = ".mirror-tmp"  # suffix of versions before 1.0
_LEFT_OUT = {"logs", "tmp"}  # W&B's own folders, rewritten all the time and useless on another machine
_AUTHORITATIVE = {".mark", ".jsonl"}


@dataclass(frozen=True, slots=True)
class RunFile:
    """Card of a run, all that a new machine needs besides the checkpoints.

    `session` is the process that may save here; a newer one (sessions sort by time) takes over. `memories` holds the
    notifiers' state of the run, such as its thread in Slack; never a secret. `launch` is a fingerprint of the program's
    arguments and hyper-parameters; empty if unknown.
    """

    run_id: str
    name: str = ""
    project: str = ""
    session: str = ""
    attempt: int = 1
    host: str = ""
    launch: str = ""
    memories: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    format: int = 1


def read_card(folder: Path) -> RunFile | None:
    """Return the folder's card; None where there is none that can be read. Raises OSError when the folder fails."""
    try:
        with (folder / NAME).open("rb") as file:
            values = json.loads(file.read(_CARD_BYTES))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if not isinstance(values, dict) or not isinstance(values.get("run_id"), str):
        return None
    known = {each.name: each.type for each in fields(RunFile)}
    kept = {name: value for name, value in values.items() if name in known and _fits(value, known[name])}
    return RunFile(**kept)


def write_card(folder: Path, card: RunFile) -> None:
    """Replace the folder's card in one step, on disk when this returns. Raises OSError."""
    write_bytes(folder / NAME, json.dumps(asdict(card), ensure_ascii=False, indent=1).encode())


def _fits(value: object, kind: object) -> bool:
    """True when a value that somebody may have edited is of the field's type."""
    if kind == "str":
        return isinstance(value, str)
    return isinstance(value, int if kind == "int" else dict)


class Mirror:
    """Copies changed files of a run's folder into a durable one, each file atomically.

    Call `copy` once per checkpoint: Drive uploads a file whole for every change, and one that is rewritten often may
    never arrive. Do it after the trackers are flushed and before the checkpoint counts as saved, so that the copy is
    never older than the checkpoint. Nothing is ever removed from the copy, and no link is followed.
    Not for two threads at once.
    """

    def __init__(self, run_folder: Path, into: Path, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._from = run_folder
        self._into = into
        self._limit_bytes = limit_bytes
        self._copied: dict[Path, tuple[int, int]] = {}  # size and time of each source file when it was read
        self._passed_over: set[Path] = set()

    def copy(self) -> list[str]:
        """Copy files changed since the last call; return a line on each that could not be copied, each large file once.

        The trackers may write meanwhile: a file is copied at its length when opened, with a last line that may be torn;
        every reader of these files skips it. Raises OSError when the durable folder fails; earlier copies stay whole.
        """
        problems: list[str] = []
        for name in sorted(_files(self._from, but=self._into), key=_rank):
            problem = self._copy(name)
            if problem:
                problems.append(f"{name.as_posix()}: {problem}")
        return problems

    def _copy(self, name: Path) -> str:
        try:
            source = os.open(self._from / name, READ)
        except OSError as error:
            return "" if isinstance(error, FileNotFoundError) else system_words(error)
        try:
            found = os.fstat(source)
            signature = (found.st_size, found.st_mtime_ns)
            if signature == self._copied.get(name):
                return ""
            if found.st_size > self._limit_bytes:
                known = name in self._passed_over
                self._passed_over.add(name)
                sizes = {"limit_bytes": self._limit_bytes, "size_bytes": found.st_size}
                return "" if known else reader_text("checkpoints.run_folder.too_large_to_copy", **sizes)
            there = self._into / name  # after a restart it may have the very same bytes, copied back from there
            if name in self._copied or _size(there) != found.st_size or not _begins(source, there, found.st_size):
                _write(source, found.st_size, there)
            self._copied[name] = signature
        finally:
            os.close(source)
        return ""


def restore(from_: Path, run_folder: Path) -> list[str]:
    """Copy back files that are missing or incomplete in a run's folder; return the names of the copied ones.

    A longer file here is kept if it begins with the whole copy: this machine has written more since. If the two differ,
    replay cursors (.mark) and JSON lines are taken from the copy, as the run has gone on elsewhere; other files are
    kept. Raises OSError.
    """
    names = []
    for name in sorted(_files(from_), key=_rank):
        source = os.open(from_ / name, READ)
        try:
            if _is_ahead(source, run_folder / name, wins=name.suffix in _AUTHORITATIVE):
                _write(source, os.fstat(source).st_size, run_folder / name)
                names.append(name.as_posix())
        finally:
            os.close(source)
    return names


def _files(folder: Path, *, but: Path | None = None) -> Iterator[Path]:
    """Every regular file below a folder, relative to it; none where there is no folder."""
    for place, folders, names in os.walk(folder, onerror=_unless_missing):
        here = Path(place)
        wandbs = "wandb" in here.relative_to(folder).parts
        folders[:] = [each for each in folders if here / each != but and not (wandbs and each in _LEFT_OUT)]
        for name in names:
            unfinished = name.startswith(".") and name.endswith((TEMPORARY, _FORMER_TEMPORARY))
            if not unfinished and (_size(here / name) or 0) >= 0:
                yield (here / name).relative_to(folder)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _rank(name: Path) -> tuple[int, str]:
    """Order of copying: a tracker's cursor first, as it must not be newer than the tracker's files.

    The JSON lines come last: events that other trackers lack are replayed from them.
    """
    return (0 if name.suffix == ".mark" else 2 if name.suffix == ".jsonl" else 1, name.as_posix())


def _is_ahead(source: int, here: Path, *, wins: bool) -> bool:
    """True when the copy should replace the file here."""
    size, copied = _size(here), os.fstat(source).st_size
    if size is None:
        return True
    if size < 0:
        return False
    same = _begins(source, here, min(size, copied))
    return (same and copied > size) or (wins and not same)


def _size(path: Path) -> int | None:
    """A regular file's size; None where there is nothing, -1 for anything else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _begins(source: int, other: Path, length: int) -> bool:
    """True when both begin with the same `length` bytes."""
    with other.open("rb") as file:
        for offset in range(0, length, _CHUNK_BYTES):
            size = min(_CHUNK_BYTES, length - offset)
            if read_at(source, size, offset) != file.read(size):
                return False
    return True


def _write(source: int, size: int, target: Path) -> None:
    """Put the first `size` bytes of `source` in the target's place in one step, on disk when this returns."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as file:
        offset = 0
        while offset < size and (chunk := read_at(source, min(_CHUNK_BYTES, size - offset), offset)):
            file.write(chunk)
            offset += len(chunk)
