"""Direct sends of the commands: single events to notifiers at once, without the outbox, with each answer."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from notifybot.cli.database import database, open_store
from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config, Switch
from notifybot.delivery.build import notifiers_from
from notifybot.delivery.chart_renderer import ChartRenderer, ChartRenderers, has_curves, studio_for
from notifybot.delivery.subscription import picture_error, renderer_of, takes_pictures
from notifybot.errors import DeliveryError, PermanentError, install
from notifybot.events import Event, RunEnded
from notifybot.i18n import text
from notifybot.notifiers.base import Envelope, Memory, Notifier
from notifybot.policy import wants
from notifybot.redaction import redact
from notifybot.rendering import Renderer
from notifybot.rendering.error_text import error_line
from notifybot.store.outbox import Outbox
from notifybot.types import Language, Message


@dataclass
class _Memory:
    """State for sample sends: notifier-wide values (a day's count) persist, values of the sample run are discarded."""

    lasting: Memory
    passing: dict[str, dict[str, Any]] = field(default_factory=dict)

    def get(self, scope: str) -> dict[str, Any]:
        return dict(self.passing.get(scope, {})) if scope else self.lasting.get(scope)

    def put(self, scope: str, value: dict[str, Any]) -> None:
        if scope:
            self.passing[scope] = dict(value)
        else:
            self.lasting.put(scope, value)

    def put_with_mark(self, scope: str, value: dict[str, Any]) -> None:
        self.put(scope, value)


@dataclass(frozen=True, slots=True)
class Answer:
    """One notifier's answer to one event: an empty error is a success. `tried` is False when nothing was sent."""

    notifier: str
    event: Event
    error: str = ""
    tried: bool = True
    picture: str | None = None
    """Result of its picture: empty where it arrived, else why not; None where none was due."""

    @property
    def ok(self) -> bool:
        return self.tried and not self.error and not self.picture


class Teller:
    """The configured notifiers, each with its memory, open until `close`."""

    def __init__(
        self,
        config: Config,
        notifiers: Sequence[Notifier],
        memories: Sequence[Memory],
        clock: Clock,
        *,
        draws: bool = False,
    ) -> None:
        self.notifiers = notifiers
        self._language = config.lang
        self._draws = draws
        self._renderer = Renderer(config.lang, config.templates_dir)
        self._link = config.link_url
        self._memories = [_Memory(each) for each in memories]
        self._clock = clock

    def render(self, event: Event, notifier: Notifier) -> Message:
        """The message that a notifier is given, in its language."""
        return renderer_of(notifier, self._renderer).render(event, link=self._link)

    def tell(self, events: Sequence[Event]) -> Iterator[Answer]:
        """Send every event to every notifier that wants it, no faster than its pace; yield each answer as it comes.

        A notifier that turns out not to be set up is not asked again.
        """
        for notifier, memory in zip(self.notifiers, self._memories, strict=True):
            usable, pictured = True, False
            wanted = [event for event in events if wants(notifier.pace, event)]
            for number, event in enumerate(wanted):
                if not usable:
                    yield Answer(notifier.name, event, tried=False)
                    continue
                if number:
                    self._clock.wait(threading.Event(), notifier.pace.gap_s)
                try:
                    notifier.send(Envelope(event=event, message=self.render(event, notifier), memory=memory))
                except DeliveryError as error:
                    usable = not (isinstance(error, PermanentError) and error.setup)
                    yield Answer(notifier.name, event, error=error_line(error, self._language))
                else:
                    picture = self._picture(notifier, event, missed=not pictured)
                    pictured = pictured or picture is not None
                    yield Answer(notifier.name, event, picture=picture)

    def _picture(self, notifier: Notifier, event: Event, *, missed: bool) -> str | None:
        """Return the result of an event's picture: why it did not arrive, empty or None (see `Answer.picture`)."""
        if not (self._draws and takes_pictures(notifier)):
            return None
        error = picture_error(notifier)
        if error is not None:
            return redact(error)
        return not_drawn(self._language) if missed and isinstance(event, RunEnded) and has_curves(event) else None


@contextmanager
def teller(config: Config, *, only: str = "", clock: Clock = SYSTEM, easel: Easel | None = None) -> Iterator[Teller]:
    """Open the configured notifiers (`only` the one of that name) and close them at the end.

    With an `easel` their messages have pictures.
    """
    outbox, studio = (easel.outbox, easel.studio) if easel and easel.studio else (None, None)
    with ExitStack() as stack:
        built = notifiers_from(config, clock, outbox=outbox, studio=studio)
        for notifier in built:
            stack.enter_context(closing(notifier))
        wanted = [each for each in built if not only or each.name == only]
        store = stack.enter_context(open_store(database(config)))
        memories = [store.memory(each.key) for each in wanted]
        yield Teller(config, wanted, memories, clock, draws=studio is not None)


_SQUARE = 1080


@dataclass(frozen=True, slots=True)
class Easel:
    """Chart renderers for trial pictures. Without a `studio` none can be drawn; `why_none` gives the reason."""

    outbox: Outbox
    studio: ChartRenderers | None


@contextmanager
def easel(config: Config, clock: Clock = SYSTEM) -> Iterator[Easel]:
    """An outbox of its own: messages that wait in the real one would push a trial picture aside.

    Raises ConfigError where pictures are on and cannot be drawn.
    """
    with tempfile.TemporaryDirectory(prefix="notifybot-") as folder, open_store(Path(folder, "trial.db")) as store:
        drawn = studio_for(config, store.path, clock) is not None
        yield Easel(Outbox(store), _PatientStudio(store.path, clock=clock) if drawn else None)


def why_none(config: Config) -> str:
    """Return why there is no studio, and what to do."""
    if config.pictures is Switch.OFF:
        return text(config.lang, "cli.direct_send.pictures_are_off")
    return text(config.lang, "cli.direct_send.pictures_need_matplotlib", install=install("pictures"))


def not_drawn(language: Language) -> str:
    """Return the line for a picture that was due and did not come."""
    return text(language, "cli.direct_send.picture_not_drawn")


class _PatientStudio(ChartRenderers):
    def painter(self, language: Language) -> ChartRenderer:
        return _PatientPainter(self._database, language, clock=self._clock)

    phone_painter = painter  # nothing was drawn in advance


class _PatientPainter(ChartRenderer):
    """Draws a phone's picture while its text waits, as long as it takes: a person looks on, and no training."""

    def square(self, event: Event) -> bytes | None:
        drawing = self._begin(event, _SQUARE, self._after_text_s) if has_curves(event) else None
        return drawing.png if drawing is not None and drawing.wait() else None
