"""The Notifier protocol: one verb, `send`, which takes an envelope with the message and a durable memory."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from notifybot.clock import SYSTEM, Clock
from notifybot.errors import PermanentError, TemporaryError
from notifybot.events import Event
from notifybot.policy import Pace
from notifybot.rendering.error_text import in_words
from notifybot.types import Language, Message


class Memory(Protocol):
    """Small JSON values that outlive the process, per notifier and scope (a run's id, or "" for the notifier)."""

    def get(self, scope: str) -> dict[str, Any]:
        """Return what was last put under `scope`, or an empty dict."""
        ...

    def put(self, scope: str, value: dict[str, Any]) -> None:
        """Replace the values under `scope`; durable when it returns."""
        ...

    def put_with_mark(self, scope: str, value: dict[str, Any]) -> None:
        """Replace what stands under `scope`; durable together with the mark of what came of the message.

        For what a crash may undo: that after the last call of a message, which the crash repeats anyway, and what is
        done once more without harm. A place that the next call depends on is `put`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Envelope:
    """One delivery on its way: the fact, its rendering, how often it was tried before, the notifier's memory.

    `skipped` counts older epoch messages of this run that were folded into this one.
    """

    event: Event
    message: Message
    memory: Memory
    attempts: int = 0
    skipped: int = 0


class PendingChart(Protocol):
    """A picture that is being drawn."""

    @property
    def png(self) -> bytes | None:
        """The picture once it is done; None if drawing failed."""
        ...

    def wait(self, until: Callable[[], bool]) -> bool:
        """Wait for the picture, or until `until` is true; return True when the picture is done."""
        ...

    def cancel(self) -> None:
        """Give up the picture: it is no longer wanted."""
        ...


class ChartSource(Protocol):
    """Draws events' learning curves without blocking the caller. No method raises."""

    def warm_up(self) -> None:
        """Prepare for a picture that may be wanted soon."""
        ...

    def begin(self, event: Event) -> PendingChart | None:
        """Begin to draw; None if there is nothing to draw, or no means of drawing."""
        ...

    def close(self) -> None:
        """Stop drawing for good."""
        ...


class PhoneChartSource(Protocol):
    """Draws learning curves for texts that wait for them. No method raises."""

    def square(self, event: Event) -> bytes | None:
        """Return the picture for a phone, 1080×1080 PNG; None if it cannot be had at once."""
        ...


class Charts(Protocol):
    """Source of the notifiers' learning curves."""

    def painter(self, language: Language) -> ChartSource:
        """Return a new source for one notifier, with labels in this language."""
        ...

    def phone_painter(self, language: Language) -> PhoneChartSource:
        """Return a source for texts that wait for their picture. All sources share the pictures drawn in advance."""
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Dependencies of a service's notifiers other than the settings.

    Without `charts` there are no learning curves. `is_busy` says of a notifier's key that a message waits for it.
    `picture_of` returns the picture that an alert brings itself, PNG or JPEG; None for other events, and where the file
    is not on this machine.
    """

    clock: Clock = SYSTEM
    charts: Charts | None = None
    is_busy: Callable[[str], bool] = lambda _: False
    picture_of: Callable[[Event], bytes | None] = lambda _: None


class Notifier(Protocol):
    """Sends messages to people. A plugin is an object with these attributes and methods."""

    @property
    def name(self) -> str:
        """The notifier's name in tables and messages, such as "slack"."""
        ...

    @property
    def key(self) -> str:
        """`name:fingerprint` of the destination. A delivery left by a dead process goes out only to the same key."""
        ...

    @property
    def pace(self) -> Pace:
        """Limit on how often it sends, and whether epoch messages may be folded into one."""
        ...

    def send(self, envelope: Envelope) -> None:
        """Hand the message over; return when the receiver has it.

        Raises TemporaryError (retry) or PermanentError (never again); no text of either carries a secret.
        May be called again with the same event after a crash: as far as the service allows, that is one message.
        """
        ...

    def close(self) -> None:
        """Give back sockets and files. Closing twice is fine."""
        ...


@runtime_checkable
class LimitsPerDay(Protocol):
    """A notifier whose service takes only so many messages a day, as KakaoTalk's: other jobs send from that account."""

    @property
    def left_today(self) -> int | None:
        """Messages that may still go today; None where the service cannot say."""
        ...


@runtime_checkable
class ShowsRunState(Protocol):
    """A notifier that keeps a message at a run's latest state, as Slack's bot keeps the root of a thread."""

    def show_state(self, envelope: Envelope) -> None:
        """Bring what is shown of the run to where the event belongs. Notifies nobody. Raises the DeliveryErrors."""
        ...


@runtime_checkable
class SendsPictures(Protocol):
    """A notifier whose messages may have a picture, and never fail for it."""

    @property
    def picture_error(self) -> str | None:
        """The reason why the latest message has no picture, for a person; empty if it has, None if none was due."""
        ...


def is_loopback(url: str) -> bool:
    """True where a URL leads to this machine itself."""
    try:
        host = urlsplit(url).hostname or ""
        if host == "localhost" or host.endswith(".localhost"):
            return True
        address = ipaddress.ip_address(host)
    except ValueError:  # a name, or no address at all
        return False
    return address.is_loopback or address.is_unspecified


def temporary_error(
    service: str, code: str, *, retry_after_s: float | None = None, ambiguous: bool = False, **values: str
) -> TemporaryError:
    """A TemporaryError of a service; its text is in the reader's language. `values` fill in the words."""
    text = in_words(service, code, values)
    return TemporaryError(
        text, retry_after_s=retry_after_s, ambiguous=ambiguous, service=service, code=code, values=values
    )


def permanent_error(service: str, code: str, *, setup: bool = False, **values: str) -> PermanentError:
    """A PermanentError of a service, in the same way."""
    return PermanentError(in_words(service, code, values), setup=setup, service=service, code=code, values=values)
