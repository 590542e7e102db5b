"""Pictures that alerts bring, as files beside the database: they wait with the message, over a restart too."""

from __future__ import annotations

import re
import stat
from contextlib import suppress
from pathlib import Path

from notifybot.files import write_atomically
from notifybot.store.database import Store
from notifybot.store.pruning import KEEP_FOR

LARGEST_BYTES = 5 * 1024 * 1024  # the picture of a message; some mail servers take 10 MB with its third in base64
MOST_FILES = 50
_KINDS = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg"}  # by how their files begin
_NAME = re.compile(r"[0-9a-f-]{36}\.(png|jpg)")


def suffix_of(content: bytes) -> str:
    """Return ".png" or ".jpg" by how a picture begins; empty for anything else."""
    return next((suffix for begin, suffix in _KINDS.items() if content.startswith(begin)), "")


def keep_picture(store: Store, event_id: str, content: bytes) -> str:
    """Keep a picture for an event; return its name. Older ones than a week go, and all but the newest. Raises OSError.

    A message waits a day at most, an urgent one until it can be delivered: its picture does so for a week.
    """
    folder, name = _folder(store), event_id + suffix_of(content)
    folder.mkdir(mode=0o700, exist_ok=True)
    write_atomically(folder / name, content, private=True, durable=False)
    found = sorted((each for each in folder.iterdir() if _NAME.fullmatch(each.name)), key=lambda each: each.name)
    oldest = store.clock.now().timestamp() - KEEP_FOR.total_seconds()
    for each in found:
        with suppress(OSError):  # another process is cleaning up, too
            if each in found[:-MOST_FILES] or each.stat().st_mtime < oldest:
                each.unlink()
    return name


def kept_picture(store: Store, name: str) -> bytes | None:
    """Return a picture by its name; None where it is gone, or on another machine.

    An event may come from anywhere: a name that is none of ours is not looked for.
    """
    path = _folder(store) / name
    if not _NAME.fullmatch(name):
        return None
    try:
        if not stat.S_ISREG(path.lstat().st_mode) or path.stat().st_size > LARGEST_BYTES:
            return None
        content = path.read_bytes()
    except OSError:
        return None
    return content if suffix_of(content) else None


def _folder(store: Store) -> Path:
    return store.path.parent / "pictures"
