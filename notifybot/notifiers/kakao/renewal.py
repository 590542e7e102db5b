"""A process of its own that renews a login where that may bring a new refresh token: a kill of ours cannot lose it.

Between Kakao's answer and our disk nobody else has the new token, and the old one is no good any more
(https://devtalk.kakao.com/t/topic/126899). So that step is done by a child that has left our session, shares our lock
and stores what it gets.
"""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notifybot.clock import SYSTEM
from notifybot.errors import DeliveryError, PermanentError
from notifybot.files import POSIX
from notifybot.notifiers.kakao.codes import permanent, temporary
from notifybot.notifiers.kakao.http import FormClient, Reply
from notifybot.notifiers.kakao.oauth import TOKEN_PATH
from notifybot.notifiers.kakao.token_file import TokenFile, TokenSet, from_fields, issued, to_fields

_LOG = logging.getLogger("notifybot")
_READY = b"ready\n"
_MOST_S = 40.0  # beyond every timeout of a request, within a delivery's lease
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from {module} import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Order:
    """One renewal. `lock` is the file descriptor that keeps other jobs out, None where there is none."""

    auth_url: str
    timeout_s: tuple[float, float]
    fields: dict[str, str]
    known: TokenSet
    path: Path
    lock: int | None


Renew = Callable[[Order], Reply]


def apart(order: Order) -> Reply:
    """Have the renewal done by a child, which stores the tokens before it answers; here, where none can be started.

    Raises a DeliveryError as `FormClient.post` does.
    """
    child = _started(order.lock)
    if child is None:
        return _asked(order.auth_url, order.timeout_s, order.fields)
    text = json.dumps({
        "auth_url": order.auth_url, "timeout_s": order.timeout_s, "fields": order.fields,
        "known": to_fields(order.known), "path": str(order.path),
    })  # fmt: skip
    try:
        output, _ = child.communicate(text.encode(), timeout=_MOST_S)
        return _reply(json.loads(output))
    except subprocess.TimeoutExpired:
        raise temporary("too-slow") from None
    except (OSError, ValueError, KeyError, TypeError):  # it died: it was killed as well, or ran out of memory
        raise temporary("cut-off") from None


def _started(lock: int | None) -> subprocess.Popen[bytes] | None:
    """A child that waits for its order with everything imported; None, logged, where none comes to that."""
    line = [sys.executable, "-c", _START.format(module=__name__), json.dumps(sys.path)]
    try:
        child = subprocess.Popen(
            line,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # what is sent to our group does not reach it
            pass_fds=() if lock is None or not POSIX else (lock,),
        )
    except (OSError, RuntimeError, ValueError) as error:
        _LOG.debug("the Kakao login is renewed without a child (%s)", type(error).__name__)
        return None
    if child.stdout and child.stdout.readline() == _READY:
        return child
    with child:
        child.kill()
    return None


def main() -> int:
    """Carry out the order on stdin: ask Kakao, store what it gives, and only then print the answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.alarm(int(_MOST_S))
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    text = sys.stdin.buffer.read()
    if not text:  # who ordered is gone before the order
        return 0
    order = json.loads(text)
    try:
        reply = _asked(order["auth_url"], tuple(order["timeout_s"]), order["fields"])
        _keep(order, reply)
        answer = {"status": reply.status, "body": reply.body, "retry_after_s": reply.retry_after_s}
    except DeliveryError as error:
        answer = {"code": error.code, "values": error.values, "permanent": isinstance(error, PermanentError)}
    sys.stdout.buffer.write(json.dumps(answer).encode())
    return 0


def _keep(order: dict[str, Any], reply: Reply) -> None:
    if reply.status == 200:
        tokens = issued(from_fields(order["known"]), reply, SYSTEM.now())
        TokenFile(Path(order["path"]), SYSTEM).save(tokens)


def _asked(auth_url: str, timeout_s: tuple[float, float], fields: dict[str, str]) -> Reply:
    http = FormClient(auth_url, timeout_s=timeout_s)
    try:
        return http.post(TOKEN_PATH, fields)
    finally:
        http.close()


def _reply(answer: dict[str, Any]) -> Reply:
    if "permanent" in answer:
        code, values = str(answer["code"]), dict(answer["values"])
        raise permanent(code, setup=True, **values) if answer["permanent"] else temporary(code, **values)
    return Reply(answer["status"], answer["body"], answer["retry_after_s"])
