"""Previews of one message by each notifier: really sent, to a sandbox of its own, and shown by that sandbox's pages.

The notifiers are made here and not from settings: a gallery must not reach anybody's Slack or phone.
"""

from __future__ import annotations

import base64
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from pydantic import SecretStr

from notifybot.charts.series import Curve
from notifybot.clock import Clock
from notifybot.delivery.chart_renderer import has_curves, subtitle
from notifybot.events import EpochFinished, Event
from notifybot.i18n import text
from notifybot.notifiers.apprise import plain_text
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.notifiers.console import ConsoleNotifier
from notifybot.notifiers.kakao import Credentials, KakaoTalk
from notifybot.notifiers.slack import SlackBot, SlackWebhook
from notifybot.notifiers.slack.deadman.schedule import Margins
from notifybot.notifiers.slack.deadman.slack_api import SlackAlarms
from notifybot.notifiers.slack.deadman.text import Said, Speech
from notifybot.notifiers.slack.run_thread import RunThread
from notifybot.notifiers.webhook import payload
from notifybot.rendering import Renderer
from notifybot.rendering.alert_text import AlertWords
from notifybot.runtime import is_installed
from notifybot.sandbox.http import Request
from notifybot.sandbox.kakao_state import REFRESH_TOKEN, REST_API_KEY
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, WEBHOOK_PATH
from notifybot.services import SERVICES, Service, function_at
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Host, Language, Metric

_LINK = "https://developers.kakao.com"  # the one that the sandbox's app has registered
_ROOM = 1800  # what Discord takes
_AROUND = (
    "nav.top, aside.rooms, .bar-title, .input, .hint, .day, .status, .clock, .room, figcaption, "
    ".workspace.threaded main"  # the thread repeats the channel's message
)

_Make = Callable[[Sandbox, Path, Language, Clock], Notifier]
_Show = Callable[[Envelope, Language, Clock], Iterator["Preview"]]


@dataclass(frozen=True, slots=True)
class Preview:
    """One message in one place. `content` is plain text, or a page of the sandbox without the parts that `hides` names.

    `hides` is a CSS selector, and None for plain text.
    """

    place: str
    content: str
    hides: str | None = None


def previews(sample: Sample, language: Language, clock: Clock) -> Iterator[Preview]:
    """Yield the previews of a message in every place where it can be read."""
    if isinstance(sample, AlarmSample):
        yield from _posted_by_slack(sample, language, clock)
        return
    if isinstance(sample, AlertListSample):
        for code, words in sample.alerts.items():
            kind, _, over = code.partition(", ")
            caption = text(language, f"gallery.alert.{kind}")
            caption = text(language, "gallery.alert.over", alert=caption) if over else caption
            yield Preview(caption, "\n".join(words).strip())
        return
    message = Renderer(language).render(sample.event, link=_LINK, skipped=sample.skipped)
    envelope = Envelope(sample.event, message, DictMemory(), skipped=sample.skipped)
    for show in previewers():
        yield from show(envelope, language, clock)


def slack(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Preview]:
    """The bot's message in its channel and on a locked phone, and the webhook's."""
    yield from _in_slack(*_shown(envelope, language, clock, _bot))
    yield Preview("slack_webhook", _shown(envelope, language, clock, _hook)[0], _AROUND)


def kakao(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Preview]:
    """The message on a phone."""
    phone = _shown(envelope, language, clock, _kakao)[1]
    yield Preview("kakaotalk", phone, f"{_AROUND}, figure:has(.lock)")


def apprise(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Preview]:
    """The message's words, as services with little room take them."""
    yield Preview("Apprise", "\n".join(filter(None, plain_text(envelope.message, _ROOM))))


def _console(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Preview]:
    stream = StringIO()
    ConsoleNotifier(stream).send(envelope)
    yield Preview("console", stream.getvalue())


def webhook(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Preview]:
    """The body of the post."""
    yield Preview("webhook", json.dumps(json.loads(payload(envelope)), ensure_ascii=False, indent=1))


