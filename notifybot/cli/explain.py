"""`notifybot test --explain`: for each kind of event, which notifiers send it now, later or never, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifybot.cli.database import database, open_store
from notifybot.cli.options import columns
from notifybot.cli.samples import NAME, endings, samples
from notifybot.clock import Clock
from notifybot.config import Config
from notifybot.delivery.subscription import left_today, unknown_notifiers
from notifybot.events import AlertRaised, Event, RunEnded
from notifybot.i18n import text
from notifybot.notifiers.base import Notifier
from notifybot.policy import ALERT_WAIT_S, KST, HoldBack, Pace, PaceFacts, Unwanted, admit, day_start, unwanted
from notifybot.preferences import names
from notifybot.rendering.format import about
from notifybot.store.outbox import Outbox
from notifybot.types import Language, RunRef, Severity

_STYLES = {"now": "green", "later": "yellow", "never": "dim"}


class Fate(NamedTuple):
    """Fate of an event at one notifier: sent "now", "later" or "never", and why, in words."""

    when: str
    why: str


def show(
    config: Config, notifiers: Sequence[Notifier], *, kind: str, clock: Clock, project: str = "", name: str = ""
) -> None:
    """Print a table for each notifier, as for a run of that project and name.

    Nothing is sent; the day's count is read where there is a database.
    """
    now, console, language = clock.now(), Console(highlight=False), config.lang
    events = list(examples(config, now, project=project, name=name))
    run = events[0].run
    if project or name or any(notifier.pace.chosen.routes(run) for notifier in notifiers):
        about_run = text(language, "cli.explain.for_a_run", name=run.name, project=run.project)
        console.print(about_run, style="dim", markup=False, soft_wrap=True)
    for notifier in notifiers:
        pace, facts = notifier.pace, _facts(config, notifier, now)
        rows = merged(
            (each, fate_of(pace, each, facts, now, config.lang)) for each in events if kind in ("", each.kind)
        )
        console.print(Text(notifier.name, style="bold"), Text(summary(pace, facts, config.lang), style="dim"), sep="  ")
        for line in routing(pace, run, config.lang):
            console.print(Text(f"  {line}"), soft_wrap=True)
        table = Table(*columns(language, "event_kind", "told", "when_and_why"), box=SIMPLE_HEAD, pad_edge=False)
        for label, fate in rows:
            style = _STYLES[fate.when]
            when = text(language, f"cli.explain.fate.{fate.when}")
            table.add_row(Text(label), Text(when, style=style), Text(fate.why, style=style))
        console.print(table)
    for stranger in unknown_notifiers(config, notifiers):
        line = text(language, "cli.explain.no_such_notifier", name=stranger)
        console.print(Text(line, style="yellow"), soft_wrap=True)


def routing(pace: Pace, run: RunRef, language: Language) -> Iterator[str]:
    """Yield a line for each routing rule: whether it lets the run in, and the patterns that decided."""
    for route in pace.chosen.routes(run):
        if route.fitting is not None:
            yield text(language, "cli.explain.fits", key=route.key, name=route.name, pattern=route.fitting)
        else:
            patterns = ", ".join(route.patterns)
            yield text(language, "cli.explain.fits_not", key=route.key, name=route.name, patterns=patterns)


def examples(config: Config, now: datetime, *, project: str = "", name: str = "") -> Iterator[Event]:
    """One event of each kind, and of those with a detail (a status, a severity), one of each."""
    for event in samples(config.lang, now, project=project or config.project, name=name or NAME):
        match event:
            case AlertRaised():
                yield from (replace(event, severity=each) for each in Severity)
            case RunEnded():
                yield from (replace(each, run=event.run) for each in endings(config.lang, now))
            case _:
                yield event


def fate_of(pace: Pace, event: Event, facts: PaceFacts, now: datetime, language: Language) -> Fate:
    """Return the fate of an event that happens now; the reason covers others of its kind at other times."""
    reason = unwanted(pace, event)
    if reason is Unwanted.ROUTE:
        keys = [route.key for route in pace.chosen.routes(event.run) if route.fitting is None]
        return Fate("never", text(language, "cli.explain.not_among_its_routes", key=keys[0]))
    if reason is not None:
        return Fate("never", text(language, f"cli.explain.unwanted.{reason.name.lower()}"))
    verdict = admit(pace, event, replace(facts, kept_back=True), now=now)  # as if no other epoch had been sent
    if isinstance(verdict, HoldBack):
        zone = pace.chosen.quiet.zone if pace.chosen.quiet else KST
        at = f"{verdict.until.astimezone(zone):%H:%M}"
        why = text(language, f"cli.explain.held_for.{verdict.why.code.removeprefix('held.')}")
        return Fate("later", text(language, "cli.explain.with_all_that_waits", why=why, at=at))
    return Fate("now", ", ".join(_rules(pace, event, language)) or text(language, "cli.explain.at_once"))


def _rules(pace: Pace, event: Event, language: Language) -> Iterator[str]:
    quiet = pace.chosen.quiet
    every = pace.every(event)
    if every.epochs is not None:
        key = "cli.explain.each_epoch" if every.epochs == 1 else "cli.explain.every_epochs"
        yield text(language, key, number=every.epochs)
    elif every.seconds:
        yield text(language, "cli.explain.every_time", time=about(every.seconds, language))
    if isinstance(event, AlertRaised):
        yield text(language, "cli.explain.each_title", time=about(ALERT_WAIT_S, language))
    if quiet is not None and quiet.start != quiet.end:
        lets = names(pace.chosen.quiet_lets, event)
        yield text(language, "cli.explain.also_in_quiet" if lets else "cli.explain.not_in_quiet")
    if pace.daily_budget is not None:
        counted = every.epochs is not None  # asked for each epoch: say that a day does not hold all of them
        key = "cli.explain.budget_of_epochs" if counted else "cli.explain.budget"
        yield text(language, key, number=pace.daily_budget - pace.kept_from(event))


def merged(rows: Iterable[tuple[Event, Fate]]) -> list[tuple[str, Fate]]:
    """Name each row; details of a kind that all fare alike are one row, under the kind's own name."""
    by_kind: dict[str, dict[str, Fate]] = {}
    for event, fate in rows:
        by_kind.setdefault(event.kind, {})[_named(event)] = fate
    merged: list[tuple[str, Fate]] = []
    for kind, fates in by_kind.items():
        alike = len(set(fates.values())) == 1
        merged += [(kind, next(iter(fates.values())))] if alike else list(fates.items())
    return merged


