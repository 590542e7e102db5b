"""`notifybot send` and `notifybot test`: events sent to the notifiers at once, without the outbox, with each answer."""

from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from notifybot.cli.database import database, open_store
from notifybot.cli.explain import show
from notifybot.cli.options import columns
from notifybot.cli.samples import NAME, samples
from notifybot.clock import SYSTEM, Clock
from notifybot.config import Config, Switch, load
from notifybot.delivery.build import notifiers_from
from notifybot.delivery.chart_renderer import ChartRenderer, ChartRenderers, chart_renderers_for, has_curves
from notifybot.delivery.subscription import picture_error, renderer_of, takes_pictures
from notifybot.errors import DeliveryError, PermanentError, UsageError, install, reader_text
from notifybot.events import KINDS, AlertRaised, Event, RunEnded
from notifybot.i18n import text
from notifybot.notifiers.base import Envelope, Memory, Notifier
from notifybot.policy import wants
from notifybot.redaction import redact
from notifybot.rendering import Renderer
from notifybot.rendering.error_text import error_line
from notifybot.store.outbox import Outbox
from notifybot.types import Language, RunRef, Severity, uuid7


def send(text_of: str, *, title: str, severity: Severity) -> int:
    """Send one alert and print each notifier's answer; 1 when one did not take it."""
    config = load()
    run = RunRef(id=uuid7(), name=socket.gethostname(), project=config.project)
    shown, body = (title, text_of) if title else (text_of, "")
    event = AlertRaised(id=uuid7(), run=run, at=SYSTEM.now(), title=shown, text=body, severity=severity)
    console = Console(highlight=False, soft_wrap=True)
    with direct_sender(config) as sender:
        answers = list(sender.send([event]))
    for answer in answers:
        console.print(f"{answer.notifier}: {answer.error or text(config.lang, 'cli.sent')}", markup=False)
    if not answers:
        console.print(text(config.lang, "cli.no_notifier"), markup=False)
    return 0 if answers and all(answer.ok for answer in answers) else 1


def send_samples(*, notifier: str, kind: str, explain: bool, project: str, name: str) -> int:
    """Send the samples, with pictures where they can be drawn, and print a table; 1 when anything was refused.

    With `explain` nothing is sent: print where each event would go, and why. Both are as for a run of that `project`
    and `name`.
    """
    config = load()
    if kind and kind not in KINDS:
        kinds = ", ".join(KINDS)
        raise UsageError(reader_text("cli.test.no_such_kind", kind=f"{kind!r}", kinds=kinds))
    with ExitStack() as stack:
        charts = None if explain else stack.enter_context(trial_charts(config))
        sender = stack.enter_context(direct_sender(config, only=notifier, charts=charts))
        if not sender.notifiers:
            named = reader_text("cli.test.no_such_notifier", notifier=f"{notifier!r}")
            raise UsageError(named if notifier else text(config.lang, "cli.no_notifier"))
        if charts is None:
            show(config, sender.notifiers, kind=kind, clock=SYSTEM, project=project, name=name)
            return 0
        every = samples(config.lang, SYSTEM.now(), project=project or config.project, name=name or NAME)
        answers = list(sender.send([each for each in every if kind in ("", each.kind)]))
        untried = not charts.renderers and any(takes_pictures(each) for each in sender.notifiers)
    console = Console(highlight=False)
    if not answers:
        console.print(text(config.lang, "cli.explain.nobody_is_told"))
        return 0
    *headings, result = columns(config.lang, "notifier", "kind", "result")
    table = Table(*headings, Column(result, overflow="fold"))  # Rich cuts Korean else
    for answer in answers:
        not_tried = Text(text(config.lang, "cli.test.not_tried"), style="dim")
        outcome = _outcome(answer.error, config.lang) if answer.tried else not_tried
        table.add_row(answer.notifier, answer.event.kind, outcome)
        if answer.picture is not None:
            table.add_row("", text(config.lang, "cli.test.its_picture"), _outcome(answer.picture, config.lang))
    console.print(table)
    if untried:
        off, why = config.pictures is Switch.OFF, text(config.lang, "cli.direct_send.pictures_are_off")
        missing = text(config.lang, "cli.direct_send.pictures_need_matplotlib", install=install("pictures"))
        console.print(why if off else missing, markup=False, soft_wrap=True)
    return 0 if all(answer.ok for answer in answers) else 1


