"""`notifybot outbox`"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from notifybot.cli.database import database, open_store
from notifybot.cli.options import Cell, Listing, in_json
from notifybot.cli.outbox_words import Words, words_of
from notifybot.cli.words import Words as CommonWords
from notifybot.cli.words import words_of as common_words_of
from notifybot.clock import SYSTEM
from notifybot.config import Config, load
from notifybot.delivery.build import notifiers_from, open_delivery
from notifybot.errors import UsageError
from notifybot.events import to_json
from notifybot.rendering import Renderer
from notifybot.rendering.error_text import reason_line
from notifybot.store import dead_letters
from notifybot.store.database import Store
from notifybot.store.dead_letters import DeliveryRecord, replacement_key
from notifybot.store.outbox import Counts, DeadLetter, Outbox
from notifybot.store.schema import DeliveryState
from notifybot.store.stored_reason import from_text
from notifybot.types import Language


def run(*, dead: bool, as_json: bool) -> int:
    """Print the ledger of every notifier, or the dead letters; 1 when a ledger does not add up."""
    config = load()
    words = common_words_of(config.lang)
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


def _ledgers(ledgers: dict[str, Counts], words: CommonWords) -> Listing:
    counted = (words.put, words.sent.capitalize(), words.pending, words.dead, words.dropped)
    headings = (words.notifier, *counted, words.check)
    rows: list[list[Cell]] = []
    for key, counts in sorted(ledgers.items()):
        check = Text(words.conserved, style="green") if counts.conserved else Text(words.violated, style="bold red")
        numbers = (counts.put, counts.sent, counts.pending, counts.dead, counts.dropped)
        rows.append([key, *(str(number) for number in numbers), check])
    return Listing(headings, rows)


def _letters(letters: list[DeadLetter], language: Language) -> Listing:
    words = common_words_of(language)
    rows: list[list[Cell]] = []
    for letter in letters:
        when = f"{letter.done_at.astimezone():%Y-%m-%d %H:%M}" if letter.done_at else ""
        rows.append([when, letter.notifier, letter.kind, letter.run_id, _why(letter, language)])
    return Listing((words.at, words.notifier, words.kind, words.run, words.reason), rows, wraps=True)


def _why(letter: DeadLetter, language: Language) -> str:
    return reason_line(from_text(letter.error), language)


_SENDING_S = 20.0  # as long as one slow answer
_GAP_S = 1.5  # from one message to the next: Slack takes one a second
_UNCHANGED = "unchanged"


def show_list(state: DeliveryState, *, limit: int, as_json: bool) -> int:
    """Print the messages in a state, the dead ones unless another is asked for."""
    config = load()
    words = words_of(config.lang)
    with _opened(config) as store:
        found = dead_letters.letters(store, state, limit=limit) if store else []
    console = Console()
    if as_json:
        print(in_json([_plain(each, config.lang) for each in found]))
    elif not found:
        console.print(words.none_in_state.format(state=words.states[state]), markup=False)
    else:
        console.print(_table(found, config, words))
        if state is DeliveryState.DEAD:
            console.print(words.how_on, markup=False, soft_wrap=True)
    return 0


def show_one(letter_id: int, *, as_json: bool) -> int:
    """Print everything about one message. Raises UsageError when there is none of that id."""
    config = load()
    words = words_of(config.lang)
    with _opened(config) as store:
        letter = dead_letters.find(store, letter_id) if store else None
    if letter is None:
        raise UsageError(words.no_such.format(id=letter_id))
    if as_json:
        whole = _plain(letter, config.lang) | {"event": json.loads(to_json(letter.event))}
        print(in_json(whole))
    else:
        Console().print(_card(letter, config, words))
    return 0


def retry(ids: Sequence[int], *, as_json: bool) -> int:
    """Put dead letters back and send what can be sent now; 1 when one was not put back or is dead again."""
    config = load()
    with _opened(config) as store:
        found = list(filter(None, (dead_letters.find(store, each) for each in ids))) if store else []
        after = _again(store, found, config) if store else {}
    results = {each: _outcome(after.get(each)) for each in ids}
    if as_json:
        print(json.dumps([{"id": each, "state": state} for each, state in results.items()], indent=2))
    else:
        for each in ids:
            Console().print(_told(each, after.get(each), config.lang), markup=False, soft_wrap=True, highlight=False)
    return 0 if all(state in (DeliveryState.PENDING, DeliveryState.SENT) for state in results.values()) else 1


def check_choice(ids: Sequence[int], *, everything: bool) -> None:
    """Raise UsageError unless all messages are meant, and no single ones."""
    if ids or not everything:
        words = words_of(load().lang)
        raise UsageError(words.ids_or_all if ids else words.which)


def retry_all(*, notifier: str, run: str, as_json: bool) -> int:
    """Put back every dead letter, of one notifier or run if named, and send what can be; 1 when one is dead again.

    One that gives way to a newer message was not refused.
    """
    config = load()
    words, console = words_of(config.lang), Console()
    with _opened(config) as store:
        dead = dead_letters.letters(store, DeliveryState.DEAD, limit=None) if store else []
        found = [each for each in reversed(dead) if _is_meant(each, notifier, run)]
        if found and not as_json:
            console.print(words.again.format(number=len(found)), markup=False, soft_wrap=True, highlight=False)
        after = _again(store, found, config) if store and found else {}
    results = {each.id: _outcome(after.get(each.id)) for each in found}
    if as_json:
        print(json.dumps([{"id": each, "state": state} for each, state in results.items()], indent=2))
    elif not found:
        console.print(words.none_in_state.format(state=words.states[DeliveryState.DEAD]), markup=False)
    else:
        console.print(_numbers(results, words), markup=False, soft_wrap=True, highlight=False)
    return 0 if set(results.values()) <= {DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.DROPPED} else 1


def _is_meant(letter: DeliveryRecord, notifier: str, run: str) -> bool:
    names = (letter.notifier, letter.notifier.partition(":")[0])
    return (not notifier or notifier.casefold() in names) and (
        not run or run in (letter.event.run.id, letter.event.run.name)
    )


def _numbers(results: Mapping[int, str], words: Words) -> str:
    """What became of them: how many of each."""
    counts = Counter(results.values())
    named = [f"{words.states[state]} {counts[state]}" for state in DeliveryState if counts[state]]
    return " · ".join([*named, *([f"{words.left} {counts[_UNCHANGED]}"] if counts[_UNCHANGED] else [])])


def drop(ids: Sequence[int], *, as_json: bool) -> int:
    """Drop messages for good; 1 when one could not be."""
    config = load()
    words = words_of(config.lang)
    with _opened(config) as store:
        gone = dead_letters.drop(store, ids) if store else []
    if as_json:
        print(json.dumps([{"id": each, "dropped": each in gone} for each in ids], indent=2))
    else:
        for each in ids:
            text = words.dropped if each in gone else words.cannot_drop
            Console().print(text.format(id=each), markup=False, soft_wrap=True, highlight=False)
    return 0 if set(ids) <= set(gone) else 1


@contextmanager
def _opened(config: Config) -> Iterator[Store | None]:
    """This machine's store; None where nothing was ever put into one."""
    path = database(config)
    if not path.exists():
        yield None
        return
    with open_store(path) as store:
        yield store


