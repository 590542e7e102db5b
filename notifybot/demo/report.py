"""Report of the demo: every message as Markdown, in one language, and copies of the pages with their pictures."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs, urljoin, urlsplit

import requests

from notifybot.demo.checks import KAKAO, Arrival
from notifybot.events import Event
from notifybot.i18n import text
from notifybot.notifiers.http import session_for
from notifybot.rendering import Renderer
from notifybot.types import Language, Message


def transcript(language: Language, events: Sequence[Event], arrivals: Sequence[Arrival]) -> str:
    """All of the demo's messages in one language. `arrivals` are given where they were sent in it."""
    renderer = Renderer(language)
    parts = [f"# {text(language, 'demo.title')}"]
    if arrivals:
        parts += [f"## {text(language, 'demo.as_sent')}", text(language, "demo.as_sent_note")]
        for each in arrivals:
            parts.append(f"**{_clock(each.at)} · {sender(each, language)}**\n\n{_fenced(each.text)}")
    parts += [f"## {text(language, 'demo.every_event')}", text(language, "demo.every_event_note")]
    parts += [_as_markdown(renderer.render(each)) for each in events]
    return "\n\n".join(parts) + "\n"


def sender(arrival: Arrival, language: Language) -> str:
    """Return the service that a message arrived at, and for Slack the kind of call."""
    if arrival.service == KAKAO:
        return text(language, "demo.kakao")
    return f"Slack · {text(language, f'demo.how.{arrival.how}')}"


def _as_markdown(message: Message) -> str:
    parts = [f"### {_clock(message.at)} · {message.title}", f"`{message.kind}` · `{message.short_id}`"]
    parts += [_fenced(message.body)] if message.body else []
    if message.rows:
        rows = [[row.name, row.value, row.change, row.best, row.spark] for row in message.rows]
        lines = [list(message.headings), ["---", *["---:"] * 3, "---"], *rows]
        cells = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in lines]
        parts.append("\n".join(f"| {each} |" for each in cells))
    if message.facts:
        parts.append("\n".join(f"- {fact.label}: {fact.value}" for fact in message.facts))
    parts += [_fenced(message.code)] if message.code else []
    return "\n\n".join(parts)


def _fenced(text: str) -> str:
    """Return the text in a code fence, which is longer than any run of backticks in it."""
    longest = max((len(run) for run in text.replace("\n", " ").split() if set(run) == {"`"}), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.strip()}\n{fence}"


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone():%H:%M:%S}"


_LINK = re.compile(r'href="(/[^"]*)"')
_PICTURE = re.compile(r'<img src="([^"]*)"')
_SERVED = re.compile(
    r'<script\b.*?</script>|<form method="post" action="/logout">.*?</form>|'
    r'<meta http-equiv="refresh"[^>]*>',
    re.DOTALL,
)
_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Page:
    """A page to keep: where it is served, and the name of its copy without language and ending.

    `login` is a link that opens it once, where it needs one.
    """

    url: str
    name: str
    language: Language
    login: str = ""


def keep(pages: list[Page], folder: Path) -> None:
    """Fetch pages and write their copies, with their pictures beside them.

    What cannot be had is left out: what matters was checked elsewhere.
    """
    for page in pages:
        try:
            with session_for(page.url) as session:
                if page.login:
                    session.get(page.login, timeout=_TIMEOUT_S)
                answer = session.get(page.url, params={"lang": page.language.value}, timeout=_TIMEOUT_S)
                answer.raise_for_status()
                pictures = _pictures(session, page.url, answer.text, folder)
        except requests.RequestException:
            continue
        (folder / f"{page.name}.{page.language}.html").write_text(still(answer.text, page.language, pictures), "utf-8")


def _pictures(session: requests.Session, url: str, html: str, folder: Path) -> dict[str, str]:
    """Write a page's pictures beside it, and return their files by their addresses, without what cannot be had."""
    files = {}
    for address in set(_PICTURE.findall(html)):
        place = urljoin(url, unescape(address))
        if urlsplit(place).netloc != urlsplit(url).netloc:
            continue
        try:
            answer = session.get(place, timeout=_TIMEOUT_S)
            answer.raise_for_status()
        except requests.RequestException:
            continue
        ending = mimetypes.guess_extension(answer.headers.get("Content-Type", "").partition(";")[0]) or ""
        files[address] = f"picture-{hashlib.sha256(answer.content).hexdigest()[:12]}{ending}"
        (folder / files[address]).write_bytes(answer.content)
    return files


def still(html: str, language: Language, pictures: Mapping[str, str]) -> str:
    """The page without what only its server can give, its links leading to the copies.

    `pictures` are the names of their copies by their addresses; a picture without one is taken out.
    """

    def local(link: re.Match[str]) -> str:
        return f'href="{pictures.get(link[1]) or _copy_of(unescape(link[1]), language)}"'

    def drawn(tag: re.Match[str]) -> str:
        copy = pictures.get(tag[1])
        return f'<img src="{copy}"{tag[2]}>' if copy else ""

    return _LINK.sub(local, re.sub(_PICTURE.pattern + "([^>]*)>", drawn, _SERVED.sub("", html)))


def _copy_of(address: str, language: Language) -> str:
    parts = urlsplit(address)
    asked = parse_qs(parts.query)
    spoken = asked.get("lang", [language.value])[0]
    if parts.path == "/slack":
        return f"{'thread' if 'thread' in asked else 'slack'}.{spoken}.html"
    if parts.path == "/phone":
        return f"phone.{spoken}.html"
    if parts.path.startswith("/runs/"):
        return f"run.{spoken}.html"
    return f"runs.{spoken}.html" if parts.path == "/" else "data:,"
