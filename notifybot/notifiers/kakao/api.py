"""One account at Kakao: calls of kapi.kakao.com, with access tokens that renew themselves.

Tokens are cached, refreshed a little before they end, and shared by all jobs that use one token file. Kakao's access
token lives about 6 hours and its refresh token about 60 days. A refresh in the last month brings a new refresh token,
which is on disk before anything else is done: nobody else has a copy. `TokenFile` has a mark for a kill in between.
https://developers.kakao.com/docs/ko/kakaologin/rest-api
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType

from pydantic import SecretStr

from notifybot import redaction
from notifybot.clock import SYSTEM, Clock
from notifybot.errors import DeliveryError, PermanentError, TemporaryError, not_pickled, reader_text
from notifybot.notifiers.kakao.http import (
    LOGIN_ENDED,
    TIMEOUT_S,
    TOKEN_REFUSED,
    FormClient,
    Reply,
    api_error,
    permanent,
    refused_again,
    rotation_lost,
    sign_in_error,
    temporary,
    while_renewing,
)
from notifybot.notifiers.kakao.oauth import TOKEN_PATH
from notifybot.notifiers.kakao.token_store import Account, Mode, Receiver, TokenFile, TokenSet, issued
from notifybot.redaction import fingerprint

_LOG = logging.getLogger("notifybot")
MARGIN = timedelta(minutes=5)
ROTATES_WITHIN = timedelta(days=32)  # "less than a month left", says Kakao
_PAGE = 100  # friends, the most that one answer holds
_MOST_PAGES = 20


@dataclass(frozen=True, slots=True)
class Credentials:
    """Kakao credentials from the settings. `refresh_token` may be left out if a token file has one."""

    rest_api_key: SecretStr
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None

    @property
    def client(self) -> str:
        """Fingerprint of the app's key."""
        return fingerprint("kakao", self.rest_api_key.get_secret_value())

    @property
    def seed(self) -> str:
        """Fingerprint of the configured refresh token; empty if none is configured."""
        return fingerprint("kakao", self.refresh_token.get_secret_value()) if self.refresh_token else ""

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def own(self, tokens: TokenSet) -> bool:
        """False where tokens belong to another app, or to a login that the person replaced in the settings."""
        return tokens.client == self.client and (not self.seed or tokens.seed == self.seed)


