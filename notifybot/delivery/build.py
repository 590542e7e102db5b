"""From configuration to notifiers, and from these to everything that delivers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.relay import WatchdogRelay
from notifybot.delivery.worker import Worker
from notifybot.notifiers.base import Notifier
from notifybot.notifiers.kakao import kakao_notifiers
from notifybot.notifiers.slack import slack_notifiers
from notifybot.redaction import guard_loggers
from notifybot.rendering import Renderer
from notifybot.store.engine import Store
from notifybot.store.outbox import Outbox


@dataclass(frozen=True, slots=True)
class Delivery:
    """Everything that carries events from one process. `direct`: it tells people itself, the watchdog only listens."""

    recorder: Recorder
    worker: Worker
    notifiers: tuple[Notifier, ...]
    direct: bool


def people_from(config: Config, clock: Clock = SYSTEM) -> list[Notifier]:
    """The notifiers that reach people. Raises ConfigError when settings are half there."""
    return [*slack_notifiers(config), *kakao_notifiers(config, clock=clock)]


def notifiers_from(config: Config, clock: Clock = SYSTEM) -> list[Notifier]:
    """All notifiers that are configured, the way to the watchdog included. Raises ConfigError."""
    people = people_from(config, clock)
    return [*people, *_relay(config, clock, direct=bool(people))]


def open_delivery(
    store: Store, config: Config, clock: Clock = SYSTEM, notifiers: Sequence[Notifier] | None = None
) -> Delivery:
    """Put delivery together on an open store; the caller starts the worker.

    `notifiers` replace the configured ones. What dead processes of this machine held is free again, and goes out
    with the rest. Raises ConfigError; StoreError when the outbox cannot be read.
    """
    guard_loggers()
    people = people_from(config, clock) if notifiers is None else list(notifiers)
    routes = (*people, *_relay(config, clock, direct=bool(people)))
    outbox = Outbox(store)
    outbox.release_dead()
    recorder = Recorder(store, routes, direct=bool(people))
    link = config.link_url
    dispatcher = Dispatcher(
        outbox, routes, Renderer(config.lang, config.templates_dir), clock=clock, link_of=lambda _: link
    )
    return Delivery(recorder, Worker(dispatcher, recorder, clock=clock), routes, direct=bool(people))


def _relay(config: Config, clock: Clock, *, direct: bool) -> list[Notifier]:
    if not config.watchdog_url or config.watchdog_token is None:
        return []
    return [WatchdogRelay(config.watchdog_url, config.watchdog_token, direct=direct, clock=clock)]
