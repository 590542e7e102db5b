"""`notifybot test`: samples sent, or told what would become of them."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifybot.cli.explain import nobody_in, show
from notifybot.cli.samples import samples
from notifybot.cli.telling import Answer, teller
from notifybot.cli.words import Words, words_of
from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.errors import UsageError
from notifybot.events import KINDS


def run(*, notifier: str, kind: str, explain: bool = False) -> int:
    """Send the samples and print a table of the answers; 1 when one was refused.

    With `explain` nothing is sent: print who would be told of what, and why.
    """
    config = load()
    words = words_of(config.lang)
    if kind and kind not in KINDS:
        raise UsageError(f"there is no message kind {kind!r}; the kinds are: {', '.join(KINDS)}")
    events = [each for each in samples(config.lang, SYSTEM.now(), project=config.project) if kind in ("", each.kind)]
    with teller(config, only=notifier) as everyone:
        if not everyone.notifiers:
            raise UsageError(f"no notifier named {notifier!r} is configured" if notifier else words.no_notifier)
        if explain:
            show(config, everyone.notifiers, kind=kind, clock=SYSTEM)
            return 0
        answers = list(everyone.tell(events))
    if not answers:
        Console(highlight=False).print(nobody_in(config.lang))
        return 0
    Console().print(_table(answers, words))
    return 0 if all(answer.ok for answer in answers) else 1


def _table(answers: list[Answer], words: Words) -> Table:
    table = Table(words.notifier, words.kind, words.result)
    for answer in answers:
        table.add_row(answer.notifier, answer.event.kind, _result(answer, words))
    return table


def _result(answer: Answer, words: Words) -> Text:
    if not answer.tried:
        return Text(words.skipped, style="dim")
    return Text(answer.error, style="red") if answer.error else Text(words.sent, style="green")
