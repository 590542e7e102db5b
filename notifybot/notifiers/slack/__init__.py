"""Slack: a bot with one message and one thread a run, or a webhook with one message an event."""

from __future__ import annotations

from collections.abc import Callable

from notifybot.config import Config
from notifybot.events import Event
from notifybot.notifiers.base import ChartSource, Notifier, Surroundings
from notifybot.notifiers.slack.bot import SlackBot
from notifybot.notifiers.slack.webhook import SlackWebhook
from notifybot.preferences import Channels

__all__ = ["SlackBot", "SlackWebhook", "from_config", "slack_notifiers"]


def from_config(config: Config, around: Surroundings) -> list[Notifier]:
    """The Slack notifier that the settings name, with pictures where there are charts."""
    artist = None if around.charts is None else around.charts.painter(config.lang)
    return slack_notifiers(config, artist=artist, busy=around.is_busy, picture_of=around.picture_of)


def slack_notifiers(
    config: Config,
    *,
    artist: ChartSource | None = None,
    busy: Callable[[str], bool] = lambda _: False,
    picture_of: Callable[[Event], bytes | None] | None = None,
) -> list[Notifier]:
    """The Slack notifier that the settings name, if any: the bot where token and channel are set, else the webhook.

    The bot's learning curves are the `artist`'s, and `picture_of` returns an alert's own picture; curves give
    way while `busy` says of its key that a message waits.
    """
    mention = config.slack_mention or ""
    if config.slack_bot_token is not None and config.slack_channel is not None:
        token, url = config.slack_bot_token.get_secret_value(), config.slack_api_url
        channels = config.slack_channels or Channels()
        return [
            SlackBot(
                token, config.slack_channel, api_url=url, artist=artist, busy=busy, mention=mention, channels=channels,
                picture_of=picture_of,
            )
        ]  # fmt: skip
    if config.slack_webhook_url is not None:
        return [SlackWebhook(config.slack_webhook_url.get_secret_value(), mention=mention)]
    return []
