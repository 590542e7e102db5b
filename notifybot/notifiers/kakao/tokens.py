"""Access tokens: cached, refreshed a little before they end, shared by all jobs that use one token file.

Kakao's access token lives about 6 hours and its refresh token about 60 days. A refresh in the last month brings a
new refresh token, which is on disk before anything else is done: nobody else has a copy.
https://developers.kakao.com/docs/latest/ko/kakaologin/rest-api
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import SecretStr

from notifybot import redaction
from notifybot.clock import SYSTEM, Clock
from notifybot.errors import PermanentError, TemporaryError
from notifybot.notifiers.base import fingerprint
from notifybot.notifiers.kakao.codes import LOGIN_ENDED, sign_in_error
from notifybot.notifiers.kakao.http import TIMEOUT_S, FormClient, Reply
from notifybot.notifiers.kakao.token_file import TokenFile, TokenSet

_LOG = logging.getLogger(__name__)
MARGIN = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the settings say. `refresh_token` may be left out where a token file has one."""

    rest_api_key: SecretStr
    client_secret: SecretStr | None = None
    refresh_token: SecretStr | None = None

    @property
    def client(self) -> str:
        """The app, without giving its key away."""
        return fingerprint("kakao", self.rest_api_key.get_secret_value())

    @property
    def seed(self) -> str:
        """The configured refresh token, without giving it away; empty where none is configured."""
        return fingerprint("kakao", self.refresh_token.get_secret_value()) if self.refresh_token else ""


class Tokens:
    """The current tokens of one Kakao account. Used by one thread at a time; by any number of processes."""

    def __init__(
        self,
        credentials: Credentials,
        path: Path,
        *,
        auth_url: str,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        clock: Clock = SYSTEM,
    ) -> None:
        self._credentials = credentials
        self._file = TokenFile(path, clock)
        self._http = FormClient(auth_url, timeout_s=timeout_s)
        self._clock = clock
        self._current: TokenSet | None = None
        self._refused: tuple[SecretStr, PermanentError] | None = None
        self.seed_outdated_at: datetime | None = None  # when this process swapped the configured token for a new one
        secrets = (credentials.rest_api_key, credentials.client_secret, credentials.refresh_token)
        redaction.register(each.get_secret_value() for each in secrets if each)

    @property
    def refresh_expires_at(self) -> datetime | None:
        """When the refresh token dies, in UTC; None while that is unknown."""
        known = self._current or self._newest()
        return known.refresh_expires_at if known else None

    def access_token(self) -> str:
        """A token that is good for at least a few minutes. Refreshes if needed; raises a DeliveryError if it cannot."""
        token = _usable(self._current, self._clock.now())
        return token or self._renew(refused="")

    def renewed(self, refused: str) -> str:
        """Another access token than `refused`, which Kakao just turned down."""
        return self._renew(refused)

    def close(self) -> None:
        """Give back the sockets."""
        self._http.close()

    def __getstate__(self) -> object:
        raise TypeError("tokens are not pickled: a pickle would hold them in plain text")

    def _renew(self, refused: str) -> str:
        with self._file.locked():
            known = self._known()  # read under the lock: another job may have refreshed while we waited
            token = _usable(known, self._clock.now())
            if token and token != refused:
                self._current = known
                return token
            self._current = self._refreshed(known)
        token = _usable(self._current, self._clock.now(), margin=timedelta(0))
        if token is None:
            raise TemporaryError("Kakao login gave a token that is already expired; is this machine's clock right?")
        return token

    def _known(self) -> TokenSet:
        """The newest tokens, or the configured refresh token where there are none yet."""
        mine, newest = self._credentials, self._newest()
        if newest:
            _register(newest)
            return newest
        if mine.refresh_token is None:
            raise PermanentError(
                f"{self._file.path} holds no token for this kakao_rest_api_key; set kakao_refresh_token", setup=True
            )
        return TokenSet(mine.client, mine.seed, mine.refresh_token)

    def _newest(self) -> TokenSet | None:
        """The file's tokens or ours, unless they belong to another app or to a login that the person replaced."""
        mine = self._credentials
        ours = [
            each
            for each in (self._file.load(), self._current)
            if each and each.client == mine.client and (not mine.seed or each.seed == mine.seed)
        ]
        return max(ours, key=_issued_order, default=None)  # a full disk can leave the file behind what we hold

    def _refreshed(self, known: TokenSet) -> TokenSet:
        if self._refused and self._refused[0] == known.refresh_token:
            raise PermanentError(str(self._refused[1]), setup=True)  # asking again would only ask again
        reply = self._asked(known)
        if reply.status != 200:
            error_code = reply.text("error_code")
            error = sign_in_error(reply.status, error_code, retry_after_s=reply.retry_after_s)
            if isinstance(error, PermanentError) and error_code == LOGIN_ENDED:
                self._refused = (known.refresh_token, error)
            raise error
        issued = self._issued(known, reply)
        _register(issued)
        if not self._file.save(issued) and issued.refresh_token != known.refresh_token:
            _LOG.error("the new Kakao refresh token lives in memory alone; make %s writable", self._file.path)
        return issued

    def _asked(self, known: TokenSet) -> Reply:
        try:
            return self._http.post("/oauth/token", self._form(known))
        except TemporaryError as error:  # never ambiguous: no message was on its way
            raise TemporaryError(f"the Kakao login could not be renewed: {error}") from None

    def _form(self, known: TokenSet) -> dict[str, str]:
        fields = {
            "grant_type": "refresh_token",
            "client_id": self._credentials.rest_api_key.get_secret_value(),
            "refresh_token": known.refresh_token.get_secret_value(),
        }
        secret = self._credentials.client_secret
        return fields | ({"client_secret": secret.get_secret_value()} if secret else {})

    def _issued(self, known: TokenSet, reply: Reply) -> TokenSet:
        now = self._clock.now()
        access, lives_s = reply.text("access_token"), reply.number("expires_in")
        if not access or lives_s is None:
            raise sign_in_error(reply.status, "", retry_after_s=None)
        issued = replace(known, access_token=SecretStr(access), access_expires_at=_later(now, lives_s))
        refresh = reply.text("refresh_token")
        if not refresh:
            return issued
        if known.refresh_token == self._credentials.refresh_token:
            self.seed_outdated_at = now
        dies_s = reply.number("refresh_token_expires_in")
        dies_at = None if dies_s is None else _later(now, dies_s)
        return replace(issued, refresh_token=SecretStr(refresh), refresh_expires_at=dies_at)


def _later(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=min(seconds, 10 * 365 * 86400.0))


def _issued_order(tokens: TokenSet) -> float:
    return tokens.access_expires_at.timestamp() if tokens.access_expires_at else 0.0


def _usable(tokens: TokenSet | None, now: datetime, margin: timedelta = MARGIN) -> str | None:
    if tokens is None or tokens.access_token is None or tokens.access_expires_at is None:
        return None
    return tokens.access_token.get_secret_value() if now + margin < tokens.access_expires_at else None


def _register(tokens: TokenSet) -> None:
    access = tokens.access_token
    redaction.register([tokens.refresh_token.get_secret_value(), access.get_secret_value() if access else None])
