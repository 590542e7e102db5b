"""What Kakao's error codes mean for us: try again, wait for midnight, give up, or tell the person what to set up.

The logic reads `code` and `error_code` alone; Kakao calls their texts unstable. What they mean to a person stands in
`rendering.kakao_reasons`. https://developers.kakao.com/docs/ko/rest-api/error-code
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from notifybot.errors import DeliveryError, PermanentError, TemporaryError
from notifybot.notifiers import base as refusals
from notifybot.policy import next_midnight
from notifybot.rendering.delivery_reasons import in_words
from notifybot.rendering.kakao_reasons import RENEWING, SIGN_IN

SERVICE = "kakao"
_CODE = re.compile(r"KOE\d{3}")
TOKEN_REFUSED = -401
BAD_PARAMETER = -2
LOGIN_ENDED = "KOE322"

TEMPORARY = frozenset({-1, -7, -603, -9798})
NO_FRIEND = -502
AMBIGUOUS = frozenset({-603})  # sent or not, Kakao itself does not know
QUOTA = frozenset({-10, -531, -532, -533, -536})
_MESSAGE = frozenset({-2, -6, -8, -9})
_SETUP = frozenset({-3, -4, -5, -11, -12, -101, -103, -401, -402, -405, -406, -501, -504, -530, -903})
NO_FRIEND_AGAIN_S = 600.0
NO_FRIEND_PATIENCE_S = 3600.0
_CONSENT = frozenset({-3, -402})  # off in the app, or not agreed to by the person
_SIGN_IN_TEMPORARY = frozenset({"KOE003", "KOE237"})  # a fault of the service, and a limit on its rate


class Refused(PermanentError):
    """Kakao will not do this as things stand. `code` is the login's ("KOE322"), the API's ("-101") or our own."""


def temporary(
    code: str, *, retry_after_s: float | None = None, ambiguous: bool = False, **values: str
) -> TemporaryError:
    """A TemporaryError that says why by a code of `rendering.kakao_reasons`."""
    return refusals.temporary(SERVICE, code, retry_after_s=retry_after_s, ambiguous=ambiguous, **values)


def permanent(code: str, *, setup: bool = False, **values: str) -> PermanentError:
    """A PermanentError that says why by a code of `rendering.kakao_reasons`."""
    return refusals.permanent(SERVICE, code, setup=setup, **values)


def while_renewing(error: TemporaryError) -> TemporaryError:
    """The same fault, where it kept a login from being renewed; never ambiguous: no message was on its way."""
    code = f"{RENEWING}{error.code}"
    return TemporaryError(in_words(SERVICE, code, error.values), service=SERVICE, code=code, values=error.values)


def refused_again(error: PermanentError) -> Refused:
    """The same refusal, for another try that was not made."""
    return _refused(error.code, **error.values)


def rotation_lost(since: datetime) -> Refused:
    """KOE322 for a token that a renewal begun at `since` was to replace, and no answer to it was ever stored."""
    return _refused("rotation-lost", since=f"{since.astimezone():%Y-%m-%d %H:%M}")


def _refused(code: str, **values: str) -> Refused:
    return Refused(in_words(SERVICE, code, values), setup=True, service=SERVICE, code=code, values=values)


def api_error(
    status: int, code: int | None, *, text: str, now: datetime, retry_after_s: float | None, scopes: Sequence[str] = ()
) -> DeliveryError:
    """Turn a refusal of kapi.kakao.com into the error to raise.

    `text` is Kakao's own; it is read only to tell an address refusal from a token refusal, and is never repeated.
    `scopes` are those that it may be about.
    """
    if code in QUOTA:
        return temporary(str(code), retry_after_s=(next_midnight(now) - now).total_seconds())
    if code in TEMPORARY:
        return temporary(str(code), retry_after_s=retry_after_s, ambiguous=code in AMBIGUOUS)
    if code == TOKEN_REFUSED and "ip mismatch" in text.lower():
        return _refused("ip")
    if code == NO_FRIEND:
        return friend_error(0.0)
    if code in _CONSENT and scopes:
        return _refused(str(code), scopes=", ".join(scopes))
    if code in _SETUP:
        return _refused(str(code))
    if code in _MESSAGE:
        return permanent(str(code))
    return _by_status(status, code, retry_after_s)


def friend_error(waited_s: float) -> DeliveryError:
    """A receiver of whom Kakao has said for `waited_s` that it is no friend.

    Kakao keeps the list of friends for a while and advises to try again when that is over, so a new friend gets the
    message later. Without end it is not tried: the person has to choose again.
    """
    if waited_s < NO_FRIEND_PATIENCE_S:
        return temporary(str(NO_FRIEND), retry_after_s=NO_FRIEND_AGAIN_S)
    return _refused(str(NO_FRIEND))


def _by_status(status: int, code: int | None, retry_after_s: float | None) -> DeliveryError:
    named = f"HTTP {status}" if code is None else f"HTTP {status}, code {code}"
    if status in (408, 425, 429):
        return temporary("slow-down", named=named, retry_after_s=retry_after_s)
    if status >= 500:
        return temporary("failing", named=named, retry_after_s=retry_after_s, ambiguous=True)
    if status >= 400:
        return permanent("refused", named=named)
    return temporary("unknown-answer", named=named, ambiguous=True)


def sign_in_error(status: int, error_code: str, *, retry_after_s: float | None) -> DeliveryError:
    """Turn a refusal of kauth.kakao.com into the error to raise. No message was sent, so nothing is ambiguous."""
    named = ", ".join(filter(None, (error_code, f"HTTP {status}")))
    if error_code in SIGN_IN and error_code not in _SIGN_IN_TEMPORARY:
        return _refused(error_code, http=f"HTTP {status}")
    if error_code in _SIGN_IN_TEMPORARY or status >= 500 or status in (408, 425, 429):
        return temporary("sign-in-failing", named=named, retry_after_s=retry_after_s)
    if status >= 400:
        return _refused(error_code if _CODE.fullmatch(error_code) else "sign-in-refused", named=named)
    return temporary("sign-in-unknown", named=named)