def _named(event: Event) -> str:
    match event:
        case AlertRaised():
            return f"{event.kind}:{event.severity}"
        case RunEnded():
            return f"{event.kind}:{event.status}"
        case _:
            return event.kind


def summary(pace: Pace, facts: PaceFacts, language: Language) -> str:
    """The settings of a notifier in one line, as they are written, and what is left of its day."""
    chosen, parts = pace.chosen, []
    if chosen.every is not None:
        parts.append(f"every = {chosen.every}")
    if chosen.quiet is not None:
        parts.append(f"quiet = {chosen.quiet}")
    if chosen.lang is not None:
        parts.append(f"lang = {chosen.lang}")
    if pace.daily_budget is not None:
        ours = max(pace.daily_budget - facts.today, 0)
        left = ours if facts.left is None else min(ours, facts.left)
        parts.append(text(language, "cli.explain.left_today", left=left, total=pace.daily_budget))
    return " · ".join(parts)


def _facts(config: Config, notifier: Notifier, now: datetime) -> PaceFacts:
    left = left_today(notifier)
    if notifier.pace.daily_budget is None or not database(config).exists():
        return PaceFacts(left=left)
    with open_store(database(config)) as store:
        return PaceFacts(today=Outbox(store).sent_since(notifier.key, day_start(now)), left=left)
