"""From configuration to notifiers, and from these to everything that delivers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.worker import Worker
from notifybot.model import RunRef
from notifybot.notifiers.base import Notifier
from notifybot.redaction import guard_loggers
from notifybot.rendering import Renderer
from notifybot.store.engine import Store
from notifybot.store.memories import export_for
from notifybot.store.outbox import Outbox

if TYPE_CHECKING:
    from notifybot.delivery.relay import Luggage

# The clients of the services are imported when one is configured: together they take longer than the rest of a start.


@dataclass(frozen=True, slots=True)
class Delivery:
    """Everything that carries events from one process. `direct`: it tells people itself, the watchdog only listens."""

    recorder: Recorder
    worker: Worker
    notifiers: tuple[Notifier, ...]
    direct: bool


def people_from(config: Config, clock: Clock = SYSTEM) -> list[Notifier]:
    """The notifiers that reach people. Raises ConfigError when settings are half there."""
    return [*_slack(config), *_kakao(config, clock)]


def notifiers_from(config: Config, clock: Clock = SYSTEM) -> list[Notifier]:
    """All notifiers that are configured, the way to the watchdog included. Raises ConfigError."""
    people = people_from(config, clock)
    return [*people, *_relay(config, clock, direct=bool(people))]


def open_delivery(
    store: Store,
    config: Config,
    clock: Clock = SYSTEM,
    notifiers: Sequence[Notifier] | None = None,
    *,
    on_superseded: Callable[[RunRef], None] | None = None,
) -> Delivery:
    """Put delivery together on an open store; the caller starts the worker.

    `notifiers` replace the configured ones. What dead processes of this machine held is free again, and goes out
    with the rest. When the watchdog knows a newer process of a run, people hear no more of it from here, and
    `on_superseded` is called on a delivery thread. Raises ConfigError; StoreError when the outbox cannot be read.
    """

    def superseded(run: RunRef) -> None:
        recorder.hush(run)
        if on_superseded is not None:
            on_superseded(run)

    guard_loggers()
    people = people_from(config, clock) if notifiers is None else list(notifiers)
    relay = _relay(config, clock, direct=bool(people), luggage=partial(export_for, store), on_superseded=superseded)
    routes = (*people, *relay)
    outbox = Outbox(store)
    outbox.release_dead()
    recorder = Recorder(store, routes, direct=bool(people))
    link = config.link_url
    dispatcher = Dispatcher(
        outbox, routes, Renderer(config.lang, config.templates_dir), clock=clock, link_of=lambda _: link
    )
    return Delivery(recorder, Worker(dispatcher, recorder, clock=clock), routes, direct=bool(people))


def _slack(config: Config) -> list[Notifier]:
    if config.slack_bot_token is None and config.slack_webhook_url is None:
        return []
    from notifybot.notifiers.slack import slack_notifiers

    return slack_notifiers(config)


def _kakao(config: Config, clock: Clock) -> list[Notifier]:
    given = (
        config.kakao_rest_api_key, config.kakao_client_secret, config.kakao_refresh_token, config.kakao_token_file,
    )  # fmt: skip
    signed_in = any(config.state_dir.expanduser().glob("kakao*"))  # a login leaves its file there
    if not signed_in and all(each is None for each in given):
        return []
    from notifybot.notifiers.kakao import kakao_notifiers

    return kakao_notifiers(config, clock=clock)


def _relay(
    config: Config,
    clock: Clock,
    *,
    direct: bool,
    luggage: Luggage | None = None,
    on_superseded: Callable[[RunRef], None] | None = None,
) -> list[Notifier]:
    if not config.watchdog_url or config.watchdog_token is None:
        return []
    from notifybot.delivery.relay import WatchdogRelay

    return [
        WatchdogRelay(
            config.watchdog_url, config.watchdog_token,
            direct=direct, clock=clock, luggage=luggage, on_superseded=on_superseded,
        )
    ]  # fmt: skip
