"""Files, locks, processes and threads across operating systems: atomic writes, private files, file locks.

A flag that a system lacks is 0 here: Windows does not let child processes inherit a file by default (so no O_CLOEXEC),
and has no pipes or links among ordinary files to refuse. It needs O_BINARY, without which `os.write` turns every
newline into two bytes.
"""

from __future__ import annotations

import contextlib
import errno
import locale
import os
import stat
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

READ = os.O_RDONLY | CLOEXEC | BINARY | NO_LINK | _NO_WAIT  # refuses links, does not wait for pipes
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | CLOEXEC | BINARY | NO_LINK
OVERWRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | CLOEXEC | BINARY | NO_LINK

_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EACCES)  # the folder cannot be synced, or not by this user
TEMPORARY = ".new"  # suffix of a file that will replace another

POSIX = hasattr(os, "getuid")


def state_folder() -> Path:
    """Return the user's folder for state that survives a restart. Raises RuntimeError without a home folder."""
    if _LINUX:
        return Path.home() / ".local" / "state" / "notifybot"
    import platformdirs

    return platformdirs.user_state_path("notifybot", appauthor=False)


def system_language() -> str:
    """Return the language of a system without LANG, as "Korean_Korea" of Windows; empty on Linux."""
    return "" if _LINUX else (locale.getlocale()[0] or "").replace("Korean", "ko")


def user_mark() -> str:
    """Return a short name of this user for file names in folders that all users share."""
    return str(os.getuid()) if POSIX else "".join(filter(str.isalnum, Path.home().name)) or "user"


def is_mine(found: os.stat_result) -> bool:
    """True when a file belongs to this user, and on systems without user ids."""
    return not POSIX or found.st_uid == os.getuid()


def only_mine(path: Path) -> bool:
    """True when a file or folder belongs to this user and nobody else may write to it; also on Windows.

    A group may, if it is the user's own: many systems give each user one, and files that it may write. False where it
    cannot be seen.
    """
    if not POSIX:
        return True
    try:
        found = path.stat()
        if not is_mine(found) or found.st_mode & stat.S_IWOTH:
            return False
        return not found.st_mode & stat.S_IWGRP or _is_own_group(found.st_gid)
    except (OSError, KeyError):  # KeyError: a user or a group without a name
        return False


def _is_own_group(number: int) -> bool:
    me, group = import_module("pwd").getpwuid(os.getuid()), import_module("grp").getgrgid(number)
    is_named_so = me.pw_gid == number and me.pw_name == group.gr_name
    return bool(is_named_so and set(group.gr_mem) <= {me.pw_name})


def replace(fresh: Path, place: Path) -> None:
    """Replace a file with another atomically. Raises OSError.

    Windows refuses while any process has one of them open, even a virus scanner, so there it is tried for two seconds.
    """
    for _ in range(0 if POSIX else 40):
        with contextlib.suppress(PermissionError):
            os.replace(fresh, place)
            return
        threading.Event().wait(0.05)
    os.replace(fresh, place)


def write_atomically(path: Path, content: bytes, *, private: bool = False, durable: bool = True) -> None:
    """Replace a file's content atomically: at any moment it is the old or the new content, also after a kill.

    With `durable` the new content survives a power cut once this has returned. A `private` file is readable by its
    owner only. Raises OSError; then the old file is unchanged.
    """
    with replacing(path, private=private, durable=durable) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a file to write in pieces; it replaces `path` atomically at the end. As `write_atomically` otherwise."""
    if private:  # a unique name, as several processes write it at once
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
        fresh = Path(name)
    else:  # the same name each time, so that an interrupted write leaves no growing litter
        fresh = path.with_name(f".{path.name}{TEMPORARY}")
        descriptor = os.open(fresh, OVERWRITE, 0o666)
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
        with contextlib.suppress(OSError):  # some mounts cannot sync a folder
            sync_names(path.parent)


def sync_names(folder: Path) -> None:
    """Make the names in a folder survive a power cut, if its file system can do so and we may read it.

    Raises OSError when the disk fails.
    """
    if FOLDER is None:  # Windows syncs names with their files
        return
    try:
        descriptor = os.open(folder, FOLDER)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read from a place in a file. Where there is no `pread`, the file's position moves."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)


class FileLock:
    """Lock file that excludes other processes and is released when this process ends.

    Uses `filelock` on Windows, and `flock` directly elsewhere, so that paths and modes on Linux stay the same.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._other: Any = None

    def acquire(self, *, wait: bool = True) -> None:
        """Take the lock. Raises BlockingIOError with `wait=False` if another process has it; OSError of the disk."""
        if _fcntl is None:
            import filelock

            self._other = self._other or filelock.FileLock(str(self._path), thread_local=False)
            try:
                self._other.acquire(timeout=-1 if wait else 0)
            except filelock.Timeout:
                raise BlockingIOError(f"{self._path} is locked by another process") from None
            return
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | CLOEXEC, 0o600)
        _fcntl.flock(self._descriptor, _fcntl.LOCK_EX | (0 if wait else _fcntl.LOCK_NB))

    def release(self) -> None:
        """Release the lock. Releasing twice is fine."""
        if self._other is not None:
            self._other.release()
        if _fcntl is not None and self._descriptor is not None:
            with contextlib.suppress(OSError):
                _fcntl.flock(self._descriptor, _fcntl.LOCK_UN)  # a forked child has the file open too
            os.close(self._descriptor)
            self._descriptor = None


def is_running(pid: int) -> bool:
    """True when a process of this machine is running, also one of another user."""
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
    """Start a thread; False if none can be started, and the caller does without it.

    That happens under a limit on processes, and while Python ends: 3.12.1 allows none once the main thread is over,
    though another thread may still train (https://github.com/python/cpython/issues/113964).
    """
    try:
        thread.start()
    except RuntimeError:
        return False
    return True


def path_text(path: str | os.PathLike[str]) -> str:
    """Return a path as text that can be stored and sent: bytes that are no UTF-8, as from old archives, become "?"."""
    return os.fspath(path).encode("utf-8", "replace").decode("utf-8")


def at_fork(**calls: Callable[[], object]) -> None:
    """Call functions `before`, `after_in_parent` and `after_in_child` of a fork, on systems that have forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(**calls)