def _again(store: Store, found: Sequence[DeliveryRecord], config: Config) -> dict[int, DeliveryRecord | None]:
    """Put dead letters back and send what can be sent now; return what became of those that were put back."""
    back = dead_letters.retry(store, [each.id for each in found], _successors(store, found, config))
    if back:
        _send(store, config, _SENDING_S + _GAP_S * len(back))
    return {each: dead_letters.find(store, each) for each in back}


def _successors(store: Store, found: Sequence[DeliveryRecord], config: Config) -> dict[str, str]:
    """For the keys that the settings no longer have: the key that took the place of each, where that is certain."""
    built = notifiers_from(config, SYSTEM)
    for each in built:
        each.close()
    now = {each.key for each in built}
    gone = {each.notifier for each in found} - now
    return {key: successor for key in gone if (successor := replacement_key(store, key, now)) is not None}


def _send(store: Store, config: Config, within_s: float) -> None:
    worker = open_delivery(store, config, all_known=False).worker
    worker.start()
    try:
        worker.flush(within_s)
    finally:
        worker.stop(_SENDING_S)


def _outcome(letter: DeliveryRecord | None) -> str:
    return letter.state.value if letter is not None else _UNCHANGED


def _told(letter_id: int, letter: DeliveryRecord | None, language: Language) -> str:
    words = words_of(language)
    if letter is None:
        return words.cannot_retry.format(id=letter_id)
    if letter.state is DeliveryState.SENT:
        return words.delivered.format(id=letter_id)
    if letter.state is DeliveryState.PENDING:
        why = reason_line(letter.reason, language)
        return words.waits.format(id=letter_id, notifier=letter.notifier, error=why).rstrip()
    return f"{letter_id}: {words.states[letter.state]}. {reason_line(letter.reason, language)}".rstrip()


def _table(found: list[DeliveryRecord], config: Config, words: Words) -> Listing:
    common, renderer = common_words_of(config.lang), Renderer(config.lang, config.templates_dir)
    rows = [
        [
            str(each.id),
            _moment(each.done_at or each.due_at),
            each.notifier,
            renderer.render(each.event).title,
            reason_line(each.reason, config.lang),
        ]
        for each in found
    ]
    headings = (words.number, common.at, common.notifier, words.message, common.reason)
    return Listing(headings, rows, wraps=True)


def _card(letter: DeliveryRecord, config: Config, words: Words) -> Table:
    common, message = common_words_of(config.lang), Renderer(config.lang, config.templates_dir).render(letter.event)
    table = Table.grid("", Column(overflow="fold"), padding=(0, 2))  # Rich cuts Korean else
    rows = (
        (words.number, str(letter.id)),
        (common.notifier, letter.notifier),
        (words.state, words.states[letter.state]),
        (common.reason, reason_line(letter.reason, config.lang)),
        (words.attempts, str(letter.attempts)),
        (words.created, _moment(letter.created_at)),
        (words.due if letter.done_at is None else words.done, _moment(letter.done_at or letter.due_at)),
        (words.event, f"{letter.event.kind} {letter.event.id}"),
        (common.run, f"{letter.event.run.name} ({letter.event.run.id})"),
        (words.message, "\n".join(filter(None, (message.title, message.body)))),
    )
    for name, value in rows:
        if value:
            table.add_row(Text(name, style="bold"), Text(value))
    return table


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _plain(letter: DeliveryRecord, language: Language) -> dict[str, object]:
    """For a program: `error` to show, and `code` to decide by, which is the same in every language."""
    return {
        "id": letter.id,
        "notifier": letter.notifier,
        "state": letter.state.value,
        "kind": letter.event.kind,
        "event_id": letter.event.id,
        "run_id": letter.event.run.id,
        "attempts": letter.attempts,
        "created_at": letter.created_at.isoformat(),
        "due_at": letter.due_at.isoformat(),
        "done_at": letter.done_at.isoformat() if letter.done_at else None,
        "error": reason_line(letter.reason, language),
        "code": letter.reason.code if letter.error else "",
    }
