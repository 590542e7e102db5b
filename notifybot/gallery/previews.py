"""One message as each notifier tells it: sent for real, to a sandbox of its own, and shown by that sandbox's pages.

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
from io import StringIO
from pathlib import Path
from urllib.parse import unquote

from pydantic import SecretStr

from notifybot.clock import Clock
from notifybot.gallery import deadman
from notifybot.gallery.pictures import Artist
from notifybot.gallery.pieces import Listed, Piece, Scheduled
from notifybot.notifiers import apprise, webhook
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.notifiers.console import ConsoleNotifier
from notifybot.notifiers.kakao import Credentials, KakaoTalk
from notifybot.notifiers.slack import SlackBot, SlackWebhook
from notifybot.rendering import Renderer
from notifybot.sandbox.kakao import REFRESH_TOKEN, REST_API_KEY
from notifybot.sandbox.server import Sandbox
from notifybot.sandbox.slack_state import BOT_TOKEN, CHANNEL, WEBHOOK_PATH
from notifybot.sandbox.wire import Request
from notifybot.testing import DictMemory, FakeClock
from notifybot.types import Language

_LINK = "https://developers.kakao.com"  # the one that the sandbox's app has registered
_ROOM = 1800  # what Discord takes
_AROUND = (
    "nav.top, aside.rooms, .bar-title, .input, .hint, .day, .status, .clock, .room, figcaption, "
    ".workspace.threaded main"  # the thread shows its message too
)

_Make = Callable[[Sandbox, Path, Language, Clock], Notifier]
_Show = Callable[[Envelope, Language, Clock], Iterator["Exhibit"]]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One message in one place. `content` is plain text, or a page of the sandbox without the parts that `hides` names.

    `hides` is a CSS selector, and None for plain text.
    """

    place: str
    content: str
    hides: str | None = None


def exhibits(piece: Piece, language: Language, clock: Clock) -> Iterator[Exhibit]:
    """A message in every place where it can be read."""
    if isinstance(piece, Scheduled):
        yield from _posted_by_slack(piece, language, clock)
        return
    if isinstance(piece, Listed):
        yield from (Exhibit(name, "\n".join(words).strip()) for name, words in piece.alerts.items())
        return
    message = Renderer(language).render(piece.event, link=_LINK, skipped=piece.skipped)
    envelope = Envelope(piece.event, message, DictMemory(), skipped=piece.skipped)
    for show in STANDS.values():
        yield from show(envelope, language, clock)


def _posted_by_slack(piece: Scheduled, language: Language, clock: Clock) -> Iterator[Exhibit]:
    moved = FakeClock(clock.now())
    with Sandbox(clock=moved, language=language) as sandbox:
        deadman.post(piece, sandbox, moved, language, _LINK)
        yield from _in_slack(*_pages(sandbox, language))


def _slack_bot(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Exhibit]:
    yield from _in_slack(*_shown(envelope, language, clock, _bot))


def _slack_webhook(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Exhibit]:
    yield Exhibit("Slack, webhook", _shown(envelope, language, clock, _hook)[0], _AROUND)


def _kakaotalk(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Exhibit]:
    phone = _shown(envelope, language, clock, _kakao)[1]
    yield Exhibit("KakaoTalk", phone, f"{_AROUND}, figure:has(.lock)")


def _in_apprise(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Exhibit]:
    yield Exhibit("Apprise", "\n".join(filter(None, apprise.told(envelope.message, _ROOM))))


def _console(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Exhibit]:
    stream = StringIO()
    ConsoleNotifier(stream).send(envelope)
    yield Exhibit("console", stream.getvalue())


def _json(envelope: Envelope, language: Language, clock: Clock) -> Iterator[Exhibit]:
    yield Exhibit("webhook", json.dumps(json.loads(webhook.payload(envelope)), ensure_ascii=False, indent=1))


STANDS: Mapping[type[Notifier], _Show] = {
    SlackBot: _slack_bot,
    SlackWebhook: _slack_webhook,
    KakaoTalk: _kakaotalk,
    apprise.AppriseNotifier: _in_apprise,
    ConsoleNotifier: _console,
    webhook.Webhook: _json,
}


def _in_slack(channel: str, phone: str) -> Iterator[Exhibit]:
    yield Exhibit("Slack, bot", channel, _AROUND)
    yield Exhibit("Slack, lock screen", phone, f"{_AROUND}, figure:has(.talk)")


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
    """A page with its pictures in it, since the sandbox is gone when somebody looks."""
    html = sandbox.answer(Request("GET", path, query)).body.decode()

    def inlined(match: re.Match[str]) -> str:
        answer = sandbox.answer(Request("GET", unquote(match[1])))
        kind = answer.headers.get("Content-Type", "image/png")
        return f'src="data:{kind};base64,{base64.b64encode(answer.body).decode()}"'

    return re.sub(rf'src="(?:{re.escape(sandbox.url)})?(/[^"]+)"', inlined, html)


def _bot(sandbox: Sandbox, folder: Path, language: Language, clock: Clock) -> Notifier:
    return SlackBot(BOT_TOKEN, CHANNEL, api_url=f"{sandbox.url}/api/", clock=clock, artist=Artist(language))


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
        picture=Artist(language).square,
        clock=clock,
    )
