"""KakaoTalk "send to me": the message lands in the person's own chat room, 나와의 채팅. Such a memo does not ring."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

from notifybot import redaction
from notifybot.clock import SYSTEM, Clock
from notifybot.model import Language
from notifybot.notifiers.base import Envelope
from notifybot.notifiers.kakao import template
from notifybot.notifiers.kakao.codes import BAD_PARAMETER, TOKEN_REFUSED, api_error
from notifybot.notifiers.kakao.http import TIMEOUT_S, FormClient, Reply
from notifybot.notifiers.kakao.tokens import Credentials, Tokens
from notifybot.policy import Pace, day_of

SEND_PATH = "/v2/api/talk/memo/default/send"
WARN_BEFORE = timedelta(days=14)

_EXPIRES = {
    Language.EN: "The Kakao login ends on {day}. Sign in again before then.",
    Language.KO: "카카오 로그인이 {day}에 만료됩니다. 그 전에 다시 로그인해 주세요.",
}
_OUTDATED = {
    Language.EN: "The configured Kakao refresh token ends within a month. Sign in again and replace it.",
    Language.KO: "설정해 둔 카카오 리프레시 토큰이 한 달 안에 만료됩니다. 다시 로그인해 토큰을 바꿔 주세요.",
}


class KakaoMemo:
    """Tells one person, through the KakaoTalk account that signed in."""

    name = "kakao"
    pace = Pace(gap_s=1.0, progress_gap_s=900.0, daily_budget=20, reserved=8, wants_checkpoints=False)

    def __init__(
        self,
        credentials: Credentials,
        token_file: Path,
        *,
        api_url: str = "https://kapi.kakao.com",
        auth_url: str = "https://kauth.kakao.com",
        link_url: str | None = None,
        language: Language = Language.EN,
        timeout_s: tuple[float, float] = TIMEOUT_S,
        clock: Clock = SYSTEM,
    ) -> None:
        redaction.guard_loggers()
        self.key = f"kakao:{credentials.client}"
        self._link_url = link_url
        self._language = language
        self._clock = clock
        self._http = FormClient(api_url, timeout_s=timeout_s)
        self._tokens = Tokens(credentials, token_file, auth_url=auth_url, timeout_s=timeout_s, clock=clock)

    @property
    def expires_at(self) -> datetime | None:
        """When the refresh token dies, in UTC; None while that is unknown."""
        return self._tokens.refresh_expires_at

    def expiring_warning(self, now: datetime) -> str | None:
        """One line for the person when the login needs renewing soon, else None.

        Also on the day that a configured token was exchanged: its last month has begun, and a machine that forgets
        its disk (Colab) will start from it again.
        """
        outdated_at = self._tokens.seed_outdated_at
        if self.expires_at and self.expires_at - now <= WARN_BEFORE:
            return _EXPIRES[self._language].format(day=day_of(self.expires_at))
        if outdated_at and now - outdated_at < timedelta(days=1):
            return _OUTDATED[self._language]
        return None

    def send(self, envelope: Envelope) -> None:
        """Send as a feed with a table, and as plain text where Kakao refuses the feed."""
        token = self._tokens.access_token()  # first of all: it tells when the login ends
        note = self._note(envelope)
        whole = template.template_for(envelope.message, link=self._link_url, note=note)
        reply = self._post(whole, token)
        if reply.code == BAD_PARAMETER and whole["object_type"] == "feed":
            reply = self._post(template.text(envelope.message, link=self._link_url, note=note))
        self._check(reply)
        if note:
            envelope.memory.put("", envelope.memory.get("") | {"warned_on": day_of(self._clock.now())})

    def close(self) -> None:
        """Give back the sockets."""
        self._http.close()
        self._tokens.close()

    def __getstate__(self) -> object:
        raise TypeError("a KakaoMemo is not pickled: a pickle would hold its tokens in plain text")

    def _note(self, envelope: Envelope) -> str:
        now = self._clock.now()
        warning = self.expiring_warning(now)
        told = envelope.memory.get("").get("warned_on") == day_of(now) if warning else True
        return "" if told else warning or ""

    def _post(self, body: template.Template, token: str | None = None) -> Reply:
        """Post with the current token, and once more with a new one if Kakao turns the first down."""
        token = token or self._tokens.access_token()
        fields = {"template_object": json.dumps(body, ensure_ascii=False)}
        reply = self._http.post(SEND_PATH, fields, bearer=token)
        if not _refuses_token(reply):
            return reply
        return self._http.post(SEND_PATH, fields, bearer=self._tokens.renewed(token))

    def _check(self, reply: Reply) -> None:
        if reply.status == 200 and reply.number("result_code") == 0:
            return
        code = TOKEN_REFUSED if _refuses_token(reply) else reply.code
        raise api_error(
            reply.status, code, text=reply.text("msg"), now=self._clock.now(), retry_after_s=reply.retry_after_s
        )


def _refuses_token(reply: Reply) -> bool:
    return reply.code == TOKEN_REFUSED or (reply.code is None and reply.status == 401)
