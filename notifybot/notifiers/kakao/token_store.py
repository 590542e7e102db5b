"""The token file: what Kakao issued last and what the login chose, shared by all jobs of one user.

And what it is made of, a small private file with a lock beside it, as the day's count is one, too.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from notifybot.clock import Clock
from notifybot.errors import not_pickled, reader_text, system_words
from notifybot.files import FileLock, write_atomically
from notifybot.notifiers.kakao.http import Reply, sign_in_error, temporary
from notifybot.redaction import fingerprint

_LOG = logging.getLogger("notifybot")
TOKEN_FILE = "kakao-token.json"  # noqa: S105 - a file's name
MOST_RECEIVERS = 5  # of one message, says Kakao
_LARGEST_BYTES = 64 * 1024
_LOCK_WAIT_S = 20.0  # another job's refresh takes at most the two timeouts of http.py
_LOCK_POLL_S = 0.1


class Mode(StrEnum):
    """Route of messages: to oneself, which does not ring, or from a spare account to friends."""

    MEMO = "memo"
    FRIEND = "friend"

    @property
    def scopes(self) -> tuple[str, ...]:
        """OAuth scopes that the person has to agree to."""
        return ("talk_message",) if self is Mode.MEMO else ("talk_message", "friends")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A friend of the sender. `uuid` holds for one app and one sender alone."""

    uuid: str
    nickname: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """A login as it was chosen. `user_id` is Kakao's number of the account that sends, None while unknown."""

    rest_api_key: SecretStr
    client_secret: SecretStr | None = None
    mode: Mode = Mode.MEMO
    receivers: tuple[Receiver, ...] = ()
    user_id: int | None = None

    def __getstate__(self) -> object:
        raise not_pickled(self)


@dataclass(frozen=True, slots=True)
class TokenSet:
    """Tokens as issued. `seed` and `client` are fingerprints of the configured refresh token and of the REST key
    they came from; `refresh_expires_at` is None while Kakao has not given it. `account` is None where the tokens come
    from the settings and not from a login through notifybot.
    """

    client: str
    seed: str
    refresh_token: SecretStr
    refresh_expires_at: datetime | None = None
    access_token: SecretStr | None = None
    access_expires_at: datetime | None = None
    account: Account | None = None

    def __getstate__(self) -> object:
        raise not_pickled(self)


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
            with self.path.open("rb") as file:
                return file.read(_LARGEST_BYTES + 1)
        except OSError as error:
            if not isinstance(error, FileNotFoundError):
                why = system_words(error)
                _LOG.warning("%s", reader_text("notifiers.kakao.private_file.cannot_be_read", what=self, why=why))
            return None

    def peek(self) -> bytes | None:
        """Read like `read`, but log nothing if the file cannot be read."""
        with contextlib.suppress(OSError), self.path.open("rb") as file:
            return file.read(_LARGEST_BYTES + 1)
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
        lock, path = FileLock(self.path.with_name(f"{self.path.name}.lock")), f"{self.path}.lock"
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        ends_at_s = self._clock.monotonic() + _LOCK_WAIT_S
        try:
            while True:
                try:
                    lock.acquire(wait=False)
                    break
                except BlockingIOError:
                    if self._clock.monotonic() >= ends_at_s:
                        raise temporary("locked", path=path) from None
                except OSError:  # ENOLCK, ENOTSUP: some network mounts have none
                    break
                self._clock.wait(threading.Event(), _LOCK_POLL_S)
            yield
        finally:
            lock.release()


_NOT_OURS: set[Path] = set()  # files already logged as another program's: each read would log it again


