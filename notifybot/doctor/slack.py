"""Slack, asked without a trace in the channel: who the token is, what it may do, whether it may write there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from notifybot.clock import Clock
from notifybot.config import Config
from notifybot.doctor.findings import Finding, note, ok, wrong
from notifybot.doctor.slack_words import EXPLAINED, UNREACHABLE
from notifybot.errors import DeliveryError
from notifybot.notifiers.base import is_loopback
from notifybot.notifiers.slack.api import SlackRefused, WebApi, header
from notifybot.notifiers.slack.manifest import SCOPES
from notifybot.rendering.both import Both
from notifybot.rendering.error_text import error_line
from notifybot.types import Language

PART = "Slack"
_LATEST_SKEW_S = 60.0  # scheduled messages and signatures rest on the clock, and both allow about five minutes
_PROBE_IN = timedelta(hours=26)  # long enough to be taken back for sure
_PROBE = "notifybot checked that it may write here. This was to be taken back before anybody reads it: ignore it."


class Bot:
    """A bot token, and what Slack's answers to it say beside what was asked: scopes and the time."""

    def __init__(self, token: str, url: str, clock: Clock) -> None:
        self._api = _Listener(token, url, clock=clock)
        self._clock = clock

    def findings(self, channel: str | None) -> list[Finding]:
        """Everything that can be known of the bot, worst obstacles first; what depends on them is left out."""
        token = self.token()
        if token.remedy is not None:
            return [token]
        return [token, self.scopes(), *self.time(), *([self.channel(channel)] if channel else [])]

    def token(self) -> Finding:
        """Whether Slack knows the token, and who it is there."""
        try:
            answer = self._api.call("auth.test")
        except DeliveryError as error:
            return explain(error)
        return ok(PART, _TOKEN_WORKS.filled(bot=answer.get("user", "?"), team=answer.get("team", "?")))

    def scopes(self) -> Finding:
        """Whether the token may do all that the bot does."""
        granted = header(self._api.heard, "X-OAuth-Scopes")
        if granted is None:
            return note(PART, _SCOPES_UNKNOWN)
        missing = [scope for scope in SCOPES if scope not in granted.replace(" ", "").split(",")]
        if not missing:
            return ok(PART, _SCOPES_THERE.filled(scopes=", ".join(SCOPES)))
        return wrong(PART, _SCOPES_MISSING.filled(scopes=", ".join(missing)), EXPLAINED["missing_scope"].remedy)

    def time(self) -> list[Finding]:
        """How far this machine's clock is from Slack's."""
        theirs = self._server_time()
        if theirs is None:
            return []
        skew_s = (self._clock.now() - theirs).total_seconds()
        if abs(skew_s) <= _LATEST_SKEW_S:
            return [ok("clock", _CLOCK_RIGHT)]
        return [wrong("clock", (_CLOCK_FAST if skew_s > 0 else _CLOCK_SLOW).filled(s=round(abs(skew_s))), _SET_CLOCK)]

    def channel(self, channel: str) -> Finding:
        """Whether the bot may write into the channel: a message is scheduled for tomorrow and taken back at once."""
        post_at = int(((self._server_time() or self._clock.now()) + _PROBE_IN).timestamp())
        try:
            answer = self._api.call("chat.scheduleMessage", channel=channel, post_at=post_at, text=_PROBE)
        except DeliveryError as error:
            return explain(error, channel)
        place, number = str(answer.get("channel") or channel), str(answer.get("scheduled_message_id"))
        if self._taken_back(place, number):
            return ok(PART, _MAY_WRITE.filled(channel=channel))
        return note(PART, _PROBE_LEFT.filled(channel=channel))

    def _taken_back(self, channel: str, number: str) -> bool:
        for _ in range(2):
            try:
                self._api.call("chat.deleteScheduledMessage", channel=channel, scheduled_message_id=number)
            except SlackRefused as error:
                return error.code == "invalid_scheduled_message_id"  # it was taken back, only the answer got lost
            except DeliveryError:
                continue
            return True
        return False

    def _server_time(self) -> datetime | None:
        try:
            return parsedate_to_datetime(header(self._api.heard, "Date") or "").astimezone(UTC)
        except ValueError:
            return None


