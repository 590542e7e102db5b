"""Files, locks and processes where operating systems differ: Linux and macOS by POSIX, Windows by what it has.

A flag that a system lacks is 0 here: Windows opens a file for the process alone unless told otherwise (so no
O_CLOEXEC), and knows no pipe or link among ordinary files that would have to be shunned. What it needs is O_BINARY,
without which `os.write` turns every newline into two bytes.
"""

from __future__ import annotations

import contextlib
import errno
import locale
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

_LINUX: bool = sys.platform == "linux"
_fcntl: Any
try:
    _fcntl = import_module("fcntl")
except ModuleNotFoundError:  # Windows
    _fcntl = None

CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
BINARY: int = getattr(os, "O_BINARY", 0)
NO_LINK: int = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT: int = getattr(os, "O_NONBLOCK", 0)
FOLDER: int | None = os.O_RDONLY | os.O_DIRECTORY | CLOEXEC if hasattr(os, "O_DIRECTORY") else None

READ = os.O_RDONLY | CLOEXEC | BINARY | NO_LINK | _NO_WAIT  # no link is followed, no pipe waited for
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC | BINARY | NO_LINK
OVERWRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | CLOEXEC | BINARY | NO_LINK

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)  # folders that cannot be synced, or not by us
TEMPORARY = ".new"  # how the name of a file ends that is to take another one's place

POSIX = hasattr(os, "getuid")


def state_folder() -> Path:
    """The folder of this user's programs for state that survives a restart. Raises RuntimeError without a home."""
    if _LINUX:
        return Path.home() / ".local" / "state" / "notifybot"
    import platformdirs

    return platformdirs.user_state_path("notifybot", appauthor=False)


def system_language() -> str:
    """The language that a system speaks which has no LANG, such as "Korean_Korea" on Windows; else nothing."""
    return "" if _LINUX else (locale.getlocale()[0] or "").replace("Korean", "ko")


def user_mark() -> str:
    """A short name for this user that can stand in a file's name, for folders that all users share."""
    return str(os.getuid()) if POSIX else "".join(filter(str.isalnum, Path.home().name)) or "user"


def is_mine(found: os.stat_result) -> bool:
    """Whether a file belongs to this user; True where a system has no such numbers."""
    return not POSIX or found.st_uid == os.getuid()


def open_folder(folder: Path) -> int | None:
    """Open a folder to sync the names in it; None on Windows, which syncs names with their files. Raises OSError."""
    return None if FOLDER is None else os.open(folder, FOLDER)


def replace(fresh: Path, place: Path) -> None:
    """Put a file in another one's place in one step. Raises OSError.

    Windows refuses while anybody has one of them open, a virus scanner too, so there it is tried for two seconds.
    """
    for _ in range(0 if POSIX else 40):
        with contextlib.suppress(PermissionError):
            os.replace(fresh, place)
            return
        threading.Event().wait(0.05)
    os.replace(fresh, place)


def write_atomically(path: Path, content: bytes, *, private: bool = False, durable: bool = True) -> None:
    """Put `content` in a file's place in one step: at any moment there is the old content or the new, after a kill too.

    With `durable` a power cut changes nothing about that once this has returned. A `private` file is its owner's alone.
    Raises OSError; then the old file is as it was.
    """
    with replacing(path, private=private, durable=durable) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
    """The same for content that is written in pieces, to the file that is given: it takes the place at the end."""
    fresh, descriptor = _beside(path, private=private)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    if durable:
        with contextlib.suppress(OSError):  # a mount may refuse
            sync_names(path.parent)


def _beside(path: Path, *, private: bool) -> tuple[Path, int]:
    """A new hidden file beside another, open for writing. A private one has a name of its own: several jobs write it.

    Any other has the same name each time, so that one that was cut short is not left for ever.
    """
    if private:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
        return Path(name), descriptor
    fresh = path.with_name(f".{path.name}{TEMPORARY}")
    return fresh, os.open(fresh, OVERWRITE, 0o666)


def sync_names(folder: Path) -> None:
    """Let the names in a folder outlast a power cut, where the folder may be read and its disk knows how.

    Raises OSError where the disk fails.
    """
    try:
        descriptor = open_folder(folder)
        if descriptor is None:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def make_private(descriptor: int) -> None:
    """Let nobody but the owner read an open file. On Windows the user's own folders see to that."""
    if hasattr(os, "fchmod"):
        os.fchmod(descriptor, 0o600)


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read from a place in a file. Where there is no `pread`, the file's position moves."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


class FileLock:
    """A lock beside a file, which keeps every other process out, and ends with this one.

    On Windows it is `filelock`'s. Elsewhere it is our own call of `flock`, because Linux's paths and modes stay as they
    were.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._other: Any = None

    def acquire(self, *, wait: bool = True) -> None:
        """Take it. Raises BlockingIOError with `wait=False` when another one has it, else OSError as the disk does."""
        if _fcntl is None:
            self._acquire_other(wait=wait)
            return
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | CLOEXEC, 0o600)
        _fcntl.flock(self._descriptor, _fcntl.LOCK_EX | (0 if wait else _fcntl.LOCK_NB))

    def release(self) -> None:
        """Let others in. Releasing twice is fine."""
        if self._other is not None:
            self._other.release()
        if _fcntl is not None and self._descriptor is not None:
            with contextlib.suppress(OSError):
                _fcntl.flock(self._descriptor, _fcntl.LOCK_UN)  # a child forked meanwhile holds the file too
            os.close(self._descriptor)
            self._descriptor = None

    def _acquire_other(self, *, wait: bool) -> None:
        import filelock

        self._other = self._other or filelock.FileLock(str(self._path), thread_local=False)
        try:
            self._other.acquire(timeout=-1 if wait else 0)
        except filelock.Timeout:
            raise BlockingIOError(f"{self._path} is locked by another process") from None


def is_running(pid: int) -> bool:
    """Whether a process of this machine is there; one that may not be asked is."""
    if not POSIX:
        import psutil  # type: ignore[import-untyped]  # os.kill(pid, 0) would be a Ctrl-C there

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def started(thread: threading.Thread) -> bool:
    """Start a thread of ours; False where no more are to be had, and the caller does without.

    So it is under a limit on processes, and while Python ends: 3.12.1 allows none as soon as the main thread is over,
    though another one may train on (https://github.com/python/cpython/issues/113964).
    """
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def path_text(path: str | os.PathLike[str]) -> str:
    """A path as text that can be stored and sent: what is no UTF-8 in a name, as in old archives, becomes "?"."""
    return os.fspath(path).encode("utf-8", "replace").decode("utf-8")


def at_fork(
    *,
    before: Callable[[], object] | None = None,
    after_in_parent: Callable[[], object] | None = None,
    after_in_child: Callable[[], object] | None = None,
) -> None:
    """Have functions called around a fork, where there are forks."""
    if not hasattr(os, "register_at_fork"):
        return
    given = {"before": before, "after_in_parent": after_in_parent, "after_in_child": after_in_child}
    os.register_at_fork(**{name: call for name, call in given.items() if call is not None})
