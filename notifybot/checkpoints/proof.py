"""What differs between a checkpoint and its manifest, and which are known to differ in nothing."""

from __future__ import annotations

import contextlib
import stat

from notifybot.checkpoints.durable_io import Files
from notifybot.checkpoints.manifest import Manifest
from notifybot.types import Reason


def below(file: str, name: str) -> str:
    """The place of one file of a checkpoint: a part in its folder, or the payload itself where the name is empty."""
    return f"{file}/{name}" if name else file


def difference_in_size(files: Files, manifest: Manifest) -> Reason | None:
    """Say what a look into the folder shows to differ; None when nothing does. Raises OSError."""
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
    """Read every byte and say what differs; None when the checkpoint is whole. Raises OSError."""
    problem = difference_in_size(files, manifest)
    if problem:
        return problem
    for name, part in manifest.files.items():
        if files.hash(below(manifest.file, name)) != (part.sha256, part.size_bytes):
            return _reason("content", manifest, name)
    return None


class Proven:
    """The checkpoints of a folder that were proven whole, as long as the folder says that nothing has changed since."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[str, tuple[str, object]] = {}  # file → hash, and what the folder said of it then

    def add(self, manifest: Manifest) -> None:
        """Remember one that was proven just now."""
        with contextlib.suppress(OSError):  # it is proven all the same; next time it will be once more
            self._known[manifest.file] = (manifest.sha256, self._signature(manifest))

    def holds(self, manifest: Manifest) -> bool:
        """True when there is no need to read it again. Raises OSError."""
        return self._known.get(manifest.file) == (manifest.sha256, self._signature(manifest))

    def _signature(self, manifest: Manifest) -> list[tuple[int, int] | None]:
        """Sizes, and times in milliseconds: Drive keeps no finer ones. FUSE may number its files anew at any time."""
        found = [self._files.stat(below(manifest.file, name)) for name in manifest.files]
        return [each and (each.st_size, each.st_mtime_ns // 1_000_000) for each in found]


def _reason(code: str, manifest: Manifest, part: str, **values: str) -> Reason:
    return Reason(code, manifest.file, values | ({"part": part} if part else {}))
