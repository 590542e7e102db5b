"""`notifybot test --explain`: for each kind of event, who is told of it now, who later, who never, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifybot.cli.database import database, open_store
from notifybot.cli.samples import NAME, endings, samples
from notifybot.clock import Clock
from notifybot.config import Config
from notifybot.delivery.subscription import left_today, unknown_notifiers
from notifybot.events import AlertRaised, Event, RunEnded
from notifybot.notifiers.base import Notifier
from notifybot.policy import ALERT_WAIT_S, KST, HoldBack, Pace, PaceFacts, Unwanted, admit, day_start, unwanted
from notifybot.preferences import names
from notifybot.rendering.format import about
from notifybot.store.outbox import Outbox
from notifybot.types import Language, RunRef, Severity


@dataclass(frozen=True, slots=True)
class _Words:
    """What the table says in one language; what holds braces is a format string."""

    headings: tuple[str, str, str]
    fates: dict[str, str]
    unwanted: dict[Unwanted, str]
    route: str
    about: str
    fits: str
    fits_not: str
    stranger: str
    until: str
    each_epoch: str
    every_epochs: str
    every_time: str
    each_title: str
    not_in_quiet: str
    also_in_quiet: str
    budget: str
    budget_of_epochs: str
    at_once: str
    today: str
    nobody: str


_WORDS = {
    Language.EN: _Words(
        headings=("Event", "Told", "When and why"),
        fates={"now": "yes", "later": "later", "never": "no"},
        unwanted={
            Unwanted.KIND: "not in its `events`",
            Unwanted.SEVERITY: "below its `min_severity`",
            Unwanted.CHECKPOINT: "few messages a day: add it to `events`",
            Unwanted.HELD: "too many at a time: told as a number",
        },
        route="the run is not among its `{}`",
        about="For a run “{name}” of project “{project}” (others: --project, --run)",
        fits="`{key}`: “{name}” fits {pattern}",
        fits_not="`{key}`: “{name}” fits none of {patterns}",
        stranger="[notifiers.{name}]: no notifier is called so here; right only if your code gives one (notifiers=[…])",
        until="at {at}, with all that waits ({why})",
        each_epoch="each epoch",
        every_epochs="every {} epochs",
        every_time="at most every {}",
        each_title="one title at most every {}",
        not_in_quiet="waits in quiet hours",
        also_in_quiet="also in quiet hours",
        budget="up to {} a day",
        budget_of_epochs="up to {} a day, the rest in one",
        at_once="at once",
        today="{} of {} left today",
        nobody="By the settings nobody is told of this. Why: notifybot test --explain",
    ),
    Language.KO: _Words(
        headings=("이벤트", "알림", "시점과 이유"),
        fates={"now": "보냄", "later": "나중에", "never": "안 보냄"},
        unwanted={
            Unwanted.KIND: "`events`에 없음",
            Unwanted.SEVERITY: "`min_severity`보다 낮음",
            Unwanted.CHECKPOINT: "하루 건수가 적음: 받으려면 `events`에 추가",
            Unwanted.HELD: "한꺼번에 너무 많음: 건수만 알림",
        },
        route="`{}`에 해당하지 않는 실행",
        about="프로젝트 “{project}”의 실행 “{name}” 기준 (바꾸려면 --project, --run)",
        fits="`{key}`: “{name}”에 맞는 패턴 {pattern}",
        fits_not="`{key}`: “{name}”에 맞는 패턴 없음 ({patterns})",
        stranger="[notifiers.{name}]: 그런 이름의 수단이 없습니다. 코드에서 notifiers=[…]로 넘길 때만 맞습니다",
        until="{at}에 모아서 보냄 ({why})",
        each_epoch="에포크마다",
        every_epochs="{}에포크마다",
        every_time="최소 {} 간격",
        each_title="같은 제목은 최소 {} 간격",
        not_in_quiet="방해 금지 시간에는 기다림",
        also_in_quiet="방해 금지 시간에도 보냄",
        budget="하루 {}건까지",
        budget_of_epochs="하루 {}건까지, 나머지는 모아서",
        at_once="즉시",
        today="오늘 {1}건 중 {0}건 남음",
        nobody="설정에 따라 이 알림을 받는 곳이 없습니다. 이유 보기: notifybot test --explain",
    ),
}
_WHY = {
    Language.EN: {"quiet hours": "quiet hours", "daily budget": "none left today"},
    Language.KO: {"quiet hours": "방해 금지 시간", "daily budget": "오늘 건수 소진"},
}
_STYLES = {"now": "green", "later": "yellow", "never": "dim"}


class Fate(NamedTuple):
    """What becomes of an event at one notifier: "now", "later" or "never", and why, in words."""

    when: str
    why: str


def show(
    config: Config, notifiers: Sequence[Notifier], *, kind: str, clock: Clock, project: str = "", name: str = ""
) -> None:
    """Print a table for each notifier, as for a run of that project and name.

    Nothing is sent; the day's count is read where there is a database.
    """
    now, console, words = clock.now(), Console(highlight=False), _WORDS[config.lang]
    events = list(examples(config, now, project=project, name=name))
    run = events[0].run
    if project or name or any(notifier.pace.chosen.routes(run) for notifier in notifiers):
        console.print(words.about.format(name=run.name, project=run.project), style="dim", markup=False, soft_wrap=True)
    for notifier in notifiers:
        pace, told = notifier.pace, _told(config, notifier, now)
        rows = merged((each, fate_of(pace, each, told, now, config.lang)) for each in events if kind in ("", each.kind))
        console.print(Text(notifier.name, style="bold"), Text(summary(pace, told, config.lang), style="dim"), sep="  ")
        for line in routing(pace, run, config.lang):
            console.print(Text(f"  {line}"), soft_wrap=True)
        console.print(_table(rows, words))
    for stranger in unknown_notifiers(config, notifiers):
        console.print(Text(words.stranger.format(name=stranger), style="yellow"), soft_wrap=True)


def routing(pace: Pace, run: RunRef, language: Language) -> Iterator[str]:
    """Which rule lets a run in, or keeps it out, by the patterns that decided."""
    words = _WORDS[language]
    for route in pace.chosen.routes(run):
        if route.fitting is not None:
            yield words.fits.format(key=route.key, name=route.name, pattern=route.fitting)
        else:
            yield words.fits_not.format(key=route.key, name=route.name, patterns=", ".join(route.patterns))


def nobody_in(language: Language) -> str:
    """What to say where no notifier is told of an event."""
    return _WORDS[language].nobody


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


def fate_of(pace: Pace, event: Event, told: PaceFacts, now: datetime, language: Language) -> Fate:
    """What becomes of an event that happens now, and of others of its kind at other times."""
    words = _WORDS[language]
    reason = unwanted(pace, event)
    if reason is Unwanted.ROUTE:
        keys = [route.key for route in pace.chosen.routes(event.run) if route.fitting is None]
        return Fate("never", words.route.format(keys[0]))
    if reason is not None:
        return Fate("never", words.unwanted[reason])
    verdict = admit(pace, event, replace(told, kept_back=True), now=now)  # whatever was told of other epochs
    if isinstance(verdict, HoldBack):
        zone = pace.chosen.quiet.zone if pace.chosen.quiet else KST
        at = f"{verdict.until.astimezone(zone):%H:%M}"
        return Fate("later", words.until.format(why=_WHY[language][verdict.why], at=at))
    return Fate("now", ", ".join(_rules(pace, event, language)) or words.at_once)


def _rules(pace: Pace, event: Event, language: Language) -> Iterator[str]:
    words, quiet = _WORDS[language], pace.chosen.quiet
    every = pace.every(event)
    if every.epochs is not None:
        yield words.each_epoch if every.epochs == 1 else words.every_epochs.format(every.epochs)
    elif every.seconds:
        yield words.every_time.format(about(every.seconds, language))
    if isinstance(event, AlertRaised):
        yield words.each_title.format(about(ALERT_WAIT_S, language))
    if quiet is not None and quiet.start != quiet.end:
        yield words.also_in_quiet if names(pace.chosen.quiet_lets, event) else words.not_in_quiet
    if pace.daily_budget is not None:
        counted = every.epochs is not None  # who counts on each is told that a day does not hold all of them
        yield (words.budget_of_epochs if counted else words.budget).format(pace.daily_budget - pace.kept_from(event))


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


def summary(pace: Pace, told: PaceFacts, language: Language) -> str:
    """The settings of a notifier in one line, as they are written, and what is left of its day."""
    chosen, parts = pace.chosen, []
    if chosen.every is not None:
        parts.append(f"every = {chosen.every}")
    if chosen.quiet is not None:
        parts.append(f"quiet = {chosen.quiet}")
    if chosen.lang is not None:
        parts.append(f"lang = {chosen.lang}")
    if pace.daily_budget is not None:
        ours = max(pace.daily_budget - told.today, 0)
        left = ours if told.left is None else min(ours, told.left)
        parts.append(_WORDS[language].today.format(left, pace.daily_budget))
    return " · ".join(parts)


def _told(config: Config, notifier: Notifier, now: datetime) -> PaceFacts:
    left = left_today(notifier)
    if notifier.pace.daily_budget is None or not database(config).exists():
        return PaceFacts(left=left)
    with open_store(database(config)) as store:
        return PaceFacts(today=Outbox(store).sent_since(notifier.key, day_start(now)), left=left)


def _table(rows: Iterable[tuple[str, Fate]], words: _Words) -> Table:
    table = Table(*words.headings, box=SIMPLE_HEAD, pad_edge=False)
    for name, fate in rows:
        style = _STYLES[fate.when]
        table.add_row(Text(name), Text(words.fates[fate.when], style=style), Text(fate.why, style=style))
    return table