class _Listener(WebApi):
    """Keeps the headers of the latest answer."""

    heard: Mapping[str, object] = {}

    def _heard(self, headers: Mapping[str, object]) -> None:
        super()._heard(headers)
        self.heard = headers


def explain(error: DeliveryError, channel: str = "") -> Finding:
    """What an error of Slack's means to a person, and the way out."""
    told = Both(*(error_line(error, each).removeprefix(f"{PART}: ") for each in (Language.EN, Language.KO)))
    known = EXPLAINED.get(error.code) if isinstance(error, SlackRefused) else UNREACHABLE
    if known is None:
        return wrong(PART, told, _LOOK_IT_UP)
    name = channel.removeprefix("#")
    what = Both(known.what.en.format(channel=name, error=told.en), known.what.ko.format(channel=name, error=told.ko))
    return wrong(PART, what, known.remedy)


def examine(config: Config, clock: Clock) -> list[Finding]:
    """Everything about Slack as it is configured."""
    found: list[Finding] = []
    if config.slack_bot_token is not None:
        bot = Bot(config.slack_bot_token.get_secret_value(), config.slack_api_url, clock)
        found += bot.findings(config.slack_channel)
    if config.slack_webhook_url is not None:
        url = config.slack_webhook_url.get_secret_value()
        found += [note(PART, _WEBHOOK_SECOND)] if found else [note(PART, _WEBHOOK, _TRY_WEBHOOK), *like_slack(url)]
    return found or [note(PART, _NOT_SET_UP, _SET_UP)]


def like_slack(url: str) -> list[Finding]:
    """What a server that takes Slack's messages cannot do, by its address; nothing of Slack's own and this machine."""
    address = urlsplit(url)
    host = (address.hostname or "").lower()
    if host.removeprefix("hooks.") in _SLACKS or is_loopback(url):
        return []
    if host.endswith(_DISCORDS) and not address.path.rstrip("/").endswith("/slack"):
        return [wrong(PART, _DISCORD, _DISCORD_SLACK)]
    name = next((name for mark, name in _MARKS if mark.fullmatch(host + address.path)), host)
    return [note(PART, _LIKE_SLACK.filled(name=name), _OTHER_WAYS)]


