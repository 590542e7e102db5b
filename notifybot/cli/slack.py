"""`notifybot slack manifest | setup`: the Slack app's manifest, and the interactive set-up of token and channel."""

from __future__ import annotations

import json
import re
import sys
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from getpass import GetPassWarning
from pathlib import Path

import typer
from pydantic import SecretStr
from rich.console import Console

from notifybot.cli.doctor import table
from notifybot.clock import SYSTEM
from notifybot.config import Config, explain, load, settings_file
from notifybot.config_sources import Origin, spelling
from notifybot.doctor.findings import Finding, Level
from notifybot.doctor.slack import Bot
from notifybot.errors import ConfigError, UsageError
from notifybot.files import write_atomically
from notifybot.i18n import text
from notifybot.notifiers.slack import manifest as app_manifest
from notifybot.redaction import register
from notifybot.types import Language

_TOKEN = re.compile(r"xoxb-[\x21\x23-\x26\x28-\x7e]+")


def manifest(*, as_json: bool) -> int:
    """Print the manifest."""
    print(app_manifest.as_json() if as_json else app_manifest.as_yaml(), end="")
    return 0


@dataclass(frozen=True)
class _Talk:
    """One conversation on the terminal, in one language."""

    console: Console
    language: Language

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, findings: list[Finding]) -> bool:
        """Show what was found; True when nothing is wrong."""
        self.console.print(table(findings, self.language))
        return all(each.verdict is not Level.WRONG for each in findings)

    def ask(self, question: str, *, hidden: bool = False, default: str | None = None, offers: bool = True) -> str:
        """Ask for a value; Enter alone is the default, which is shown where it `offers` it."""
        with self._answered(), warnings.catch_warnings():
            warnings.simplefilter("ignore", GetPassWarning)  # without a terminal nothing typed is shown anyway
            return str(typer.prompt(question, hide_input=hidden, default=default, show_default=offers)).strip()

    def agree(self, question: str) -> bool:
        with self._answered():
            return typer.confirm(question, default=False)

    @contextmanager
    def _answered(self) -> Iterator[None]:
        """Raise UsageError where no terminal can give an answer; at a terminal Ctrl-C stays Ctrl-C."""
        try:
            yield
        except typer.Abort:
            if sys.stdin.isatty():
                raise
            raise UsageError(text(self.language, "cli.slack.nobody_answered")) from None


def setup(*, language: Language | None) -> int:
    """Ask for a token and a channel until Slack has confirmed them; 1 when other ones are still in use."""
    config = _settings(language)
    talk = _Talk(Console(), config.lang)
    talk.say(text(talk.language, "cli.slack.make_the_app", address=app_manifest.address()))
    token = _token(talk, config)
    channel = _channel(talk, config, token)
    chosen = {"slack_bot_token": token, "slack_channel": channel}
    _keep(talk, settings_file(), chosen)
    return _close(talk, chosen)


def _settings(language: Language | None) -> Config:
    """Load the settings; without those of Slack's bot if they are the ones that cannot be read."""
    try:
        return load({"lang": language})
    except ConfigError:
        return load({"lang": language, "slack_bot_token": "", "slack_channel": "", "slack_channels": ""})


def _token(talk: _Talk, config: Config) -> str:
    """Ask until Slack knows the token and it may do everything."""
    while True:
        token = talk.ask(text(talk.language, "cli.slack.paste_the_token"), hidden=True)
        register([token])
        if not _TOKEN.fullmatch(token):
            talk.say(text(talk.language, "cli.slack.no_bot_token"))
            continue
        bot = Bot(token, config.slack_api_url, SYSTEM)
        if talk.show(bot.findings()):
            return token


def _channel(talk: _Talk, config: Config, token: str) -> str:
    """Ask until the bot may write into the channel."""
    talk.say(text(talk.language, "cli.slack.invite_the_bot"))
    bot = Bot(token, config.slack_api_url, SYSTEM)
    channel = talk.ask(text(talk.language, "cli.slack.which_channel"), default=config.slack_channel).removeprefix("#")
    while not talk.show([bot.channel(channel)]):
        question = text(talk.language, "cli.slack.which_channel_instead", tried=channel)
        channel = talk.ask(question, default=channel, offers=False).removeprefix("#")
    return channel


