"""`notifybot slack manifest | setup`"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console

from notifybot.cli.doctor import table
from notifybot.cli.slack_words import Words, words_of
from notifybot.clock import SYSTEM
from notifybot.config import Config, load
from notifybot.doctor.findings import Finding, Verdict
from notifybot.doctor.slack import Bot
from notifybot.model import Language
from notifybot.notifiers.slack import manifest as app_manifest
from notifybot.redaction import register

FILE = Path("notifybot.toml")
_TOKEN = re.compile(r"xoxb-[\x21\x23-\x26\x28-\x7e]+")
_KEYS = re.compile(r"^\s*(slack_bot_token|slack_channel)\s*=", re.MULTILINE)


def manifest(*, as_json: bool) -> int:
    """Print the manifest."""
    print(app_manifest.as_json() if as_json else app_manifest.as_yaml(), end="")
    return 0


@dataclass(frozen=True)
class _Talk:
    """One conversation on the terminal, in one language."""

    console: Console
    words: Words
    language: Language

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def tell(self, findings: list[Finding]) -> bool:
        """Show what was found; True when nothing is wrong."""
        self.console.print(table(findings, self.language))
        return all(each.verdict is not Verdict.WRONG for each in findings)

    def ask(self, question: str, *, hidden: bool = False, default: str | None = None) -> str:
        return str(typer.prompt(question, hide_input=hidden, default=default)).strip()


def setup(*, language: Language | None) -> int:
    """Lead a person from nothing to a token and a channel that Slack has confirmed."""
    config = load({"lang": language})
    words = words_of(config.lang)
    talk = _Talk(Console(), words, config.lang)
    talk.say(words.make_app.format(address=app_manifest.address()))
    token = _token(talk, config)
    channel = _channel(talk, config, token)
    _keep(talk, token, channel)
    talk.say(words.done)
    return 0


def _token(talk: _Talk, config: Config) -> str:
    """Ask until Slack knows the token and it may do everything."""
    while True:
        token = talk.ask(talk.words.give, hidden=True)
        register([token])
        if not _TOKEN.fullmatch(token):
            talk.say(talk.words.not_a_bots)
            continue
        bot = Bot(token, config.slack_api_url, SYSTEM)
        if talk.tell(bot.findings(channel=None)):
            return token


def _channel(talk: _Talk, config: Config, token: str) -> str:
    """Ask until the bot may write into the channel."""
    talk.say(talk.words.invite)
    bot = Bot(token, config.slack_api_url, SYSTEM)
    default = config.slack_channel
    while True:
        channel = talk.ask(talk.words.channel, default=default).removeprefix("#")
        if talk.tell([bot.channel(channel)]):
            return channel
        default = channel


def _keep(talk: _Talk, token: str, channel: str) -> None:
    """Offer to write the settings file, and say the lines for everywhere else, with the token left out."""
    lines = f"slack_bot_token = {json.dumps(token)}\nslack_channel = {json.dumps(channel)}\n"
    known = FILE.read_text("utf-8") if FILE.exists() else ""
    if not _KEYS.search(known) and typer.confirm(talk.words.write.format(path=FILE), default=False):
        _write_private(FILE, f"{lines}\n{known}" if known else lines)
        talk.say(talk.words.written.format(path=FILE))
        return
    talk.say(talk.words.elsewhere.format(channel=channel))


def _write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read. Top-level keys stand first, before any table of a file that is."""
    fresh = path.with_name(f".{path.name}.new")
    number = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(number, "w", encoding="utf-8") as file:
        file.write(text)
    fresh.replace(path)
