"""Subscriptions: the user's preferences (frequency, quiet hours, language) applied to a notifier."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches

from notifybot.config import Config, explain
from notifybot.config_sources import Origin
from notifybot.errors import ConfigError, DeliveryError, NotifybotError, reader_text
from notifybot.notifiers.base import Envelope, LimitsPerDay, Notifier, SendsPictures, ShowsRunState
from notifybot.policy import Pace
from notifybot.preferences import NOTIFIERS, UNCHANGED, Preferences
from notifybot.rendering import Renderer
from notifybot.services import SERVICES

# Programs read all that comes, at any hour, unless a table of their own says otherwise.
PROGRAMS = tuple(each.name for each in SERVICES if not each.is_for_people)


@dataclass(frozen=True, slots=True)
class Subscription:
    """Notifier with the user's preferences; it stands for the original wherever events are routed and sent.

    `renderer` speaks the language chosen for it; None where none was. What else the notifier can do is asked of itself.
    """

    notifier: Notifier
    preferences: Preferences
    renderer: Renderer | None = None

    @property
    def name(self) -> str:
        return self.notifier.name

    @property
    def key(self) -> str:
        return self.notifier.key

    @property
    def pace(self) -> Pace:
        return self.notifier.pace.with_preferences(self.preferences)

    def send(self, envelope: Envelope) -> None:
        self.notifier.send(envelope)

    def close(self) -> None:
        self.notifier.close()


def subscribed(notifiers: Iterable[Notifier], config: Config) -> list[Notifier]:
    """Return the notifiers with their preferences applied; one without any is returned unchanged."""
    return [_subscribed(each, config) for each in notifiers]


def in_language_of(config: Config, name: str) -> Config:
    """Return the settings of one notifier, in the language chosen for it."""
    lang = config.notifiers.of(name).lang
    return config.model_copy(update={"lang": lang}) if lang else config


def unknown_notifiers(config: Config, notifiers: Iterable[Notifier] = ()) -> dict[str, str | None]:
    """Return the names in the settings that no notifier has, given or built-in; each with the name probably meant.

    None if no name is close: perhaps a notifier of the user's own.
    """
    known = {*NOTIFIERS, *(each.name for each in notifiers)}
    found = [name for name in config.notifiers.names if name not in known]
    return {name: next(iter(get_close_matches(name.lower(), sorted(known), n=1)), None) for name in found}


def check_all_known(config: Config, notifiers: Iterable[Notifier], *, all_known: bool = True) -> None:
    """Raise ConfigError for settings of a notifier that is neither given nor built-in.

    Without `all_known` the user's code may have more of them: then only a name that is nearly a known one is refused.
    """
    there = list(notifiers)
    for name, meant in unknown_notifiers(config, there).items():
        if meant or all_known:
            source = next(origin for key, origin, _ in explain(config) if key == "notifiers")
            table = f"notifiers.{name} ({source})" if source in set(Origin) else f"[notifiers.{name}] in {source}"
            known = ", ".join(sorted({*NOTIFIERS, *(each.name for each in there)}))
            line = (
                reader_text("delivery.subscription.misspelt_notifier", table=table, meant=meant)
                if meant
                else reader_text("delivery.subscription.unknown_notifier", table=table, names=known)
            )
            raise ConfigError(line)


def _subscribed(notifier: Notifier, config: Config) -> Notifier:
    chosen = config.notifiers.of(notifier.name)
    if notifier.name not in PROGRAMS:
        chosen = chosen.or_else(config.every, config.quiet)
    if chosen == UNCHANGED:
        return notifier
    return Subscription(notifier, chosen, Renderer(chosen.lang, config.templates_dir) if chosen.lang else None)


def left_today(notifier: Notifier) -> int | None:
    """Return the number of messages that a notifier's service still takes today; None if it is not known.

    Asking may itself fail, as it looks at a login and at a file that other jobs change.
    """
    try:  # Python 3.11 already asks for the number to see whether there is one
        own = _original(notifier)
        return own.left_today if isinstance(own, LimitsPerDay) else None
    except (NotifybotError, OSError, ValueError):  # not signed in, or no receiver chosen: sending tells why
        return None


def takes_pictures(notifier: Notifier) -> bool:
    """True for a notifier that reports the result of a picture."""
    return isinstance(_original(notifier), SendsPictures)


def picture_error(notifier: Notifier) -> str | None:
    """Return why the picture of the latest message did not arrive, for a person; empty if it did, None without one."""
    own = _original(notifier)
    return own.picture_error if isinstance(own, SendsPictures) else None


def _original(notifier: Notifier) -> Notifier:
    return notifier.notifier if isinstance(notifier, Subscription) else notifier


def show_state(notifier: Notifier, envelope: Envelope) -> None:
    """Update the state that a notifier shows of a run, to that of the event, without a new message.

    Errors are ignored: the next event of the run shows as much.
    """
    own = _original(notifier)
    if isinstance(own, ShowsRunState):
        with suppress(DeliveryError):
            own.show_state(envelope)


def renderer_of(notifier: Notifier, others: Renderer) -> Renderer:
    """Return the renderer of a notifier's language; `others` if none was chosen."""
    return notifier.renderer or others if isinstance(notifier, Subscription) else others
