"""From settings to a dead man's switch: whether there is to be one, where it speaks, and when it may."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config, Switch
from notifybot.events import Event, RunLost
from notifybot.notifiers.base import Memory, Notifier
from notifybot.notifiers.slack import SlackBot, slack_notifiers
from notifybot.notifiers.slack.deadman.schedule import Margins
from notifybot.notifiers.slack.deadman.slack_api import SlackAlarms
from notifybot.notifiers.slack.deadman.switch import DeadMan, Guarded, Look, unguarded
from notifybot.notifiers.slack.deadman.text import Speech
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.policy import wants
from notifybot.preferences import Preferences, names
from notifybot.quiet import NEVER
from notifybot.rendering import Renderer
from notifybot.store import runs
from notifybot.store.database import Store
from notifybot.store.outbox_queries import ENDING
from notifybot.store.told import was_sent
from notifybot.types import Host, RunRef


def wants_dead_man(config: Config, run: RunRef, clock: Clock = SYSTEM) -> bool:
    """True when the settings ask for it: by default with a bot that is to tell of lost runs, and no watchdog."""
    if config.slack_bot_token is None or config.slack_channel is None or config.slack_deadman is Switch.OFF:
        return False
    if not wants(SlackBot.pace.shaped(_chosen(config)), _loss_of(run, clock)):
        return False
    return config.slack_deadman is Switch.ON or config.watchdog_url is None


def dead_man(
    config: Config,
    run: RunRef,
    host: Host,
    *,
    look: Look,
    memory_of: Callable[[str], Memory],
    over_at: Callable[[str], float | None] = lambda _: None,
    has_said: Callable[[str], bool] = lambda _: False,
    clock: Clock = SYSTEM,
    guard: Guarded = unguarded,
) -> DeadMan | None:
    """Return the switch that the settings ask for, not yet started. `memory_of`: a notifier's memory by its key.

    `has_said`: whether the log says already that the run's messages are refused for a reason of that code.
    """
    if not wants_dead_man(config, run, clock) or config.slack_bot_token is None:
        return None
    memory = memory_of(_key_of(config))
    chosen, mention = _chosen(config), config.slack_mention or ""
    waits = chosen.quiet is not None and not names(chosen.quiet_lets, _loss_of(run, clock))
    return DeadMan(
        SlackAlarms(config.slack_bot_token.get_secret_value(), config.slack_api_url, clock=clock),
        Speech(run, host, Renderer(chosen.lang or config.lang, config.templates_dir), config.link_url, mention),
        look,
        lambda: RunThread.from_value(memory.get(run.id)),
        channel=config.slack_channel or "",
        margins=Margins(quiet=chosen.quiet if chosen.quiet is not None and waits else NEVER),
        over_at=over_at,
        has_said=lambda code: has_said(f"slack.{code}"),
        clock=clock,
        guard=guard,
    )


def told_over_at(run_id: str, by: Notifier | None, store: Store) -> float | None:
    """When a run ended, in Unix seconds, if people know that by the bot; None for one that goes on or fell silent.

    Where several projects have a run of this id, all of them have to be over. Raises StoreError.
    """
    with store.transaction() as connection:
        rows = runs.named(connection, run_id)
        endings = [each for row in rows for each in runs.events_in(connection, row.key, kinds=[ENDING], limit=1)]
    over = {each.run.session for each in endings if is_told(each, by, store)}
    known = bool(rows) and all(row.session in over for row in rows)
    return min(each.at.timestamp() for each in endings) if known else None


def teller(config: Config, notifiers: Iterable[Notifier]) -> Notifier | None:
    """The one of the notifiers in use that tells people what the switch speaks of: the bot. None where it is not."""
    key = _key_of(config)
    return next((each for each in notifiers if each.key == key), None)


def is_told(ending: Event, by: Notifier | None, store: Store) -> bool:
    """True when people know by the bot how the run ended, or are not to hear of it there. Raises StoreError.

    What the bot remembers of the run counts as well: the picture after the words may take a while.
    """
    if by is None or not wants(by.pace, ending):
        return True
    thread = RunThread.from_value(store.memory(by.key, ending.run.project).get(ending.run.id))
    return ending.id in thread.answered or was_sent(store, ending.id, by.key)


def _key_of(config: Config) -> str:
    return slack_notifiers(config)[0].key


def _chosen(config: Config) -> Preferences:
    return config.notifiers.of(SlackBot.name).or_else(config.every, config.quiet)


def _loss_of(run: RunRef, clock: Clock) -> RunLost:
    return RunLost(id="", run=run, at=clock.now(), silent_s=0.0, limit_s=0.0)
