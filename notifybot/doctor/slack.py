"""Examination of Slack without a trace in the channel: token, scopes, clock, channel, and the kind of webhook."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from notifybot.clock import Clock
from notifybot.config import Config
from notifybot.doctor.findings import Finding, note, ok, wrong
from notifybot.errors import DeliveryError, reader_text
from notifybot.notifiers.base import is_loopback
from notifybot.notifiers.slack.api import SlackRefused, WebApi, header
from notifybot.notifiers.slack.manifest import SCOPES
from notifybot.rendering.error_text import PASTE_MANIFEST, error_line, explained, slack_error
from notifybot.types import Language

PART = "Slack"
_LATEST_SKEW_S = 60.0  # scheduled messages and signatures rest on the clock, and both allow about five minutes
_PROBE_IN = timedelta(hours=26)  # far enough ahead to be cancelled for sure


class Bot:
    """Examination of a bot token; scopes and server time come from the headers of Slack's answers."""

    def __init__(self, token: str, url: str, clock: Clock) -> None:
        self._api = WebApi(token, url, clock=clock, on_headers=self._keep_headers)
        self._headers: Mapping[str, object] = {}  # of the latest answer
        self._clock = clock

    def findings(self, *channels: str) -> list[Finding]:
        """Return all findings on the bot, worst obstacles first; those that depend on a fault are left out."""
        token = self.token()
        if token.remedy is not None:
            return [token]
        return [token, self.scopes(), *self.time(), *map(self.channel, channels)]

    def _keep_headers(self, headers: Mapping[str, object]) -> None:
        self._headers = headers

    def token(self) -> Finding:
        """Return a finding on the token: the bot and workspace that Slack knows it as, or Slack's error."""
        try:
            answer = self._api.call("auth.test")
        except DeliveryError as error:
            return explain(error)
        return ok(PART, "doctor.slack.token_works", bot=answer.get("user", "?"), team=answer.get("team", "?"))

    def scopes(self) -> Finding:
        """Return a finding on the scopes: those that the bot needs and the token lacks."""
        granted = header(self._headers, "X-OAuth-Scopes")
        if granted is None:
            return note(PART, "doctor.slack.scopes_unknown")
        missing = [scope for scope in SCOPES if scope not in granted.replace(" ", "").split(",")]
        if not missing:
            return ok(PART, "doctor.slack.scopes_there", scopes=", ".join(SCOPES))
        return wrong(PART, "doctor.slack.scopes_missing", PASTE_MANIFEST, scopes=", ".join(missing))

    def time(self) -> list[Finding]:
        """Return a finding on the difference between this machine's clock and Slack's; none if Slack gave no time."""
        theirs = self._server_time()
        if theirs is None:
            return []
        skew_s = (self._clock.now() - theirs).total_seconds()
        if abs(skew_s) <= _LATEST_SKEW_S:
            return [ok("clock", "doctor.slack.clock_is_right")]
        key = "doctor.slack.clock_is_fast" if skew_s > 0 else "doctor.slack.clock_is_slow"
        return [wrong("clock", key, "doctor.slack.set_the_clock", seconds=round(abs(skew_s)))]

    def channel(self, channel: str) -> Finding:
        """Return a finding on write access to the channel: schedules a message for tomorrow and cancels it at once."""
        post_at = int(((self._server_time() or self._clock.now()) + _PROBE_IN).timestamp())
        try:
            trial = {"channel": channel, "post_at": post_at, "text": reader_text("doctor.slack.trial_message")}
            answer = self._api.call("chat.scheduleMessage", trial)
        except DeliveryError as error:
            return explain(error, channel)
        place, number = str(answer.get("channel") or channel), str(answer.get("scheduled_message_id"))
        if self._taken_back(place, number):
            return ok(PART, "doctor.slack.may_write", channel=channel)
        return note(PART, "doctor.slack.probe_left", channel=channel)

    def _taken_back(self, channel: str, number: str) -> bool:
        for _ in range(2):
            try:
                self._api.call("chat.deleteScheduledMessage", {"channel": channel, "scheduled_message_id": number})
            except SlackRefused as error:
                return error.code == "invalid_scheduled_message_id"  # already cancelled: only the first answer was lost
            except DeliveryError:
                continue
            return True
        return False

    def _server_time(self) -> datetime | None:
        try:
            return parsedate_to_datetime(header(self._headers, "Date") or "").astimezone(UTC)
        except ValueError:
            return None


def explain(error: DeliveryError, channel: str = "") -> Finding:
    """Return a finding on an error of Slack's: its meaning and the remedy."""

    def line(language: str) -> str:
        return error_line(error, Language(language)).removeprefix(f"{PART}: ")

    if not isinstance(error, SlackRefused):
        return wrong(PART, "doctor.slack.could_not_be_asked", "doctor.slack.check_the_network", error=line)
    known = explained(error.code)
    if known is None or known.remedy is None or not known.setup:
        return wrong(PART, "doctor.as_it_is", "doctor.slack.look_it_up", text=line)
    return wrong(PART, slack_error(error.code, {"channel": channel.removeprefix("#")}), known.remedy)


def examine(config: Config, clock: Clock) -> list[Finding]:
    """Return the findings on all of Slack that is configured."""
    found: list[Finding] = []
    if config.slack_bot_token is not None:
        bot = Bot(config.slack_bot_token.get_secret_value(), config.slack_api_url, clock)
        others = config.slack_channels.names if config.slack_channels else ()
        found += bot.findings(*dict.fromkeys(filter(None, (config.slack_channel, *others))))
    if config.slack_webhook_url is not None:
        url = config.slack_webhook_url.get_secret_value()
        if found:
            found.append(note(PART, "doctor.slack.webhook_is_not_used"))
        else:
            found = [note(PART, "doctor.slack.webhook_cannot_be_seen", "doctor.slack.post_one_message")]
            found += like_slack(url)
    return found or [note(PART, "doctor.slack.is_not_set_up", "doctor.slack.set_it_up")]


def like_slack(url: str) -> list[Finding]:
    """Return a finding on the limits of a webhook that is not Slack's, by its address; none for Slack or loopback."""
    address = urlsplit(url)
    host = (address.hostname or "").lower()
    if host.removeprefix("hooks.") in _SLACKS or is_loopback(url):
        return []
    if host.endswith(_DISCORDS) and not address.path.rstrip("/").endswith("/slack"):
        return [wrong(PART, "doctor.slack.discord_needs_slack_address", "doctor.slack.add_slack_to_the_address")]
    name = next((name for mark, name in _MARKS if mark.fullmatch(host + address.path)), host)
    return [note(PART, "doctor.slack.webhook_is_not_slacks", "doctor.slack.other_ways", name=name)]


_SLACKS = ("slack.com", "slack-gov.com")
_DISCORDS = ("discord.com", "discordapp.com")
_MARKS = (  # documented paths of their webhooks; of others the host is named
    (re.compile(r"(.*\.)?discord(app)?\.com/.*"), "Discord"),
    (re.compile(r"[^/]*(mattermost|chat)[^/]*/hooks/[a-z0-9]{26}/?"), "Mattermost"),
    (re.compile(r"[^/]+/hooks/[A-Za-z0-9]{17,24}/[A-Za-z0-9]+/?"), "Rocket.Chat"),
    (re.compile(r"[^/]+/hooks/[a-z0-9]{26}/?"), "Mattermost"),
    (re.compile(r"[^/]+/api/v1/external/slack(_incoming)?/?"), "Zulip"),
)
