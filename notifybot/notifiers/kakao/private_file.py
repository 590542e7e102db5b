"""A small file for this user alone: written whole or not at all, with a lock beside it for all jobs."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from notifybot.clock import Clock
from notifybot.errors import reader_text, system_words
from notifybot.files import FileLock, write_atomically
from notifybot.notifiers.kakao.http import temporary

_LOG = logging.getLogger("notifybot")
_LARGEST_BYTES = 64 * 1024
_LOCK_WAIT_S = 20.0  # another job's refresh takes at most the two timeouts of http.py
_LOCK_POLL_S = 0.1


class PrivateFile:
    """A file of mode 0600. A damaged one is set aside, never fatal. `what` names it in the log."""

    def __init__(self, path: Path, what: str, clock: Clock) -> None:
        self.path = path
        self._what = what
        self._clock = clock

    def __str__(self) -> str:
        return f"{self._what} {self.path}"

    def read(self) -> bytes | None:
        """Return the last stored bytes; None, logged, if the file cannot be read, and None if there is none."""
        try:
            return self._bytes()
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                why = system_words(error)
                _LOG.warning("%s", reader_text("notifiers.kakao.private_file.cannot_be_read", what=self, why=why))
            return None

    def peek(self) -> bytes | None:
        """Read like `read`, but log nothing if the file cannot be read."""
        with contextlib.suppress(OSError):
            return self._bytes()
        return None

    def write(self, text: bytes) -> bool:
        """Store durably: when it returns True, a crash leaves this text. False, logged: the disk refuses."""
        try:
            self.put(text)
        except OSError as error:
            why = system_words(error)
            _LOG.warning("%s", reader_text("notifiers.kakao.private_file.cannot_be_written", what=self, why=why))
            return False
        return True

    def put(self, text: bytes) -> None:
        """Write like `write`, but raise OSError if the disk refuses."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self.path, text, private=True)

    def remove(self) -> None:
        """Delete it; one that is not there is fine. Raises OSError."""
        self.path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Give a damaged file another name, so that a person can look into it."""
        aside = self.path.with_name(f"{self.path.name}.damaged-{self._clock.now():%Y%m%dT%H%M%S}")
        with contextlib.suppress(OSError):
            os.replace(self.path, aside)
        text = reader_text("notifiers.kakao.private_file.damaged", what=self, name=aside.name)
        _LOG.warning("%s", text)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other job out while inside. On a file system without locks, nobody is kept out.

        Raises TemporaryError when another job holds the lock for longer than a refresh takes.
        """
        lock = FileLock(self.path.with_name(f"{self.path.name}.lock"))
        try:
            self._acquire(lock)
            yield
        finally:
            lock.release()

    def _bytes(self) -> bytes:
        with self.path.open("rb") as file:
            return file.read(_LARGEST_BYTES + 1)

    def _acquire(self, lock: FileLock) -> None:
        """Take the lock; where the file system has none, or cannot be written, go on without it."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        never = threading.Event()
        end = self._clock.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                return lock.acquire(wait=False)
            except BlockingIOError:
                if self._clock.monotonic() >= end:
                    raise temporary("locked", path=f"{self.path}.lock") from None
            except OSError:  # ENOLCK, ENOTSUP: some network mounts
                return None
            self._clock.wait(never, _LOCK_POLL_S)
