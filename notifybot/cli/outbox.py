"""`notifybot outbox`: the ledger, and single deliveries listed, shown, sent again or dropped."""

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
from notifybot.cli.options import Cell, Listing, columns, in_json
from notifybot.clock import SYSTEM
from notifybot.config import Config, load
from notifybot.delivery.build import notifiers_from, open_delivery
from notifybot.errors import UsageError
from notifybot.events import to_json
from notifybot.i18n import text
from notifybot.rendering import Renderer
from notifybot.rendering.error_text import reason_line
from notifybot.store import dead_letters
from notifybot.store.database import Store
from notifybot.store.dead_letters import DeliveryRecord, replacement_key
from notifybot.store.outbox import Outbox
from notifybot.types import DeliveryState, Language


def run(*, as_json: bool) -> int:
    """Print the ledger of every notifier; 1 when one does not add up."""
    config = load()
    with _opened(config) as store:
        ledgers = Outbox(store).counts() if store else {}
    if as_json:
        shown = {key: asdict(counts) | {"conserved": counts.conserved} for key, counts in ledgers.items()}
        print(in_json({"notifiers": shown}))
    elif ledgers:
        rows: list[list[Cell]] = []
        for key, counts in sorted(ledgers.items()):
            numbers = (counts.put, counts.sent, counts.pending, counts.dead, counts.dropped)
            check, style = _CHECKED[counts.conserved]
            rows.append([key, *map(str, numbers), Text(text(config.lang, check), style=style)])
        headings = columns(config.lang, "notifier", "put", "sent", "pending", "dead", "dropped", "check")
        Console().print(Listing(headings, rows))
    else:
        Console().print(text(config.lang, "cli.outbox.empty"))
    return 0 if all(counts.conserved for counts in ledgers.values()) else 1


_CHECKED = {True: ("cli.outbox.nothing_missing", "green"), False: ("cli.outbox.does_not_add_up", "bold red")}
_SENDING_S = 20.0  # seconds: as long as one slow answer
_GAP_S = 1.5  # seconds between messages: Slack takes one a second
_UNCHANGED = "unchanged"


def show_list(state: DeliveryState, *, limit: int, as_json: bool) -> int:
    """Print the messages in a state, the dead ones unless another is asked for."""
    config = load()
    with _opened(config) as store:
        found = dead_letters.find_all(store, state, limit=limit) if store else []
    console = Console()
    if as_json:
        print(in_json([_plain(each, config.lang) for each in found]))
    elif not found:
        console.print(_none_in(state, config.lang), markup=False)
    else:
        renderer, rows = Renderer(config.lang, config.templates_dir), []
        for each in found:
            title = renderer.render(each.event).title if each.event else each.kind
            reason = reason_line(each.reason, config.lang)
            rows.append([str(each.id), _moment(each.done_at or each.due_at), each.notifier, title, reason])
        headings = columns(config.lang, "id", "at", "notifier", "message", "reason")
        console.print(Listing(headings, rows, wraps=True))
        if state is DeliveryState.DEAD:
            console.print(text(config.lang, "cli.outbox.what_to_do"), markup=False, soft_wrap=True)
    return 0


def show_one(message_id: int, *, as_json: bool) -> int:
    """Print everything about one message. Raises UsageError when there is none of that id."""
    config = load()
    with _opened(config) as store:
        record = dead_letters.find(store, message_id) if store else None
    if record is None:
        raise UsageError(text(config.lang, "cli.outbox.no_such_message", id=message_id))
    if as_json:
        event = json.loads(to_json(record.event)) if record.event else None
        whole = _plain(record, config.lang) | {"event": event}
        print(in_json(whole))
    else:
        Console().print(_card(record, config))
    return 0


def retry(ids: Sequence[int], *, as_json: bool) -> int:
    """Put dead letters back and send what can be sent now; 1 when one was not put back or is dead again."""
    config = load()
    with _opened(config) as store:
        found = list(filter(None, (dead_letters.find(store, each) for each in ids))) if store else []
        after = _again(store, found, config) if store else {}
    results = {each: after[each].state if each in after else _UNCHANGED for each in ids}
    if as_json:
        _print_states(results)
    else:
        for each in ids:
            _print_line(_sentence(each, after.get(each), config.lang))
    return 0 if set(results.values()) <= {DeliveryState.PENDING, DeliveryState.SENT} else 1


def check_choice(ids: Sequence[int], *, everything: bool) -> None:
    """Raise UsageError unless all messages are meant, and no single ones."""
    if ids or not everything:
        raise UsageError(text(load().lang, "cli.outbox.ids_or_all" if ids else "cli.outbox.say_which"))


def retry_all(*, notifier: str, run: str, as_json: bool) -> int:
    """Put back every dead letter, of one notifier or run if named, and send what can be; 1 when one is dead again.

    One that gives way to a newer message was not refused.
    """
    config = load()
    with _opened(config) as store:
        dead = dead_letters.find_all(store, DeliveryState.DEAD, limit=None) if store else []
        found = [each for each in reversed(dead) if _is_meant(each, notifier, run)]
        if found and not as_json:
            _print_line(text(config.lang, "cli.outbox.to_be_sent_again", number=len(found)))
        after = _again(store, found, config) if store and found else {}
    results = {each.id: after[each.id].state if each.id in after else _UNCHANGED for each in found}
    if as_json:
        _print_states(results)
    elif not found:
        _print_line(_none_in(DeliveryState.DEAD, config.lang))
    else:
        counts = Counter(results.values())
        named = [f"{_state_name(state, config.lang)} {counts[state]}" for state in DeliveryState if counts[state]]
        if counts[_UNCHANGED]:
            named.append(f"{text(config.lang, 'cli.outbox.not_put_back')} {counts[_UNCHANGED]}")
        _print_line(" · ".join(named))
    return 0 if set(results.values()) <= {DeliveryState.PENDING, DeliveryState.SENT, DeliveryState.DROPPED} else 1