class Tokens:
    """The current tokens of one Kakao account. Used by one thread at a time; by any number of processes.

    `start` are tokens just issued, that no file has yet.
    """

    def __init__(
        self,
        credentials: Credentials,
        path: Path,
        *,
        auth_url: str,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        clock: Clock = SYSTEM,
        start: TokenSet | None = None,
    ) -> None:
        self._credentials = credentials
        self._file = TokenFile(path, clock)
        self._http = FormClient(auth_url, timeout_s=timeout_s)
        self._clock = clock
        self._current = start
        self._refused: tuple[SecretStr, PermanentError] | None = None
        self.seed_outdated_at: datetime | None = None  # when this process exchanged the configured token for a new one
        secrets = (credentials.rest_api_key, credentials.client_secret, credentials.refresh_token)
        redaction.register(each.get_secret_value() for each in secrets if each)

    @property
    def refresh_expires_at(self) -> datetime | None:
        """Expiry of the refresh token, in UTC; None while unknown."""
        known = self._current or self._newest()
        return known.refresh_expires_at if known else None

    @property
    def client(self) -> str:
        """Fingerprint of the app's key."""
        return self._credentials.client

    @property
    def account(self) -> Account | None:
        """Account and receivers of the login that gave the current tokens; None if they come from the settings."""
        known = self._current or self._newest()
        return known.account if known else None

    def access_token(self) -> str:
        """A token that is good for at least a few minutes. Refreshes if needed; raises a DeliveryError if it cannot."""
        return _usable(self._current, self._clock.now()) or self.renewed(refused="")

    def renewed(self, refused: str) -> str:
        """Another access token than `refused`, which Kakao just turned down."""
        with self._file.locked():
            known = self._known()  # read under the lock: another job may have refreshed while we waited
            token = _usable(known, self._clock.now())
            if token and token != refused:
                self._current = known
                return token
            self._current = self._refreshed(known)
        token = _usable(self._current, self._clock.now(), margin=timedelta(0))
        if token is None:
            raise temporary("already-expired")
        return token

    def close(self) -> None:
        """Give back the sockets."""
        self._http.close()

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def _known(self) -> TokenSet:
        """The newest tokens, or the configured refresh token where there are none yet."""
        mine, newest = self._credentials, self._newest()
        if newest:
            register(newest)
            return newest
        if mine.refresh_token is None:
            raise permanent("no-token", path=str(self._file.path), setup=True)
        return TokenSet(mine.client, mine.seed, mine.refresh_token)

    def _newest(self) -> TokenSet | None:
        """The file's tokens or ours, whichever are newer."""
        ours = [each for each in (self._file.load(), self._current) if each and self._credentials.own(each)]
        return max(ours, key=_issued_order, default=None)  # on a full disk the file may be older than our copy

    def _refreshed(self, known: TokenSet) -> TokenSet:
        if self._refused and self._refused[0] == known.refresh_token:
            raise refused_again(self._refused[1])  # the answer would be the same
        cut_off = self._file.rotating_since(known)
        reply = self._asked(known, cut_off)
        if reply.status != 200:
            raise self._refusal(known, reply, cut_off)
        now = self._clock.now()
        fresh = issued(known, reply, now)
        if fresh.refresh_token != known.refresh_token == self._credentials.refresh_token:
            self.seed_outdated_at = now
        register(fresh)
        if not self._file.save(fresh) and fresh.refresh_token != known.refresh_token:
            _LOG.error("%s", reader_text("notifiers.kakao.tokens.refresh_token_in_memory_only", path=self._file.path))
        return fresh

    def _asked(self, known: TokenSet, cut_off: datetime | None) -> Reply:
        """Ask Kakao, with the mark on disk. `cut_off`: start of an earlier renewal that left its mark there."""
        ends, now = known.refresh_expires_at, self._clock.now()
        if cut_off is None and (ends is None or ends - now < ROTATES_WITHIN):
            self._file.begin_rotation(known, now)
        try:
            return self._http.post(TOKEN_PATH, self._form(known))
        except PermanentError:  # the address is malformed
            self._nothing_issued(cut_off)
            raise
        except TemporaryError as error:
            if not error.ambiguous:  # it never reached Kakao
                self._nothing_issued(cut_off)
            raise while_renewing(error) from None

    def _refusal(self, known: TokenSet, reply: Reply, cut_off: datetime | None) -> DeliveryError:
        """The error for an answer without tokens. One that leaves open whether Kakao issued any leaves the mark."""
        error_code = reply.text("error_code")
        error = sign_in_error(reply.status, error_code, retry_after_s=reply.retry_after_s)
        if not isinstance(error, PermanentError):
            return error
        self._nothing_issued(cut_off)
        if error_code == LOGIN_ENDED:
            error = rotation_lost(cut_off) if cut_off else error
            self._refused = (known.refresh_token, error)
        return error

    def _nothing_issued(self, cut_off: datetime | None) -> None:
        """End the mark of this renewal; what an earlier one left open stays open."""
        if cut_off is None:
            self._file.end_rotation()

    def _form(self, known: TokenSet) -> dict[str, str]:
        fields = {
            "grant_type": "refresh_token",
            "client_id": self._credentials.rest_api_key.get_secret_value(),
            "refresh_token": known.refresh_token.get_secret_value(),
        }
        secret = self._credentials.client_secret
        return fields | ({"client_secret": secret.get_secret_value()} if secret else {})


def _issued_order(tokens: TokenSet) -> float:
    return tokens.access_expires_at.timestamp() if tokens.access_expires_at else 0.0


def _usable(tokens: TokenSet | None, now: datetime, margin: timedelta = MARGIN) -> str | None:
    if tokens is None or tokens.access_token is None or tokens.access_expires_at is None:
        return None
    return tokens.access_token.get_secret_value() if now + margin < tokens.access_expires_at else None


