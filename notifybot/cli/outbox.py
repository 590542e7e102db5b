"""`notifybot outbox`"""

from __future__ import annotations

from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from notifybot.cli.database import database, open_store
from notifybot.cli.options import Cell, Listing, in_json
from notifybot.cli.words import Words, words_of
from notifybot.config import load
from notifybot.rendering.reasons import reason_line
from notifybot.store.outbox import Counts, DeadLetter, Outbox
from notifybot.store.stored_reason import from_text
from notifybot.types import Language


def run(*, dead: bool, as_json: bool) -> int:
    """Print the ledger of every notifier, or the dead letters; 1 when a ledger does not add up."""
    config = load()
    words = words_of(config.lang)
    path = database(config)
    ledgers: dict[str, Counts] = {}
    letters: list[DeadLetter] = []
    if path.exists():
        with open_store(path) as store:
            outbox = Outbox(store)
            ledgers, letters = outbox.counts(), outbox.dead_letters() if dead else []
    if as_json:
        print(_json(ledgers, letters if dead else None, config.lang))
    elif dead:
        Console().print(_letters(letters, config.lang) if letters else words.no_dead)
    else:
        Console().print(_ledgers(ledgers, words) if ledgers else words.empty_outbox)
    return 0 if all(counts.conserved for counts in ledgers.values()) else 1


def _json(ledgers: dict[str, Counts], letters: list[DeadLetter] | None, language: Language) -> str:
    shown: dict[str, object] = {
        "notifiers": {key: asdict(counts) | {"conserved": counts.conserved} for key, counts in ledgers.items()}
    }
    if letters is not None:
        shown["dead_letters"] = [
            asdict(each)
            | {"done_at": each.done_at.isoformat() if each.done_at else None, "error": _why(each, language)}
            for each in letters
        ]
    return in_json(shown)


def _ledgers(ledgers: dict[str, Counts], words: Words) -> Listing:
    counted = (words.put, words.sent.capitalize(), words.pending, words.dead, words.dropped)
    headings = (words.notifier, *counted, words.check)
    rows: list[list[Cell]] = []
    for key, counts in sorted(ledgers.items()):
        check = Text(words.conserved, style="green") if counts.conserved else Text(words.violated, style="bold red")
        numbers = (counts.put, counts.sent, counts.pending, counts.dead, counts.dropped)
        rows.append([key, *(str(number) for number in numbers), check])
    return Listing(headings, rows)


def _letters(letters: list[DeadLetter], language: Language) -> Listing:
    words = words_of(language)
    rows: list[list[Cell]] = []
    for letter in letters:
        when = f"{letter.done_at.astimezone():%Y-%m-%d %H:%M}" if letter.done_at else ""
        rows.append([when, letter.notifier, letter.kind, letter.run_id, _why(letter, language)])
    return Listing((words.at, words.notifier, words.kind, words.run, words.reason), rows, wraps=True)


def _why(letter: DeadLetter, language: Language) -> str:
    return reason_line(from_text(letter.error), language)