def _print_states(results: Mapping[int, str]) -> None:
    print(json.dumps([{"id": each, "state": state} for each, state in results.items()], indent=2))


def _print_line(line: str) -> None:
    Console().print(line, markup=False, soft_wrap=True, highlight=False)


def _is_meant(record: DeliveryRecord, notifier: str, run: str) -> bool:
    """True for one of the notifier and run that are named, if its event can be read: else it would be dead again."""
    if record.event is None:
        return False
    names = (record.notifier, record.notifier.partition(":")[0])
    runs = (record.event.run.id, record.event.run.name)
    return (not notifier or notifier.casefold() in names) and (not run or run in runs)


def drop(ids: Sequence[int], *, as_json: bool) -> int:
    """Drop messages for good; 1 when one could not be."""
    config = load()
    with _opened(config) as store:
        gone = dead_letters.drop(store, ids) if store else []
    if as_json:
        print(json.dumps([{"id": each, "dropped": each in gone} for each in ids], indent=2))
    else:
        for each in ids:
            key = "cli.outbox.was_dropped" if each in gone else "cli.outbox.cannot_be_dropped"
            _print_line(text(config.lang, key, id=each))
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


def _again(store: Store, found: Sequence[DeliveryRecord], config: Config) -> dict[int, DeliveryRecord]:
    """Put dead letters back and send what can be sent now; return what became of those that were put back.

    Keys that the settings no longer have give way to those that took their place, where that is certain.
    """
    built = notifiers_from(config, SYSTEM)
    for each in built:
        each.close()
    now = {each.key for each in built}
    gone = {each.notifier for each in found} - now
    successors = {key: successor for key in gone if (successor := replacement_key(store, key, now)) is not None}
    back = dead_letters.retry(store, [each.id for each in found], successors)
    if back:
        worker = open_delivery(store, config, all_known=False).worker
        worker.start()
        try:
            worker.flush(_SENDING_S + _GAP_S * len(back))
        finally:
            worker.stop(_SENDING_S)
    return {each: record for each in back if (record := dead_letters.find(store, each)) is not None}


def _sentence(message_id: int, record: DeliveryRecord | None, language: Language) -> str:
    """Return what became of a message that was to be sent again."""
    if record is None:
        return text(language, "cli.outbox.cannot_be_put_back", id=message_id)
    if record.state is DeliveryState.SENT:
        return text(language, "cli.outbox.was_sent", id=message_id)
    why = reason_line(record.reason, language)
    if record.state is DeliveryState.PENDING:
        return text(language, "cli.outbox.waits", id=message_id, notifier=record.notifier, error=why).rstrip()
    return f"{message_id}: {_state_name(record.state, language)}. {why}".rstrip()


def _none_in(state: DeliveryState, language: Language) -> str:
    return text(language, "cli.outbox.none_in_state", state=_state_name(state, language))


def _state_name(state: DeliveryState, language: Language) -> str:
    return text(language, f"cli.outbox.state.{state}")


def _card(record: DeliveryRecord, config: Config) -> Table:
    event = record.event
    message = Renderer(config.lang, config.templates_dir).render(event) if event else None
    table = Table.grid("", Column(overflow="fold"), padding=(0, 2))  # Rich cuts Korean else
    moment = "due_at" if record.done_at is None else "done_at"
    names = columns(
        config.lang, "id", "notifier", "state", "reason", "attempts", "put_at", moment, "event", "run", "message"
    )
    values = (
        str(record.id),
        record.notifier,
        _state_name(record.state, config.lang),
        reason_line(record.reason, config.lang),
        str(record.attempts),
        _moment(record.created_at),
        _moment(record.done_at or record.due_at),
        f"{record.kind} {record.event_id}",
        f"{event.run.name} ({event.run.id})" if event else record.run_key,
        "\n".join(filter(None, (message.title, message.body))) if message else "",
    )
    for name, value in zip(names, values, strict=True):
        if value:
            table.add_row(Text(name, style="bold"), Text(value))
    return table


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _plain(record: DeliveryRecord, language: Language) -> dict[str, object]:
    """For a program: `error` to show, and `code` to decide by, which is the same in every language."""
    return {
        "id": record.id,
        "notifier": record.notifier,
        "state": record.state.value,
        "kind": record.kind,
        "event_id": record.event_id,
        "run_id": record.event.run.id if record.event else record.run_key,
        "attempts": record.attempts,
        "created_at": record.created_at.isoformat(),
        "due_at": record.due_at.isoformat(),
        "done_at": record.done_at.isoformat() if record.done_at else None,
        "error": reason_line(record.reason, language),
        "code": record.reason.code if record.error else "",
    }
