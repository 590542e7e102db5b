"""Checkpoints that the callbacks of a Lightning Trainer save: which of them are on disk since the last look.

A saver shows a path before it saves there, and AsyncCheckpointIO writes the file on a thread some time later. So a file
is taken once it is whole: PyTorch's archives end with their directory, and what has none has to stand still.
"""

from __future__ import annotations

import os
import zipfile
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from notifybot.checkpoints.proof import signature
from notifybot.clock import Clock

_STEADY_S = 1.0  # of a folder that a thread writes, and of a file without an end of its own
_TORN_S = 10.0  # then a file that does not end as it should is taken as it is: its proof will tell
_MOST_OWED = 8
_ZIP = b"PK\x03\x04"

Sign = tuple[int, ...]
"""Numbers that change when a checkpoint is written anew, the time of writing last; empty where none is."""


class FoundCheckpoint(NamedTuple):
    """Checkpoint that is on disk, with the epoch and the step of when it was asked for; None where not known."""

    path: str
    epoch: int | None
    step: int | None


class Savers:
    """The savers of one training. One that writes the same state twice, as the best and as the last, is told once."""

    def __init__(self, trainer: Any, clock: Clock) -> None:
        self._savers = list(trainer.checkpoint_callbacks)
        self._clock = clock
        self.writes_later = _writes_later(trainer)
        self._steps = [step_of(each) for each in self._savers]
        self._owed = [deque[tuple[int | None, int | None]](maxlen=_MOST_OWED) for _ in self._savers]
        self._seen = {path: _sign(path, each) for each in self._savers for path in _paths_of(each)}
        self._still: dict[str, tuple[Sign, float]] = {}

    @property
    def folders(self) -> list[Path]:
        """Folders on this machine in which they save."""
        found = [str(each.dirpath) for each in self._savers if getattr(each, "dirpath", None)]
        return [Path(os.path.abspath(each)) for each in dict.fromkeys(found) if "://" not in each]

    @property
    def has_saved(self) -> bool:
        """True where one has saved since the last look: cheap, as it is asked at every batch."""
        return self._steps != [step_of(each) for each in self._savers]

    @property
    def waits(self) -> bool:
        """True while something that was saved is not on disk yet."""
        return any(self._owed)

    def newly_saved(self, epoch: int | None, *, final: bool = False) -> Iterator[FoundCheckpoint]:
        """Yield what is on disk since the last look; `final` where nothing writes any more, whole or not."""
        for place, saver in enumerate(self._savers):
            owed, step = self._owed[place], step_of(saver)
            if step != self._steps[place]:
                self._steps[place] = step
                owed.append((epoch, step))
            signs = {path: _sign(path, saver) for path in _paths_of(saver)}
            changed = {path: sign for path, sign in signs.items() if sign and self._seen.get(path) != sign}
            whole = {path: sign for path, sign in changed.items() if final or self._is_whole(path, sign)}
            self._seen |= whole
            if whole and (owed or not step):  # else the same state again, under its second name
                last = str(getattr(saver, "last_model_path", ""))
                others = [path for path in whole if path != last] or list(whole)
                told = owed[0] if owed else (epoch, None)
                if len(whole) < len(changed) or not all(signs.values()):
                    owed.popleft()
                elif owed:
                    told = owed[-1]
                    owed.clear()
                yield FoundCheckpoint(max(others, key=lambda path: whole[path][-1]), *told)
            if final:
                owed.clear()

    def _is_whole(self, path: str, sign: Sign) -> bool:
        if "://" in path:
            return True
        patience_s = 0.0
        with suppress(OSError):
            if os.path.isfile(path) and _begins_as_zip(path):
                if zipfile.is_zipfile(path):
                    return True
                patience_s = _TORN_S
            elif self.writes_later:
                patience_s = _STEADY_S
        now_s = self._clock.monotonic()
        before, since_s = self._still.get(path, ((), now_s))
        if before != sign:
            since_s = now_s
            self._still[path] = (sign, now_s)
        return now_s - since_s >= patience_s


def step_of(saver: Any) -> int:
    """Step at which a ModelCheckpoint saved last; 0 for one that has not, and for savers of other kinds."""
    return getattr(saver, "_last_global_step_saved", 0) or 0


def _paths_of(saver: Any) -> list[str]:
    """Paths that a saver shows, the best first: `ckpt_path` is OnExceptionCheckpoint's."""
    best = [getattr(saver, "best_model_path", ""), *reversed(getattr(saver, "best_k_models", None) or {})]
    paths = [*best, getattr(saver, "ckpt_path", ""), getattr(saver, "last_model_path", "")]
    return list(dict.fromkeys(each if "://" in each else os.path.abspath(each) for each in map(str, paths) if each))


def _sign(path: str, saver: Any) -> Sign:
    """A URL is known by its saver's step; a folder, as of FSDP and DeepSpeed, by the files in it."""
    if "://" in path:
        return (step_of(saver),)
    try:
        if os.path.isdir(path):
            files = signature(Path(path))
            return len(files), sum(size for _, size, _ in files), max((time for *_, time in files), default=0)
        there = os.stat(path)
    except OSError:
        return ()
    return there.st_ino, there.st_size, there.st_mtime_ns


def _begins_as_zip(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_ZIP)) == _ZIP


def _writes_later(trainer: Any) -> bool:
    """True where the Trainer's CheckpointIO returns before it has written, as AsyncCheckpointIO does."""
    writer = getattr(getattr(trainer, "strategy", None), "checkpoint_io", None)
    while writer is not None:
        if any("Async" in kind.__name__ for kind in type(writer).__mro__):
            return True
        writer = getattr(writer, "checkpoint_io", None)
    return False
