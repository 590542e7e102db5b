"""Construction of delivery from the settings: the notifiers, and the recorder, dispatcher and worker around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import quote

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config
from notifybot.delivery.chart_renderer import ChartRenderers, chart_renderers_for
from notifybot.delivery.dispatcher import Dispatcher
from notifybot.delivery.recorder import Recorder
from notifybot.delivery.subscription import check_all_known, in_language_of, subscribed
from notifybot.delivery.worker import Worker
from notifybot.errors import StoreError
from notifybot.events import AlertRaised, Event
from notifybot.notifiers.base import Notifier, Surroundings
from notifybot.redaction import guard_loggers
from notifybot.rendering import Renderer
from notifybot.services import SERVICES, Service
from notifybot.store.database import Store
from notifybot.store.notifier_state import export_for
from notifybot.store.outbox import Outbox
from notifybot.store.pictures import kept_picture
from notifybot.types import RunRef

if TYPE_CHECKING:
    from notifybot.delivery.relay import NotifierState

_FOR_PEOPLE = tuple(each for each in SERVICES if each.is_for_people)
_FOR_PROGRAMS = tuple(each for each in SERVICES if not each.is_for_people)
_START_S = 5.0  # seconds for a busy database: no epoch waits yet

# The clients of the services are imported when one is configured: together they take longer than the rest of a start.


@dataclass(frozen=True, slots=True)
class DeliveryStack:
    """Delivery of one process. `direct`: the process itself sends to people, the watchdog only keeps its events."""

    recorder: Recorder
    worker: Worker
    notifiers: tuple[Notifier, ...]
    direct: bool


def people_from(
    config: Config, clock: Clock = SYSTEM, *, outbox: Outbox | None = None, charts: ChartRenderers | None = None
) -> list[Notifier]:
    """Return the notifiers that reach people. Raises ConfigError when settings are half there.

    With the `outbox` that they deliver from, their messages have pictures, drawn from the runs beside it, or as the
    `charts` draws them.
    """
    if charts is None and outbox is not None:
        charts = chart_renderers_for(config, outbox.store.path, clock)
    return subscribed(_built(_FOR_PEOPLE, config, clock, charts, outbox), config)


def programs_from(config: Config, clock: Clock = SYSTEM) -> list[Notifier]:
    """Return the notifiers that programs read. With these alone, the watchdog still sends to people."""
    return subscribed(_built(_FOR_PROGRAMS, config, clock, None, None), config)


def notifiers_from(
    config: Config, clock: Clock = SYSTEM, *, outbox: Outbox | None = None, charts: ChartRenderers | None = None
) -> list[Notifier]:
    """Return all configured notifiers, with the webhook and the relay to the watchdog. Raises ConfigError."""
    check_all_known(config, (), all_known=False)
    people = people_from(config, clock, outbox=outbox, charts=charts)
    return [*people, *programs_from(config, clock), *_relay(config, clock, direct=bool(people))]


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
        charts = chart_renderers_for(config, store.path, clock)
        people = people_from(config, clock, outbox=outbox, charts=charts)
        programs = programs_from(config, clock)
    else:
        charts, people, programs = None, subscribed(notifiers, config), []
    check_all_known(config, people, all_known=all_known)
    relay = _relay(
        config, clock, direct=bool(people), notifier_state=partial(export_for, store), on_superseded=superseded
    )
    routes = (*people, *programs, *relay)
    with store.patient(_START_S):
        outbox.release_dead()
    recorder = Recorder(store, routes, direct=bool(people), language=config.lang)
    renderer = Renderer(config.lang, config.templates_dir)
    dispatcher = Dispatcher(outbox, routes, renderer, clock=clock, link_of=partial(_link_of, config))
    return DeliveryStack(
        recorder, Worker(dispatcher, recorder, clock=clock, charts=charts), routes, direct=bool(people)
    )


def _waits(outbox: Outbox, key: str) -> bool:
    """True when a message for that notifier could go out now."""
    try:
        due = outbox.next_due(key)
    except StoreError:
        return False
    return due is not None and due <= outbox.store.clock.now()


def _picture_of(outbox: Outbox, event: Event) -> bytes | None:
    """Return the picture that an alert brings itself, where it is on this machine."""
    return kept_picture(outbox.store, event.picture) if isinstance(event, AlertRaised) and event.picture else None


def _built(
    services: Iterable[Service], config: Config, clock: Clock, charts: ChartRenderers | None, outbox: Outbox | None
) -> list[Notifier]:
    """The notifiers of those services that the settings ask for, each in the language that its table has."""
    is_busy = partial(_waits, outbox) if outbox is not None else (lambda _: False)
    picture_of = partial(_picture_of, outbox) if outbox is not None else (lambda _: None)
    around = Surroundings(clock, charts if outbox is not None else None, is_busy, picture_of)
    built: list[Notifier] = []
    for service in services:
        own = in_language_of(config, service.name)
        if service.is_asked_for(dict(own), config.state_dir):
            built += import_module(service.module).from_config(own, around)
    return built


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


def _link_of(config: Config, run: RunRef, page: str | None) -> str | None:
    """Return a message's button address: the run's page at the watchdog, else its `page` at W&B, else `link_url`."""
    if config.watchdog_url:
        return f"{config.watchdog_url.rstrip('/')}/runs/{quote(run.id)}"
    return page or config.link_url
