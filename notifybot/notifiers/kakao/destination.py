"""Where a message goes: to oneself, or to friends. What is asked of Kakao, and how its answer is read. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from notifybot.notifiers.kakao.account import Account, Mode
from notifybot.notifiers.kakao.http import Reply

MEMO_PATH = "/v2/api/talk/memo/default/send"
FRIENDS_PATH = "/v1/api/talk/friends/message/default/send"
MYSELF = "me"


@dataclass(frozen=True, slots=True)
class Failure:
    """Receivers whom a message did not reach, and Kakao's code for why."""

    code: int | None
    receivers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Destination:
    """The receivers of one message: `MYSELF` for a memo, else the uuids of friends."""

    mode: Mode
    receivers: tuple[str, ...]

    @property
    def path(self) -> str:
        return MEMO_PATH if self.mode is Mode.MEMO else FRIENDS_PATH

    def fields(self, template: dict[str, Any]) -> dict[str, str]:
        """The form of a message: JSON inside form fields, as Kakao wants it."""
        form = {"template_object": json.dumps(template, ensure_ascii=False)}
        return form if self.mode is Mode.MEMO else form | {"receiver_uuids": json.dumps(list(self.receivers))}

    def failures(self, reply: Reply) -> tuple[Failure, ...] | None:
        """Whom a message that was taken did not reach; None where it was not taken at all.

        Kakao answers 200 when some friends got it and others did not.
        """
        if reply.status != 200:
            return None
        if self.mode is Mode.MEMO:
            return () if reply.number("result_code") == 0 else None
        reached = reply.body.get("successful_receiver_uuids")
        if not isinstance(reached, list) or not reached:
            return None
        told = [_failure(each) for each in _list(reply.body.get("failure_info"))]
        return tuple(each for each in told if each.receivers)


def destination_of(account: Account | None, *, without: frozenset[str] = frozenset()) -> Destination:
    """Where a login's messages go, without the receivers who have this one already."""
    if account is None or account.mode is Mode.MEMO:
        return Destination(Mode.MEMO, (MYSELF,))
    return Destination(Mode.FRIEND, tuple(each.uuid for each in account.receivers if each.uuid not in without))


def _failure(info: object) -> Failure:
    fields = info if isinstance(info, dict) else {}
    code = fields.get("code")
    uuids = tuple(each for each in _list(fields.get("receiver_uuids")) if isinstance(each, str))
    return Failure(code if isinstance(code, int) else None, uuids)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
