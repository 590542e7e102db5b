"""From configuration to notifiers, and from these to everything that delivers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.delivery.chart_renderer import ChartRenderers, studio_for
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.subscription import refuse_strangers, shaped, speaking
from notifybot.delivery.worker import Worker
from notifybot.errors import StoreError
from notifybot.notifiers.base import Notifier
from notifybot.redaction import guard_loggers
from notifybot.rendering import Renderer
from notifybot.store.database import Store
from notifybot.store.notifier_state import export_for, tracker_url
from notifybot.store.outbox import Outbox
from notifybot.types import RunRef

if TYPE_CHECKING:
    from notifybot.delivery.relay import NotifierState

_START_S = 5.0  # no epoch waits yet, so a busy database is waited for

# The clients of the services are imported when one is configured: together they take longer than the rest of a start.


@dataclass(frozen=True, slots=True)
class DeliveryStack:
    """Everything that carries events from one process. `direct`: it tells people itself, the watchdog only listens."""

    recorder: Recorder
    worker: Worker
    notifiers: tuple[Notifier, ...]
    direct: bool


def people_from(
    config: Config, clock: Clock = SYSTEM, *, outbox: Outbox | None = None, studio: ChartRenderers | None = None
) -> list[Notifier]:
    """The notifiers that reach people. Raises ConfigError when settings are half there.

    With the `outbox` that they deliver from, their messages have pictures, drawn from the runs beside it, or as the
    `studio` draws them.
    """
    slack, kakao, apprise = (speaking(config, name) for name in ("slack", "kakao", "apprise"))
    if studio is None and outbox is not None:
        studio = studio_for(config, outbox.store.path, clock)
    built = [*_slack(slack, studio, outbox), *_kakao(kakao, clock, studio), *_apprise(apprise, studio)]
    return shaped(built, config)


def notifiers_from(
    config: Config, clock: Clock = SYSTEM, *, outbox: Outbox | None = None, studio: ChartRenderers | None = None
) -> list[Notifier]:
    """All notifiers that are configured, the webhook and the way to the watchdog included. Raises ConfigError."""
    refuse_strangers(config, (), all_known=False)
    people = people_from(config, clock, outbox=outbox, studio=studio)
    return [*people, *shaped(_webhook(config, clock), config), *_relay(config, clock, direct=bool(people))]


def open_delivery(
    store: Store,
    config: Config,
    clock: Clock = SYSTEM,
    notifiers: Sequence[Notifier] | None = None,
    *,
    on_superseded: Callable[[RunRef], None] | None = None,
    all_known: bool = True,
) -> DeliveryStack:
    """Put delivery together on an open store; the caller starts the worker.

    `notifiers` replace the configured ones. What dead processes of this machine held is free again, and goes out
    with the rest. When the watchdog knows a newer process of a run, people hear no more of it from here, and
    `on_superseded` is called on a delivery thread. Without `all_known`, settings may be for notifiers that only a
    training's code has. Raises ConfigError; StoreError when the outbox cannot be read.
    """

    def superseded(run: RunRef) -> None:
        recorder.mute_session(run)
        if on_superseded is not None:
            on_superseded(run)

    guard_loggers()
    outbox = Outbox(store)
    if notifiers is None:
        studio = studio_for(config, store.path, clock)
        people = people_from(config, clock, outbox=outbox, studio=studio)
        programs = shaped(_webhook(config, clock), config)
    else:
        studio, people, programs = None, shaped(notifiers, config), []
    refuse_strangers(config, people, all_known=all_known)
    relay = _relay(
        config, clock, direct=bool(people), notifier_state=partial(export_for, store), on_superseded=superseded
    )
    routes = (*people, *programs, *relay)
    with store.patient(_START_S):
        outbox.release_dead()
    recorder = Recorder(store, routes, direct=bool(people), language=config.lang)
    renderer = Renderer(config.lang, config.templates_dir)
    dispatcher = Dispatcher(outbox, routes, renderer, clock=clock, link_of=partial(_page_of, config, store))
    return DeliveryStack(
        recorder, Worker(dispatcher, recorder, clock=clock, studio=studio), routes, direct=bool(people)
    )


def _waits(outbox: Outbox, key: str) -> bool:
    """True when a message for that notifier could go out now."""
    try:
        due = outbox.next_due(key)
    except StoreError:
        return False
    return due is not None and due <= outbox.store.clock.now()


def _slack(config: Config, studio: ChartRenderers | None, outbox: Outbox | None) -> list[Notifier]:
    if config.slack_bot_token is None and config.slack_webhook_url is None:
        return []
    from notifybot.notifiers.slack import slack_notifiers

    if studio is None or outbox is None:
        return slack_notifiers(config)
    return slack_notifiers(config, artist=studio.painter(config.lang), busy=partial(_waits, outbox))


def _kakao(config: Config, clock: Clock, studio: ChartRenderers | None) -> list[Notifier]:
    given = (
        config.kakao_rest_api_key, config.kakao_client_secret, config.kakao_refresh_token, config.kakao_token_file,
    )  # fmt: skip
    signed_in = any(config.state_dir.expanduser().glob("kakao*"))  # a login leaves its file there
    if not signed_in and all(each is None for each in given):
        return []
    from notifybot.notifiers.kakao import kakao_notifiers

    if studio is None:
        return kakao_notifiers(config, clock=clock)
    return kakao_notifiers(config, clock=clock, picture=studio.phone_painter(config.lang).square)


def _apprise(config: Config, studio: ChartRenderers | None) -> list[Notifier]:
    if config.apprise_urls is None:
        return []
    from notifybot.notifiers.apprise import apprise_notifiers

    if studio is None:
        return apprise_notifiers(config)
    square = studio.phone_painter(config.lang).square
    return apprise_notifiers(config, picture=lambda envelope: square(envelope.event))


def _webhook(config: Config, clock: Clock) -> list[Notifier]:
    """Read by a program, so it does not count as telling people: the watchdog still does that."""
    if config.webhook_url is None:
        return []
    from notifybot.notifiers.webhook import webhook_notifiers

    return webhook_notifiers(config, clock=clock)


def _relay(
    config: Config,
    clock: Clock,
    *,
    direct: bool,
    notifier_state: NotifierState | None = None,
    on_superseded: Callable[[RunRef], None] | None = None,
) -> list[Notifier]:
    if not config.watchdog_url or config.watchdog_token is None:
        return []
    from notifybot.delivery.relay import WatchdogRelay

    return [
        WatchdogRelay(
            config.watchdog_url, config.watchdog_token,
            direct=direct, clock=clock, notifier_state=notifier_state, on_superseded=on_superseded,
        )
    ]  # fmt: skip


def _page_of(config: Config, store: Store, run: RunRef) -> str | None:
    """Where a message's button leads: the run's page at the watchdog, else its page at W&B, else what was set."""
    if config.watchdog_url:
        return f"{config.watchdog_url.rstrip('/')}/runs/{quote(run.id)}"
    try:
        return tracker_url(store, run.key) or config.link_url
    except StoreError:  # a message does not wait for its button
        return config.link_url