def _outcome(error: str, language: Language) -> Text:
    return Text(error, style="red") if error else Text(text(language, "cli.sent"), style="green")


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


@dataclass(frozen=True, slots=True)
class DirectSender:
    """The configured notifiers, each with its memory. `draws`: their messages have pictures."""

    config: Config
    notifiers: Sequence[Notifier]
    memories: Sequence[Memory]
    clock: Clock
    draws: bool

    def send(self, events: Sequence[Event]) -> Iterator[Answer]:
        """Send every event to every notifier that wants it, no faster than its pace; yield each answer as it comes.

        A notifier that turns out not to be set up is not asked again.
        """
        renderer = Renderer(self.config.lang, self.config.templates_dir)
        for notifier, lasting in zip(self.notifiers, self.memories, strict=True):
            memory, usable, pictured = _Memory(lasting), True, False
            wanted = [event for event in events if wants(notifier.pace, event)]
            for number, event in enumerate(wanted):
                if not usable:
                    yield Answer(notifier.name, event, tried=False)
                    continue
                if number:
                    self.clock.wait(threading.Event(), notifier.pace.gap_s)
                try:
                    message = renderer_of(notifier, renderer).render(event, link=self.config.link_url)
                    notifier.send(Envelope(event=event, message=message, memory=memory))
                except DeliveryError as error:
                    usable = not (isinstance(error, PermanentError) and error.setup)
                    yield Answer(notifier.name, event, error=error_line(error, self.config.lang))
                else:
                    picture = self._picture(notifier, event, missed=not pictured)
                    pictured = pictured or picture is not None
                    yield Answer(notifier.name, event, picture=picture)

    def _picture(self, notifier: Notifier, event: Event, *, missed: bool) -> str | None:
        """Return the result of an event's picture: why it did not arrive, empty or None (see `Answer.picture`)."""
        if not (self.draws and takes_pictures(notifier)):
            return None
        error = picture_error(notifier)
        if error is not None:
            return redact(error)
        was_due = missed and isinstance(event, RunEnded) and has_curves(event)
        return text(self.config.lang, "cli.direct_send.picture_not_drawn") if was_due else None


@contextmanager
def direct_sender(
    config: Config, *, only: str = "", clock: Clock = SYSTEM, charts: TrialCharts | None = None
) -> Iterator[DirectSender]:
    """Open the configured notifiers (`only` the one of that name) and close them at the end.

    With `charts` their messages have pictures.
    """
    outbox, studio = (charts.outbox, charts.renderers) if charts and charts.renderers else (None, None)
    with ExitStack() as stack:
        built = notifiers_from(config, clock, outbox=outbox, charts=studio)
        for notifier in built:
            stack.enter_context(closing(notifier))
        wanted = [each for each in built if not only or each.name == only]
        store = stack.enter_context(open_store(database(config)))
        memories = [store.memory(each.key) for each in wanted]
        yield DirectSender(config, wanted, memories, clock, draws=studio is not None)


_SQUARE = 1080


@dataclass(frozen=True, slots=True)
class TrialCharts:
    """Chart renderers for trial pictures. Without `renderers` none can be drawn."""

    outbox: Outbox
    renderers: ChartRenderers | None


@contextmanager
def trial_charts(config: Config, clock: Clock = SYSTEM) -> Iterator[TrialCharts]:
    """An outbox of its own: messages that wait in the real one would push a trial picture aside.

    Raises ConfigError where pictures are on and cannot be drawn.
    """
    with tempfile.TemporaryDirectory(prefix="notifybot-") as folder, open_store(Path(folder, "trial.db")) as store:
        drawn = chart_renderers_for(config, store.path, clock) is not None
        yield TrialCharts(Outbox(store), _PatientStudio(store.path, clock=clock) if drawn else None)


class _PatientStudio(ChartRenderers):
    def painter(self, language: Language) -> ChartRenderer:
        return _PatientPainter(self._database, language, clock=self._clock)

    phone_painter = painter  # nothing was drawn in advance


class _PatientPainter(ChartRenderer):
    """Draws a phone's picture while its text waits, as long as it takes: a person looks on, and no training."""

    def square(self, event: Event) -> bytes | None:
        drawing = self._begin(event, _SQUARE, self._after_text_s) if has_curves(event) else None
        return drawing.png if drawing is not None and drawing.wait() else None