def _keep(talk: _Talk, path: Path, chosen: dict[str, str]) -> None:
    """Offer to write the settings file; else print the lines for it, and for other places, without the token."""
    known = path.read_bytes().decode() if path.exists() else ""  # with its own line ends
    there = tomllib.loads(known)
    other = [key for key in chosen if key in there and there[key] != chosen[key]]
    if all(there.get(key) == value for key, value in chosen.items()):
        return
    question = "cli.slack.may_it_be_replaced" if other else "cli.slack.may_it_be_written"
    failure = ""
    if talk.agree(text(talk.language, question, path=path, keys=", ".join(other))):
        edited = with_values(known, chosen)
        try:
            if edited is not None:  # written to what a link leads to
                write_atomically(path.resolve(), edited.encode(), private=True)
                talk.say(text(talk.language, "cli.slack.written", path=path, name=path.name))
                return
            failure = text(talk.language, "cli.slack.write_it_yourself", path=path)
        except OSError as error:
            failure = text(talk.language, "cli.slack.cannot_write", path=path, why=error.strerror)
    where = text(talk.language, "cli.slack.set_it_where_training_runs", channel=chosen["slack_channel"])
    talk.say(f"{failure}{where}")


def _close(talk: _Talk, chosen: dict[str, str]) -> int:
    """Read the settings as a training will, and say whether these are the ones that it gets."""
    try:
        config = load({"lang": talk.language})
    except ConfigError as error:
        talk.say(f"{error}\n{text(talk.language, 'cli.slack.is_not_set_up')}")
        return 1
    sources = {key: source for key, source, _ in explain(config)}
    other = [key for key, value in chosen.items() if _plain(getattr(config, key)) != value]
    if not other:
        talk.say(text(talk.language, "cli.slack.is_set_up"))
        return 0
    if all(sources[key] == Origin.DEFAULT for key in other):
        talk.say(text(talk.language, "cli.slack.works_once_set"))
        return 0
    for key in other:
        origin = sources[key]  # a file's is its path
        place = text(talk.language, _PLACES[origin]) if origin in _PLACES else origin
        talk.say(text(talk.language, "cli.slack.another_value_is_used", name=spelling(key, origin), place=place))
    talk.say(text(talk.language, "cli.slack.is_not_set_up"))
    return 1


_PLACES: dict[str, str] = {Origin.ENVIRONMENT: "cli.slack.place.environment", Origin.COLAB: "cli.slack.place.colab"}


def _plain(value: object) -> object:
    secret = value.get_secret_value() if isinstance(value, SecretStr) else value
    return secret.removeprefix("#") if isinstance(secret, str) else secret


_VALUE = r"""("(?:[^"\\\r\n]|\\.)*"|'[^'\r\n]*')(?=[ \t]*(?:#|\r?$))"""


def with_values(text: str, values: Mapping[str, str]) -> str | None:
    """The text in which each key has its value; None where that cannot be done without touching anything else.

    A key that is there keeps its place and its comment; others stand above all that is there, since what follows a
    table's heading would belong to the table.
    """
    there = tomllib.loads(text)
    end = "\r\n" if "\r\n" in text else "\n"
    added = "".join(f"{key} = {_quoted(value)}{end}" for key, value in values.items() if key not in there)
    edited: str | None = f"{added}{end}{text}" if added and text else added or text
    for key, value in values.items():
        edited = _replaced(edited, key, value) if edited is not None and key in there else edited
    return edited if edited is not None and tomllib.loads(edited) == {**there, **values} else None


def _replaced(text: str, key: str, value: str) -> str | None:
    """The text with the one value replaced that a parser reads for the key: the same words may stand in a string."""
    before = tomllib.loads(text)
    for found in re.finditer(rf"^[ \t]*(?:{key}|\"{key}\"|'{key}')[ \t]*=[ \t]*{_VALUE}", text, re.MULTILINE):
        edited = text[: found.start(1)] + _quoted(value) + text[found.end(1) :]
        if tomllib.loads(edited) == {**before, key: value}:
            return edited
    return None


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)