_SLACKS = ("slack.com", "slack-gov.com")
_DISCORDS = ("discord.com", "discordapp.com")
_MARKS = (  # where each says that its webhooks are; of others the host is named
    (re.compile(r"(.*\.)?discord(app)?\.com/.*"), "Discord"),
    (re.compile(r"[^/]*(mattermost|chat)[^/]*/hooks/[a-z0-9]{26}/?"), "Mattermost"),
    (re.compile(r"[^/]+/hooks/[A-Za-z0-9]{17,24}/[A-Za-z0-9]+/?"), "Rocket.Chat"),
    (re.compile(r"[^/]+/hooks/[a-z0-9]{26}/?"), "Mattermost"),
    (re.compile(r"[^/]+/api/v1/external/slack(_incoming)?/?"), "Zulip"),
)
_LIKE_SLACK = Both(
    "the webhook is not Slack's but of {name}: it may show less of a message (no table, no bar), has no thread, "
    "and nothing there tells of a run that falls silent",
    "Slack이 아닌 {name}의 웹훅입니다. 표나 진행 막대가 보이지 않을 수 있고, 스레드가 없으며, "
    "소식이 끊긴 실행을 알려 주지 않습니다",
)
_OTHER_WAYS = Both(
    "look at one message: notifybot test -n slack -k run_ended; Apprise (NOTIFYBOT_APPRISE_URLS) speaks to many such "
    "servers in their own way, and the watchdog tells of silence",
    "메시지를 하나 보내 확인하세요: notifybot test -n slack -k run_ended. Apprise(NOTIFYBOT_APPRISE_URLS)는 여러 "
    "서버에 맞는 형식으로 보내고, 소식이 끊긴 것은 감시 서버가 알립니다",
)
_DISCORD = Both(
    "Discord takes Slack's messages only at an address that ends with /slack",
    "Discord는 /slack으로 끝나는 주소에서만 Slack 형식의 메시지를 받습니다",
)
_DISCORD_SLACK = Both(
    "add /slack to NOTIFYBOT_SLACK_WEBHOOK_URL, or use Apprise: NOTIFYBOT_APPRISE_URLS=discord://…",
    "NOTIFYBOT_SLACK_WEBHOOK_URL 끝에 /slack을 붙이거나 Apprise를 쓰세요: NOTIFYBOT_APPRISE_URLS=discord://…",
)
_TOKEN_WORKS = Both("the token works: {bot} in {team}", "토큰이 유효합니다: {team} 워크스페이스의 {bot}")
_SCOPES_THERE = Both("all scopes are there: {scopes}", "필요한 권한이 모두 있습니다: {scopes}")
_SCOPES_MISSING = Both("scopes are missing: {scopes}", "권한이 부족합니다: {scopes}")
_SCOPES_UNKNOWN = Both("Slack did not say which scopes the token has", "Slack이 토큰의 권한을 알려 주지 않았습니다")
_CLOCK_RIGHT = Both("this machine's clock agrees with Slack's", "이 컴퓨터의 시계가 Slack의 시각과 맞습니다")
_CLOCK_FAST = Both("this machine's clock is {s} seconds fast", "이 컴퓨터의 시계가 {s}초 빠릅니다")
_CLOCK_SLOW = Both("this machine's clock is {s} seconds slow", "이 컴퓨터의 시계가 {s}초 느립니다")
_SET_CLOCK = Both(
    "set it by the network (timedatectl set-ntp true): times in messages and the alarm for a silent run rest on it",
    "네트워크 시간 동기화를 켜세요(timedatectl set-ntp true). 메시지의 시각과 연결 끊김 알림이 이 시계를 따릅니다",
)
_MAY_WRITE = Both("the bot may write into {channel}", "봇이 {channel} 채널에 글을 쓸 수 있습니다")
_PROBE_LEFT = Both(
    "the bot may write into {channel}, but a scheduled trial message could not be taken back: ignore it tomorrow",
    "봇이 {channel} 채널에 글을 쓸 수 있습니다. 예약한 시험 메시지를 취소하지 못했으니 내일 보이면 무시하세요",
)
_WEBHOOK = Both(
    "a webhook is set; whether it works cannot be seen without posting",
    "웹훅이 설정되어 있습니다. 실제로 보내 보지 않고는 동작 여부를 확인할 수 없습니다",
)
_TRY_WEBHOOK = Both(
    "post one message: notifybot test -n slack -k run_started",
    "메시지를 하나 보내 보세요: notifybot test -n slack -k run_started",
)
_WEBHOOK_SECOND = Both("the webhook is not used: the bot is set up too", "봇이 설정되어 있어 웹훅은 쓰지 않습니다")
_NOT_SET_UP = Both("Slack is not set up", "Slack이 설정되어 있지 않습니다")
_SET_UP = Both(
    "to be told there: notifybot slack setup", "Slack으로 알림을 받으려면 notifybot slack setup을 실행하세요"
)
_LOOK_IT_UP = Both(
    "Slack's list of errors says more: https://docs.slack.dev/reference/methods/chat.postMessage#errors",
    "Slack의 오류 목록을 확인하세요: https://docs.slack.dev/reference/methods/chat.postMessage#errors",
)