def previewers() -> Iterator[_Show]:
    """Yield the previewer of each service: those that reach people, the terminal, and those that programs read."""
    shows = {each: function_at(each.preview) if each.preview else partial(_as_text, each) for each in SERVICES}
    yield from (show for service, show in shows.items() if service.is_for_people)
    yield _console
    yield from (show for service, show in shows.items() if not service.is_for_people)


def _as_text(service: Service, envelope: Envelope, language: Language, clock: Clock) -> Iterator[Preview]:
    """Yield the plain text of the message, for a service without a preview of its own."""
    yield Preview(service.name, f"{envelope.message.title}\n\n{envelope.message.body}".strip())


def _in_slack(channel: str, phone: str) -> Iterator[Preview]:
    yield Preview("slack_bot", channel, _AROUND)
    yield Preview("slack_lock_screen", phone, f"{_AROUND}, figure:has(.talk)")


def _shown(envelope: Envelope, language: Language, clock: Clock, make: _Make) -> tuple[str, str]:
    """Send it to a new sandbox, and return the pages of the channel and of the phone."""
    with Sandbox(clock=clock, language=language) as sandbox, tempfile.TemporaryDirectory() as folder:
        with closing(make(sandbox, Path(folder), language, clock)) as notifier:
            notifier.send(envelope)
        return _pages(sandbox, language)


def _pages(sandbox: Sandbox, language: Language) -> tuple[str, str]:
    """The run's thread where it has one, and the phone."""
    thread = next((each.thread_ts for each in sandbox.slack.messages if each.thread_ts), "")
    return (
        _page(sandbox, "/slack", {"lang": language, "thread": thread}),
        _page(sandbox, "/phone", {"lang": language}),
    )


def _page(sandbox: Sandbox, path: str, query: dict[str, str]) -> str:
    """Return a page with its pictures embedded, since the sandbox is gone when it is read."""
    html = sandbox.answer(Request("GET", path, query)).body.decode()

    def inlined(match: re.Match[str]) -> str:
        answer = sandbox.answer(Request("GET", unquote(match[1])))
        kind = answer.headers.get("Content-Type", "image/png")
        return f'src="data:{kind};base64,{base64.b64encode(answer.body).decode()}"'

    return re.sub(rf'src="(?:{re.escape(sandbox.url)})?(/[^"]+)"', inlined, html)


def _bot(sandbox: Sandbox, folder: Path, language: Language, clock: Clock) -> Notifier:
    return SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", clock=clock, artist=PreviewCharts(language))


def _hook(sandbox: Sandbox, folder: Path, language: Language, clock: Clock) -> Notifier:
    return SlackWebhook(sandbox.url + WEBHOOK_PATH, clock=clock)


def _kakao(sandbox: Sandbox, folder: Path, language: Language, clock: Clock) -> Notifier:
    return KakaoTalk(
        Credentials(SecretStr(REST_API_KEY), None, SecretStr(REFRESH_TOKEN)),
        folder / "kakao-token.json",
        api_url=f"{sandbox.url}/kakao/api",
        auth_url=f"{sandbox.url}/kakao/auth",
        link_url=_LINK,
        language=language,
        picture=PreviewCharts(language).square,
        clock=clock,
    )


_SQUARE_PX = 1080


@dataclass(frozen=True, slots=True)
class FinishedChart:
    """Picture that is drawn already."""

    png: bytes | None

    def wait(self, until: Callable[[], bool]) -> bool:
        """It is done."""
        return True

    def cancel(self) -> None:
        """It is done."""


@dataclass(frozen=True, slots=True)
class PreviewCharts:
    """Chart renderers that draw the curves that events carry. Without matplotlib there are no pictures."""

    language: Language

    def warm_up(self) -> None:
        """Do nothing: no process is started ahead."""

    def begin(self, event: Event) -> FinishedChart | None:
        """Draw, as high as need be."""
        png = self._draw(event, None)
        return FinishedChart(png) if png else None

    def square(self, event: Event) -> bytes | None:
        """Draw for a phone."""
        return self._draw(event, _SQUARE_PX)

    def close(self) -> None:
        """Do nothing: no process is open."""

    def _draw(self, event: Event, height_px: int | None) -> bytes | None:
        if not has_curves(event) or not is_installed("matplotlib"):
            return None
        from notifybot.charts.png import Caption, Picture, png  # matplotlib: an optional dependency

        progress = event.progress
        last = progress.place
        return png(
            Picture(
                curves=tuple(_curve(name, each, last) for name, each in progress.shown.items()),
                captions={each: Caption(event.run.name, subtitle(event, each)) for each in Language},
                language=self.language,
                focus=event.new_best if isinstance(event, EpochFinished) else None,
                height_px=height_px,
                unit=progress.unit,
            )
        )


