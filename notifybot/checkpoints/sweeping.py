"""What becomes of saves and removals that were cut short."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta

from notifybot.checkpoints.durable_io import Files, Temporary
from notifybot.checkpoints.manifest import SUFFIX, Manifest
from notifybot.checkpoints.proof import below, difference

# Whether a process of another machine lives cannot be seen from here. What it has not touched for so long is given up;
# should it live after all, its save fails and is told, and nothing that counted as saved is lost.
_GIVEN_UP_AFTER = timedelta(hours=1)


def is_abandoned(files: Files, temporary: Temporary, now: datetime) -> bool:
    """True when nobody works on it any more. Raises OSError."""
    if temporary.of_this_machine:
        return not temporary.owner_lives
    return now - _last_touched(files, temporary.name) > _GIVEN_UP_AFTER


def finish(files: Files, temporary: Temporary) -> None:
    """Do what is left of a save or a removal that only wanted its last steps. Raises OSError."""
    if temporary.purpose == "payload":
        return
    try:
        manifest = Manifest.from_json(files.read(temporary.name))
    except ValueError:
        return  # it was cut short before anything was done on the strength of it
    if files.stat(manifest.file + SUFFIX) is not None:
        return  # the name belongs to another checkpoint by now
    if temporary.purpose == "manifest":
        _finish_save(files, manifest, temporary.name)
    else:
        _finish_removal(files, manifest)


def _finish_save(files: Files, manifest: Manifest, pending: str) -> None:
    """The payload is there and whole: a checkpoint. It is empty: only its name had been claimed."""
    if not difference(files, manifest):
        files.replace(pending, manifest.file + SUFFIX)
        files.sync()
    else:
        files.remove_if_empty(manifest.file)


def _finish_removal(files: Files, manifest: Manifest) -> None:
    """Remove only what is still the file that was to go; somebody may have put another in its place."""
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
    """The newest time in a temporary, which is a file or a folder of files."""
    found = [files.stat(name), *(files.stat(below(name, each)) for each in files.names_in(name))]
    return datetime.fromtimestamp(max((each.st_mtime for each in found if each is not None), default=0.0), UTC)
