"""`notifybot test`: sends the samples, or explains what would be sent."""

from __future__ import annotations

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from notifybot.cli.direct_send import Answer, Teller, easel, teller, why_none
from notifybot.cli.explain import nobody_in, show
from notifybot.cli.options import columns
from notifybot.cli.samples import NAME, samples
from notifybot.clock import SYSTEM
from notifybot.config import load
from notifybot.delivery.subscription import takes_pictures
from notifybot.errors import UsageError, reader_text
from notifybot.events import KINDS
from notifybot.i18n import text
from notifybot.types import Language


def run(*, notifier: str, kind: str, explain: bool = False, project: str = "", name: str = "") -> int:
    """Send the samples, with pictures where they can be drawn, and print a table; 1 when anything was refused.

    With `explain` nothing is sent: print where each event would go, and why. Both are as for a run of that `project`
    and `name`.
    """
    config = load()
    if kind and kind not in KINDS:
        kinds = ", ".join(KINDS)
        raise UsageError(reader_text("cli.test.no_such_kind", kind=f"{kind!r}", kinds=kinds))
    if explain:
        with teller(config, only=notifier) as everyone:
            _refuse_nobody(everyone, notifier, config.lang)
            show(config, everyone.notifiers, kind=kind, clock=SYSTEM, project=project, name=name)
        return 0
    every = samples(config.lang, SYSTEM.now(), project=project or config.project, name=name or NAME)
    events = [each for each in every if kind in ("", each.kind)]
    with easel(config) as drawn_at, teller(config, only=notifier, easel=drawn_at) as everyone:
        _refuse_nobody(everyone, notifier, config.lang)
        answers = list(everyone.tell(events))
        untried = not drawn_at.studio and any(takes_pictures(each) for each in everyone.notifiers)
    console = Console(highlight=False)
    if not answers:
        console.print(nobody_in(config.lang))
        return 0
    console.print(_table(answers, config.lang))
    if untried:
        console.print(why_none(config), markup=False, soft_wrap=True)
    return 0 if all(answer.ok for answer in answers) else 1


def _refuse_nobody(everyone: Teller, notifier: str, language: Language) -> None:
    if not everyone.notifiers:
        named = reader_text("cli.test.no_such_notifier", notifier=f"{notifier!r}")
        raise UsageError(named if notifier else text(language, "cli.no_notifier"))


def _table(answers: list[Answer], language: Language) -> Table:
    """A row for each message, and one below it for its picture."""
    *headings, result = columns(language, "notifier", "kind", "result")
    table = Table(*headings, Column(result, overflow="fold"))  # Rich cuts Korean else
    for answer in answers:
        table.add_row(answer.notifier, answer.event.kind, _result(answer, language))
        if answer.picture is not None:
            table.add_row("", text(language, "cli.test.its_picture"), _success_or(answer.picture, language))
    return table


def _result(answer: Answer, language: Language) -> Text:
    if not answer.tried:
        return Text(text(language, "cli.test.not_tried"), style="dim")
    return _success_or(answer.error, language)


def _success_or(error: str, language: Language) -> Text:
    return Text(error, style="red") if error else Text(text(language, "cli.sent"), style="green")