def _curve(name: str, metric: Metric, last: int) -> Curve:
    values = metric.history or (metric.value,)
    labels = metric.epochs or range(last - len(values) + 1, last + 1)
    points = tuple((float(label), value) for label, value in zip(labels, values, strict=True))
    known = metric.best is not None and metric.best_epoch is not None
    return Curve(name, points, (float(metric.best_epoch or 0), metric.best or 0.0) if known else None)


_MARGINS = Margins()


def _posted_by_slack(sample: AlarmSample, language: Language, clock: Clock) -> Iterator[Preview]:
    """Send the state of the run, schedule the alarm, let its time come; correct it if the sample says so."""
    memory, clock = DictMemory(), FakeClock(clock.now())
    with Sandbox(clock=clock, language=language) as sandbox:
        api_url = f"{sandbox.url}/api/"
        bot = SlackBot(BOT_TOKEN, CHANNEL, api_url=api_url, clock=clock)
        bot.send(Envelope(sample.last, Renderer(language).render(sample.last, link=_LINK), memory))
        place = RunThread.from_value(memory.get(sample.last.run.id))
        alarms = SlackAlarms(BOT_TOKEN, api_url, clock=clock)
        if sample.said != "stands":
            now_s = clock.now().timestamp()
            post_at = int(now_s + _MARGINS.ahead_s)
            alarm = _speech(sample, language, _LINK).alarm(sample.last.progress, now_s=now_s, post_at=post_at)
            alarms.schedule(place, post_at, alarm)
            clock.advance(_MARGINS.ahead_s)
        if sample.said == "void":
            clock.advance(_MARGINS.posting_s)
        if sample.said != "alarm":
            alarms.say(place, said(sample, clock.now().timestamp(), language, _LINK))
        yield from _in_slack(*_pages(sandbox, language))


def said(sample: AlarmSample, now_s: float, language: Language, link: str = "") -> Said:
    """Return the text of the alarm or its correction, without sending it."""
    speech, progress = _speech(sample, language, link), sample.last.progress
    if sample.said == "stands":
        return speech.stands()
    if sample.said == "alarm":
        return speech.alarm(progress, now_s=now_s, post_at=int(now_s + _MARGINS.ahead_s))
    away_s = _MARGINS.ahead_s + _MARGINS.posting_s
    return speech.void(progress, now_s=now_s, away_s=away_s, sure=sample.sure)


def _speech(sample: AlarmSample, language: Language, link: str) -> Speech:
    return Speech(sample.last.run, sample.host, Renderer(language), link or None)


@dataclass(frozen=True, slots=True)
class MessageSample:
    """A message about an event. `skipped` counts the epochs that it stands for as well."""

    label: str
    event: Event
    skipped: int = 0


@dataclass(frozen=True, slots=True)
class AlarmSample:
    """Message of the dead man's switch about a run whose last event is `last`.

    An "alarm" has its text from when it was scheduled; a "void" one was posted about a run that lives, `sure` or
    perhaps; one that "stands" is scheduled now, after Slack had refused it before.
    """

    label: str
    last: Event
    host: Host
    said: Literal["alarm", "void", "stands"] = "alarm"
    sure: bool = True


@dataclass(frozen=True, slots=True)
class AlertListSample:
    """Titles and texts of many alerts, by kind: "finite", and "finite, over" at its end."""

    label: str
    title: str
    alerts: Mapping[str, AlertWords]


Sample = MessageSample | AlarmSample | AlertListSample
