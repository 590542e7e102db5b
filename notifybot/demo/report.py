"""Every message as it was sent, and every event in both languages, as Markdown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from notifybot.demo.arrivals import KAKAO, Arrival
from notifybot.demo.words import words_of
from notifybot.events import Event
from notifybot.rendering import Renderer
from notifybot.types import Language, Message


def transcript(language: Language, events: Sequence[Event], arrivals: Sequence[Arrival]) -> str:
    """The demo's story in one language. `arrivals` are given where that language is the one they were sent in."""
    words, renderer = words_of(language), Renderer(language)
    parts = [f"# {words.title}"]
    if arrivals:
        parts += [f"## {words.as_sent}", words.as_sent_note, *(_sent(each, language) for each in arrivals)]
    parts += [f"## {words.every_event}", words.every_event_note, *(_told(renderer.render(each)) for each in events)]
    return "\n\n".join(parts) + "\n"


def _sent(arrival: Arrival, language: Language) -> str:
    words = words_of(language)
    how = {name: getattr(words, name) for name in ("posted", "edited", "replied", "broadcast")}[arrival.how]
    where = words.kakao if arrival.service == KAKAO else f"Slack · {how}"
    return f"**{_clock(arrival.at)} · {where}**\n\n{_fenced(arrival.text)}"


def _told(message: Message) -> str:
    parts = [f"### {_clock(message.at)} · {message.title}", f"`{message.kind}` · `{message.short_id}`"]
    parts += [_fenced(message.body)] if message.body else []
    parts += [_table(message)] if message.rows else []
    if message.facts:
        parts.append("\n".join(f"- {fact.label}: {fact.value}" for fact in message.facts))
    parts += [_fenced(message.code)] if message.code else []
    return "\n\n".join(parts)


def _table(message: Message) -> str:
    rows = [[row.name, row.value, row.change, row.best, row.spark] for row in message.rows]
    lines = [list(message.headings), ["---", *["---:"] * 3, "---"], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _fenced(text: str) -> str:
    """Text as it stands; the fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in text.replace("\n", " ").split() if set(run) == {"`"}), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text.strip()}\n{fence}"


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone():%H:%M:%S}"
