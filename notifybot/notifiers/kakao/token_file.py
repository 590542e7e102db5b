"""The token file: what Kakao issued last, shared by all jobs of one user. Written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from notifybot.clock import Clock
from notifybot.errors import TemporaryError

_LOG = logging.getLogger(__name__)
_LARGEST_BYTES = 64 * 1024
_LOCK_WAIT_S = 20.0  # one refresh by somebody else takes at most the two timeouts of http.py
_LOCK_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class TokenSet:
    """Tokens as issued. `seed` and `client` are fingerprints of the configured refresh token and of the REST key
    they came from; `refresh_expires_at` is None while Kakao has not told it.
    """

    client: str
    seed: str
    refresh_token: SecretStr
    refresh_expires_at: datetime | None = None
    access_token: SecretStr | None = None
    access_expires_at: datetime | None = None


class TokenFile:
    """A JSON file of mode 0600 with a lock beside it. A damaged one is set aside, never fatal."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock

    def load(self) -> TokenSet | None:
        """What was stored last; None where there is no file, or none that can be read."""
        try:
            with self.path.open("rb") as file:
                text = file.read(_LARGEST_BYTES + 1)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                _LOG.warning("the Kakao token file %s cannot be read (%s)", self.path, type(error).__name__)
            return None
        try:
            return _parse(text)
        except (ValueError, KeyError, TypeError):
            self._set_aside()
            return None

    def save(self, tokens: TokenSet) -> bool:
        """Store durably: when it returns True, a crash leaves these tokens. False, logged: the disk refuses."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._replace(json.dumps(_fields(tokens), indent=2).encode())
        except OSError as error:
            _LOG.warning("the Kakao token file %s cannot be written (%s)", self.path, type(error).__name__)
            return False
        return True

    def _replace(self, text: bytes) -> None:
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.parent)  # mkstemp: mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # some file systems cannot sync a folder
                os.fsync(folder)
        finally:
            os.close(folder)

    def _set_aside(self) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged-{self._clock.now():%Y%m%dT%H%M%S}")
        with contextlib.suppress(OSError):
            os.replace(self.path, aside)
        _LOG.warning("the Kakao token file %s was damaged; it is set aside as %s", self.path, aside.name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other job out while inside. Where the file system knows no locks, it is not kept out.

        Raises TemporaryError when another job holds the lock for longer than a refresh takes.
        """
        handle = self._open_lock()
        if handle is None:
            yield
            return
        try:
            self._acquire(handle)
            yield
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_UN)  # closing is not enough: a child forked meanwhile holds it too
            os.close(handle)

    def _open_lock(self) -> int | None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return None

    def _acquire(self, handle: int) -> None:
        never = threading.Event()
        end = self._clock.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._clock.monotonic() >= end:
                    raise TemporaryError(f"another job holds {self.path}.lock for too long") from None
            except OSError:  # ENOLCK, ENOTSUP: some network mounts
                return None
            self._clock.wait(never, _LOCK_POLL_S)


def _fields(tokens: TokenSet) -> dict[str, Any]:
    access = tokens.access_token
    return {
        "version": 1,
        "client": tokens.client,
        "seed": tokens.seed,
        "refresh_token": tokens.refresh_token.get_secret_value(),
        "refresh_expires_at": _stamp(tokens.refresh_expires_at),
        "access_token": access.get_secret_value() if access else None,
        "access_expires_at": _stamp(tokens.access_expires_at),
    }


def _parse(text: bytes) -> TokenSet:
    fields = json.loads(text)
    access = fields["access_token"]
    return TokenSet(
        client=_word(fields["client"]),
        seed=_word(fields["seed"]),
        refresh_token=SecretStr(_word(fields["refresh_token"])),
        refresh_expires_at=_moment(fields["refresh_expires_at"]),
        access_token=SecretStr(_word(access)) if access else None,
        access_expires_at=_moment(fields["access_expires_at"]),
    )


def _word(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ValueError("not a token")  # a header could not carry it
    return value


def _stamp(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None


def _moment(value: str | None) -> datetime | None:
    if value is None:
        return None
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return moment.astimezone(UTC)
