"""What a person chose when signing in: which app, which way to be told, and who receives."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import SecretStr

from notifybot.errors import not_pickled

MOST_RECEIVERS = 5  # of one message, says Kakao


class Mode(StrEnum):
    """Which way messages go: to oneself, which does not ring, or from a spare account to friends."""

    MEMO = "memo"
    FRIEND = "friend"

    @property
    def scopes(self) -> tuple[str, ...]:
        """What the person has to agree to."""
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
