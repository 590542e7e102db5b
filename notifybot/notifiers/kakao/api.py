"""Calls of kapi.kakao.com with a login that renews itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from notifybot.clock import Clock
from notifybot.errors import DeliveryError, not_pickled
from notifybot.notifiers.kakao.http import TIMEOUT_S, TOKEN_REFUSED, FormClient, Reply, api_error
from notifybot.notifiers.kakao.token_store import Mode, Receiver, TokenSet
from notifybot.notifiers.kakao.tokens import Credentials, Tokens

_PAGE = 100  # friends, the most that one answer holds
_MOST_PAGES = 20


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
            found += [each for each in map(_receiver, listed) if each]
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


def _receiver(element: object) -> Receiver | None:
    fields = element if isinstance(element, dict) else {}
    uuid, nickname = fields.get("uuid"), fields.get("profile_nickname")
    return Receiver(uuid, nickname if isinstance(nickname, str) else "") if isinstance(uuid, str) and uuid else None
