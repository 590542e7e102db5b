"""Copies of the pages that can be opened when nothing serves them any more."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import requests

from notifybot.model import Language
from notifybot.notifiers.answers import session_for

_LINK = re.compile(r'href="(/[^"]*)"')
_SERVED = re.compile(
    r'<script\b.*?</script>|<form method="post" action="/logout">.*?</form>|'
    r'<meta http-equiv="refresh"[^>]*>|<img src="/[^>]*>',
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

    @property
    def file(self) -> str:
        return f"{self.name}.{self.language}.html"


def keep(pages: list[Page], folder: Path) -> None:
    """Fetch pages and write their copies. One that cannot be had is left out: what matters was checked elsewhere."""
    for page in pages:
        try:
            with session_for(page.url) as session:
                if page.login:
                    session.get(page.login, timeout=_TIMEOUT_S)
                answer = session.get(page.url, params={"lang": page.language.value}, timeout=_TIMEOUT_S)
            answer.raise_for_status()
        except requests.RequestException:
            continue
        (folder / page.file).write_text(still(answer.text, page.language), "utf-8")


def still(html: str, language: Language) -> str:
    """The page without what only its server can give, its links leading to the copies."""

    def local(link: re.Match[str]) -> str:
        return f'href="{_copy_of(link[1].replace("&amp;", "&"), language)}"'

    return _LINK.sub(local, _SERVED.sub("", html))


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
