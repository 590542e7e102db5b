"""Location of the database file: local folders with a fallback, private modes, damaged files set aside."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path

from notifybot.errors import reader_text
from notifybot.files import CLOEXEC, is_mine, state_folder, sync_names, user_mark

log = logging.getLogger("notifybot")

APPLICATION_ID = 0x6E746679  # "ntfy" in ASCII: tells our files from other programs' in SQLite's header
_CHECK_UP_TO_BYTES = 16 * 1024 * 1024
_DAMAGED = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
_PRIMARY = 0xFF  # the other bits are the extended code

# File systems on which SQLite's shared memory fails or its locks lie. Colab's Drive is "fuse.drive".
_REMOTE = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "ntfs3",
    "vboxsf", "prl_fs", "ncpfs", "9p", "virtiofs", "fuse", "fuseblk", "orangefs", "wekafs",
}  # fmt: skip


def is_remote(path: Path, mounts: str | None = None) -> bool:
    """True when `path` lies on a network or FUSE mount. `mounts` is the text of Linux's mountinfo."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(errors="replace")
        except OSError:
            return False  # not Linux: mounts are not known
    real = os.path.realpath(path)
    best, kind = "", ""
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        if not right or len(left.split()) < 5:
            continue
        point = left.split()[4].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    return kind in _REMOTE or kind.startswith("fuse.")


DATABASE = "notifybot.db"  # in the folder of a machine's state


def database_in(state_dir: Path) -> Path:
    """Path of the database of this machine's training processes: in that folder, or in the one in its place."""
    return local_folder(state_dir) / DATABASE


def local_folder(wanted: Path) -> Path:
    """Return `wanted`, or a local folder in its place when it lies on a network mount or cannot be written.

    Says so once for each folder, as a warning of the logger "notifybot".
    """
    wanted = wanted.expanduser()
    if not is_remote(wanted) and _writable(wanted):
        return wanted
    for candidate in _in_its_place():
        if candidate != wanted and not is_remote(candidate) and _writable(candidate):
            if wanted not in _replaced:
                _replaced.add(wanted)
                text = reader_text("store.location.other_state_folder_used", wanted=wanted, folder=candidate)
                log.warning("%s", text)
            return candidate
    return wanted


def spare_folder() -> Path:
    """Make a new folder for one process's records, on a disk or in memory. Raises OSError where there is no room."""
    with suppress(OSError):
        return Path(tempfile.mkdtemp(prefix="notifybot-"))
    return Path(tempfile.mkdtemp(prefix="notifybot-", dir=_MEMORY))


def _in_its_place() -> Iterator[Path]:
    """Folders that outlast the process, the best first: a container's user may have no home, or one that is mounted
    read-only like all else but memory."""
    with suppress(RuntimeError):  # no home
        yield state_folder()
    with suppress(OSError):  # no folder for temporary files can be written
        yield Path(tempfile.gettempdir(), f"notifybot-{user_mark()}")
    yield _MEMORY / f"notifybot-{user_mark()}"


_MEMORY = Path("/dev/shm")  # noqa: S108  what is made there is ours alone, see `_writable`
_replaced: set[Path] = set()


def _writable(folder: Path) -> bool:
    """True for a folder, made if need be, that this user owns: one that somebody else planted under /tmp is not."""
    try:
        _make_folder(folder)
        if not is_mine(folder.lstat()) and folder.parent.stat().st_mode & stat.S_ISVTX:
            return False
        with tempfile.NamedTemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def make_private(path: Path) -> None:
    """Create the folder (0700) and the file (0600) before SQLite does with the umask's mode; both names are durable."""
    _make_folder(path.parent)
    new = not path.exists()
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | CLOEXEC, 0o600))
    path.chmod(0o600)
    if new:
        sync_names(path.parent)


def _make_folder(folder: Path) -> None:
    """Make what is missing of a path, for good: SQLite syncs what is in its folder, and no folder above that."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for each in missing:
        sync_names(each.parent)


def set_aside_if_damaged(path: Path, now: datetime) -> Path | None:
    """Rename a damaged or foreign database file, with its WAL; return its new name, None if the file is fine."""
    why = _damage(path)
    if why is None:
        return None
    aside = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%S%f}")
    for suffix in ("", "-wal", "-shm", "-journal"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    text = reader_text("store.location.set_aside", path=path, why=why, name=aside.name)
    log.warning("%s", text)
    make_private(path)
    return aside


def _damage(path: Path) -> str | None:
    if path.stat().st_size == 0:
        return None
    try:
        with closing(sqlite3.connect(path, timeout=1.0)) as connection:
            (mark,) = connection.execute("PRAGMA application_id").fetchone()
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if mark != APPLICATION_ID and tables:
                return reader_text("store.location.not_a_notifybot_database")
            if path.stat().st_size <= _CHECK_UP_TO_BYTES:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                return None if verdict == "ok" else reader_text("store.location.damaged")
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & _PRIMARY not in _DAMAGED:
            return None  # busy, or a full or failing disk: says nothing about the file
        return reader_text("store.location.no_database_or_damaged")
    return None