class TokenFile:
    """The tokens as a JSON file of mode 0600 with a lock beside it, and a mark while they are being renewed.

    Between Kakao's answer and our disk nobody else has a new refresh token, and the old one is no good any more
    (https://devtalk.kakao.com/t/topic/126899). A process that is killed there leaves the mark, which says why Kakao
    refuses what the file holds. The mark names the tokens that it is about: storing others ends it in the same write.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._file = PrivateFile(path, reader_text("notifiers.kakao.token_store.file"), clock)
        self._mark = PrivateFile(path.with_name(f"{path.name}.rotating"), "", clock)
        self.locked = self._file.locked

    def load(self) -> TokenSet | None:
        """Return the last stored tokens; None if there is no file, or none that notifybot wrote and can read."""
        text = self._file.read()
        if text is None:
            return None
        try:
            return _from_fields(json.loads(text))
        except (ValueError, KeyError, TypeError, AttributeError):
            if _is_anothers(text, self.path.name):
                self._say_whose(text)
            else:
                self._file.set_aside()
            return None

    def others_token(self) -> SecretStr | None:
        """The refresh token of a token answer as Kakao gives it, which another program keeps here; None for all else.

        Tutorials have people write the answer to a file as it came, such as kakao_code.json.
        """
        text = self._file.peek()
        if text is None or not _is_anothers(text, self.path.name):
            return None
        try:
            fields = json.loads(text)
            return _secret(fields["refresh_token"])
        except (ValueError, KeyError, TypeError):
            return None

    def save(self, tokens: TokenSet) -> bool:
        """Store durably: when it returns True, a crash leaves these tokens.

        False, logged: the disk refuses, or the file is another program's.
        """
        there = self._file.read()
        if there is not None and _is_anothers(there, self.path.name):
            self._say_whose(there)
            return False
        stored = self._file.write(json.dumps(_to_fields(tokens), ensure_ascii=False, indent=2).encode())
        if stored and self.rotating_since(tokens) is None:
            self.end_rotation()
        return stored

    def begin_rotation(self, tokens: TokenSet, since: datetime) -> None:
        """Mark durably that `tokens` are being renewed. A write error is ignored here: `save` will report it."""
        fields = {"version": 1, "of": _mark_of(tokens), "since": _stamp(since)}
        with contextlib.suppress(OSError):
            self._mark.put(json.dumps(fields).encode())

    def rotating_since(self, tokens: TokenSet) -> datetime | None:
        """Return when a renewal of `tokens` began whose outcome was never stored; None if there is no such mark."""
        text = self._mark.peek()
        try:
            fields = json.loads(text or b"")
            return _moment(fields["since"]) if fields["of"] == _mark_of(tokens) else None
        except (ValueError, KeyError, TypeError):
            return None

    def end_rotation(self) -> None:
        """Delete the mark. A missing mark is fine."""
        with contextlib.suppress(OSError):
            self._mark.path.unlink(missing_ok=True)

    def _say_whose(self, text: bytes) -> None:
        if self.path in _NOT_OURS:
            return
        _NOT_OURS.add(self.path)
        if b"refresh_token" in text:
            whose = reader_text("notifiers.kakao.token_store.token_of_another_program")
        else:
            whose = reader_text("notifiers.kakao.token_store.no_login")
        _LOG.warning("%s", reader_text("notifiers.kakao.token_store.holds_something_else", path=self.path, whose=whose))

    def remove(self) -> None:
        """Delete the tokens. A missing file is fine. Raises OSError."""
        for each in (self._file, self._mark):
            each.path.unlink(missing_ok=True)


def _mark_of(tokens: TokenSet) -> str:
    """Fingerprint of the current tokens: changes with each renewal, which brings at least a new access token."""
    return fingerprint(tokens.refresh_token.get_secret_value(), _plain(tokens.access_token) or "")


def _is_anothers(text: bytes, name: str) -> bool:
    """True for what notifybot never wrote, such as a token answer that a script of the user's keeps for itself."""
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if isinstance(fields, dict):
        return not {"version", "client", "seed"} & fields.keys()
    return name != TOKEN_FILE and bool(text.strip(b"\0")) and not text.startswith(b'{\n  "version"')


def issued(known: TokenSet, reply: Reply, now: datetime) -> TokenSet:
    """`known` with what a reply of the token endpoint brings. Raises TemporaryError where it brings no token."""
    access, lives_s = reply.text("access_token"), reply.number("expires_in")
    if not access or lives_s is None:
        raise sign_in_error(reply.status, "", retry_after_s=None)
    fresh = replace(known, access_token=SecretStr(access), access_expires_at=_later(now, lives_s))
    refresh = reply.text("refresh_token")
    if not refresh:
        return fresh
    dies_s = reply.number("refresh_token_expires_in")
    dies_at = None if dies_s is None else _later(now, dies_s)
    return replace(fresh, refresh_token=SecretStr(refresh), refresh_expires_at=dies_at)


def _later(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=min(seconds, 10 * 365 * 86400.0))


def _to_fields(tokens: TokenSet) -> dict[str, Any]:
    account = tokens.account
    return {
        "version": 1,
        "client": tokens.client,
        "seed": tokens.seed,
        "refresh_token": tokens.refresh_token.get_secret_value(),
        "refresh_expires_at": _stamp(tokens.refresh_expires_at),
        "access_token": _plain(tokens.access_token),
        "access_expires_at": _stamp(tokens.access_expires_at),
        "account": account
        and {
            "rest_api_key": _plain(account.rest_api_key),
            "client_secret": _plain(account.client_secret),
            "mode": account.mode.value,
            "receivers": [{"uuid": each.uuid, "nickname": each.nickname} for each in account.receivers],
            "user_id": account.user_id,
        },
    }


def _from_fields(fields: dict[str, Any]) -> TokenSet:
    """Read what `_to_fields` wrote. Raises ValueError, KeyError, TypeError or AttributeError for anything else."""
    account = fields.get("account")
    return TokenSet(
        client=_word(fields["client"]),
        seed=_word(fields["seed"]),
        refresh_token=SecretStr(_word(fields["refresh_token"])),
        refresh_expires_at=_moment(fields["refresh_expires_at"]),
        access_token=_secret(fields["access_token"]),
        access_expires_at=_moment(fields["access_expires_at"]),
        account=_account(account) if account else None,
    )


def _account(fields: dict[str, Any]) -> Account:
    user_id = fields["user_id"]
    if not isinstance(user_id, int | None):
        raise ValueError("not a number")
    receivers = tuple(Receiver(_word(each["uuid"]), str(each["nickname"])) for each in fields["receivers"])
    return Account(
        rest_api_key=SecretStr(_word(fields["rest_api_key"])),
        client_secret=_secret(fields["client_secret"]),
        mode=Mode(fields["mode"]),
        receivers=receivers[:MOST_RECEIVERS],
        user_id=user_id,
    )


def _plain(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() if secret else None


def _secret(value: object) -> SecretStr | None:
    return SecretStr(_word(value)) if value else None


def _word(value: object) -> str:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ValueError("not a token")  # HTTP headers cannot carry it
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