def register(tokens: TokenSet) -> None:
    """Let the tokens be struck out of everything from now on."""
    access = tokens.access_token
    redaction.register([tokens.refresh_token.get_secret_value(), access.get_secret_value() if access else None])


class Api:
    """One account at Kakao. Open until `close`. Every method raises a DeliveryError that says what to do.

    `start` is as in `Tokens`.
    """

    def __init__(
        self,
        credentials: Credentials,
        token_file: Path,
        *,
        api_url: str,
        auth_url: str,
        clock: Clock,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        start: TokenSet | None = None,
    ) -> None:
        self.tokens = Tokens(credentials, token_file, auth_url=auth_url, timeout_s=timeout_s, clock=clock, start=start)
        self._http = FormClient(api_url, timeout_s=timeout_s)
        self._clock = clock

    def post(self, path: str, fields: dict[str, str]) -> Reply:
        """Post a form, and once more with a new token if Kakao turns the first down."""
        return self._call(lambda bearer: self._http.post(path, fields, bearer=bearer))

    def get(self, path: str, query: dict[str, str] | None = None) -> Reply:
        """Ask for a value, in the same way."""
        return self._call(lambda bearer: self._http.get(path, query, bearer=bearer))

    def upload(self, path: str, name: str, picture: bytes) -> Reply:
        """Upload a PNG, in the same way."""
        return self._call(lambda bearer: self._http.upload(path, name, picture, bearer=bearer))

    def user_id(self) -> int | None:
        """Kakao's number of the account, which proves that the login is good."""
        number = self._checked(self.get("/v1/user/access_token_info")).number("id")
        return None if number is None else int(number)

    def friends(self) -> list[Receiver]:
        """The friends that the app may write to, in Kakao's order."""
        found: list[Receiver] = []
        for page in range(_MOST_PAGES):
            query = {"limit": str(_PAGE), "offset": str(page * _PAGE)}
            elements = self._checked(self.get("/v1/api/talk/friends", query)).body.get("elements")
            listed = elements if isinstance(elements, list) else []
            for fields in (each for each in listed if isinstance(each, dict)):
                uuid, nickname = fields.get("uuid"), fields.get("profile_nickname")
                if isinstance(uuid, str) and uuid:
                    found.append(Receiver(uuid, nickname if isinstance(nickname, str) else ""))
            if len(listed) < _PAGE:
                break
        return found

    def sign_out(self) -> None:
        """End the current access token."""
        self._checked(self.post("/v1/user/logout", {}))

    def disconnect(self) -> None:
        """Take the app's connection to the account away: every token of it ends."""
        self._checked(self.post("/v1/user/unlink", {}))

    def error(self, reply: Reply, code: int | None = None) -> DeliveryError:
        """Return the error for a refusal. `code` replaces the reply's own."""
        code = code or (TOKEN_REFUSED if _refuses_token(reply) else reply.code)
        return api_error(
            reply.status, code, text=reply.text("msg"), now=self._clock.now(), retry_after_s=reply.retry_after_s,
            scopes=self._missing(reply),
        )  # fmt: skip

    def _missing(self, reply: Reply) -> list[str]:
        """The scopes that a refusal can be about: those it names, else all that the login's mode needs."""
        account = self.tokens.account
        ours = (account.mode if account else Mode.MEMO).scopes
        required, allowed = (reply.body.get(name) for name in ("required_scopes", "allowed_scopes"))
        named = required if isinstance(required, list) else []
        having = allowed if isinstance(allowed, list) else []
        return [scope for scope in ours if scope in named and scope not in having] or list(ours)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give back the sockets."""
        self._http.close()
        self.tokens.close()

    def __getstate__(self) -> object:
        raise not_pickled(self)

    def _call(self, ask: Callable[[str], Reply]) -> Reply:
        token = self.tokens.access_token()
        reply = ask(token)
        return ask(self.tokens.renewed(token)) if _refuses_token(reply) else reply

    def _checked(self, reply: Reply) -> Reply:
        if reply.status != 200:
            raise self.error(reply)
        return reply


def _refuses_token(reply: Reply) -> bool:
    return reply.code == TOKEN_REFUSED or (reply.code is None and reply.status == 401)
