"""SQL of the outbox: the next delivery, deliveries folded into newer ones, the facts for the pace, the ledger."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from notifybot.events import CheckpointSaved, EpochFinished, Event, RunEnded, RunStarted, from_json, kind_of
from notifybot.policy import Pace, PaceFacts, Priority, carry_best, day_start
from notifybot.store.schema import deliveries, events, tallies
from notifybot.store.stored_reason import KEPT, noted
from notifybot.types import DeliveryState

CLAIMED = (
    deliveries.c.id, deliveries.c.priority, deliveries.c.attempts, deliveries.c.created_at, deliveries.c.run_id,
    deliveries.c.error, events.c.kind, events.c.body,
)  # fmt: skip
START, EPOCH, CHECKPOINT, ENDING = map(kind_of, (RunStarted, EpochFinished, CheckpointSaved, RunEnded))
_PATIENT_TRIES = 3  # answered failures before the next delivery of the same priority gets its chance
_PRIORITIES = [int(each) for each in Priority]
_FOLDED = noted("folded")
_RUN_ENDED = noted("run_ended")
_BEST = '%"new_best":"%'  # in the JSON of an epoch that was one; quotes within a name are escaped there
_OTHERS_AT = select(deliveries.c.lease_owner).where(  # built once: a claim would build it for each message
    deliveries.c.run_id == bindparam("about"),
    deliveries.c.notifier == bindparam("of"),
    deliveries.c.priority.in_(_PRIORITIES),  # else all that was ever sent about the run would be read
    deliveries.c.state == DeliveryState.PENDING,
    deliveries.c.lease_until > bindparam("now"),
    deliveries.c.lease_owner != bindparam("own"),
)


@dataclass(frozen=True, slots=True)
class Folded:
    """Older events that a message stands for beside its own: their number, and the latest best among them."""

    number: int = 0
    best: EpochFinished | None = None

    def told_by(self, newest: EpochFinished) -> EpochFinished:
        """Return the newest epoch to be sent, with the new best of a folded one."""
        return newest if self.best is None else carry_best(newest, self.best)


def due(notifier: str, now: datetime, besides: Collection[str] = ()) -> Select[Any]:
    """Query the next delivery: the most urgent, of those the one with the fewest failures, of those the oldest.

    Deliveries of the runs `besides` are left out.
    """
    others = [deliveries.c.run_id.not_in(besides)] if besides else []
    first = (  # without the events, or a backlog's worth of bodies would be sorted for each claim
        select(deliveries.c.id)
        .where(deliveries.c.notifier == notifier, _free(now), deliveries.c.due_at <= now, *others)
        .order_by(deliveries.c.priority, deliveries.c.rounds, deliveries.c.id)
        .limit(1)
    )
    return select(*CLAIMED).join(events).where(deliveries.c.id == first.scalar_subquery())


def others_at(connection: Connection, notifier: str, run_id: str, owner: str, now: datetime) -> list[str]:
    """Return the names of the other processes that hold a delivery of a run for a notifier now."""
    values = {"of": notifier, "about": run_id, "own": owner, "now": now}
    return list(connection.execute(_OTHERS_AT, values).scalars())


def rounds_after(attempts: int) -> int:
    """Return the round of a delivery for the order: after a few failed tries, others of its priority come first."""
    return attempts // _PATIENT_TRIES


def start_of_run(connection: Connection, notifier: str, row: Any, now: datetime) -> Any | None:
    """Return the start of the run of an urgent delivery if it can be sent now, before that; else None.

    A start that has failed for a while, or has to wait, delays nothing.
    """
    if row.priority != int(Priority.URGENT):
        return None
    waiting = and_(_waiting_news(notifier, row.run_id, START, now), deliveries.c.id < row.id)
    now_and_first = and_(waiting, deliveries.c.due_at <= now, deliveries.c.rounds == 0)
    return connection.execute(select(*CLAIMED).join(events).where(now_and_first).order_by(deliveries.c.id)).first()


def collapse(connection: Connection, notifier: str, row: Any, pace: Pace, now: datetime) -> Any | None:
    """Return the delivery to send in the place of a due one; None if its run's end was sent, and it was dropped."""
    if (pace.folds or row.error.startswith(KEPT)) and start_is_obsolete(connection, notifier, row):
        _fold_away(connection, deliveries.c.id == row.id, now, _RUN_ENDED)
        return None
    if pace.folds and row.kind in (EPOCH, CHECKPOINT):
        return collapse_to_newest(connection, notifier, row, now)
    if pace.folds and row.kind == ENDING:
        drop_superseded_by_ending(connection, notifier, row, now)
    return row


def collapse_to_newest(connection: Connection, notifier: str, row: Any, now: datetime) -> Any:
    """Drop the waiting messages of the run that are of this kind but the newest, and return that one."""
    waiting = _waiting_news(notifier, row.run_id, row.kind, now)
    newest = connection.execute(
        select(*CLAIMED).join(events).where(waiting).order_by(deliveries.c.id.desc()).limit(1)
    ).one()
    _fold_away(connection, and_(waiting, deliveries.c.id != newest.id), now)
    return newest


def drop_superseded_by_ending(connection: Connection, notifier: str, row: Any, now: datetime) -> None:
    """Drop the waiting news of a run whose ending is sent now: that names the last epoch and checkpoint as well."""
    for kind in (EPOCH, CHECKPOINT):
        waiting = _waiting_news(notifier, row.run_id, kind, now)
        _fold_away(connection, and_(waiting, deliveries.c.id < row.id), now)


def start_is_obsolete(connection: Connection, notifier: str, row: Any) -> bool:
    """True for the start of a run whose ending was sent meanwhile, which says more."""
    if row.kind != START:
        return False
    of_run = and_(deliveries.c.run_id == row.run_id, deliveries.c.notifier == notifier)
    told = and_(of_run, deliveries.c.state == DeliveryState.SENT, deliveries.c.id > row.id, events.c.kind == ENDING)
    return connection.execute(select(deliveries.c.id).join(events).where(told).limit(1)).first() is not None


def collapsed_into(connection: Connection, notifier: str, row: Any) -> Folded:
    """Return the epochs folded since the run's last epoch or ending was sent, in this claim or in an earlier one."""
    of_run = and_(deliveries.c.run_id == row.run_id, deliveries.c.notifier == notifier)
    an_epoch = deliveries.c.priority == int(Priority.PROGRESS)
    tells_all = or_(an_epoch, and_(deliveries.c.priority == int(Priority.URGENT), _of_kind(ENDING)))
    told = select(func.coalesce(func.max(deliveries.c.id), 0)).where(
        of_run, deliveries.c.state == DeliveryState.SENT, tells_all
    )
    since = connection.execute(told).scalar() or 0
    folded = and_(of_run, an_epoch, deliveries.c.state == DeliveryState.DROPPED, deliveries.c.id > since)
    number = connection.execute(select(func.count()).where(folded, deliveries.c.id < row.id)).scalar() or 0
    if not number:
        return Folded()
    best = select(events.c.body).select_from(deliveries).join(events).where(folded, events.c.body.like(_BEST))
    body = connection.execute(best.order_by(deliveries.c.id.desc()).limit(1)).scalar()
    try:
        found = from_json(body) if body else None
    except ValueError:  # another version wrote it
        found = None
    return Folded(number, found if isinstance(found, EpochFinished) else None)


def _waiting_news(notifier: str, run_id: str, kind: str, now: datetime) -> ColumnElement[bool]:
    waiting = and_(
        deliveries.c.run_id == run_id,
        deliveries.c.notifier == notifier,
        deliveries.c.priority == int(Priority.PROGRESS if kind == EPOCH else Priority.NORMAL),
        _free(now),
    )
    if kind == EPOCH:  # nothing else has its priority
        return waiting
    return and_(waiting, _of_kind(kind))


def _free(now: datetime) -> ColumnElement[bool]:
    unleased = or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= now)
    return and_(deliveries.c.state == DeliveryState.PENDING, unleased)


def _of_kind(kind: str) -> ColumnElement[bool]:
    return exists().where(events.c.id == deliveries.c.event_id, events.c.kind == kind).correlate(deliveries)


def _fold_away(connection: Connection, which: ColumnElement[bool], now: datetime, why: str = _FOLDED) -> None:
    connection.execute(update(deliveries).where(which).values(**dropped(now, why)))


def facts_of(connection: Connection, notifier: str, row: Any, event: Event, pace: Pace, now: datetime) -> PaceFacts:
    """Return the facts that the pace needs about a claimed delivery; a figure that it does not use is not looked up."""
    every = pace.every(event)
    return PaceFacts(
        last_news_at=_last_news_at(connection, notifier, event) if every.seconds else None,
        last_done=_last_done(connection, notifier, event.run.key) if every.epochs is not None else 0,
        today=sent_since(connection, notifier, day_start(now)) if pace.daily_budget is not None else 0,
        kept_back=row.error.startswith(KEPT),
    )


def _last_news_at(connection: Connection, notifier: str, event: Event) -> datetime | None:
    """Return the moment when a notifier last sent an event of this kind and run; None if never."""
    of_run = and_(deliveries.c.run_id == event.run.key, deliveries.c.notifier == notifier)
    news = and_(of_run, deliveries.c.state == DeliveryState.SENT, events.c.kind == event.kind)
    query = select(deliveries.c.done_at).join(events).where(news).order_by(deliveries.c.id.desc()).limit(1)
    if event.kind == EPOCH:
        query = query.where(deliveries.c.priority == int(Priority.PROGRESS))
    found: datetime | None = connection.execute(query).scalar()
    return found


def _last_done(connection: Connection, notifier: str, run_key: str) -> int:
    """Return the number of finished epochs in the last one of a run that a notifier sent; 0 if none."""
    of_run = and_(deliveries.c.run_id == run_key, deliveries.c.notifier == notifier)
    epochs = and_(of_run, deliveries.c.priority == int(Priority.PROGRESS), deliveries.c.state == DeliveryState.SENT)
    query = select(events.c.body).select_from(deliveries).join(events).where(epochs)
    body: str | None = connection.execute(query.order_by(deliveries.c.id.desc()).limit(1)).scalar()
    try:
        return from_json(body).progress.done if body else 0
    except ValueError:  # another version wrote it
        return 0


def sent_since(connection: Connection, notifier: str, moment: datetime) -> int:
    """Return the number of messages sent by a notifier since `moment`; events within another do not count."""
    sent = and_(deliveries.c.state == DeliveryState.SENT, deliveries.c.error == "", deliveries.c.done_at >= moment)
    return connection.execute(select(func.count()).where(deliveries.c.notifier == notifier, sent)).scalar() or 0


def dropped(now: datetime, why: str) -> dict[str, Any]:
    """Return the values of a dropped delivery; `why` is the stored form of the reason."""
    return {"state": DeliveryState.DROPPED, "done_at": now, "lease_until": None, "lease_owner": None, "error": why}


def counting(*columns: str) -> Any:
    """Return the statement that adds `number` to columns of notifier `key`'s ledger; made once, run often."""
    counted = insert(tallies).values({"notifier": bindparam("key"), **dict.fromkeys(columns, bindparam("number"))})
    bump = {column: tallies.c[column] + counted.excluded[column] for column in columns}
    return counted.on_conflict_do_update(index_elements=["notifier"], set_=bump)


def count_pruned(connection: Connection, which: ColumnElement[bool]) -> None:
    """Count deliveries that are about to be deleted, so that their ledger still adds up. None of them waits."""
    query = (
        select(deliveries.c.notifier, deliveries.c.state, func.count())
        .where(which)
        .group_by(deliveries.c.notifier, deliveries.c.state)
    )
    for notifier, state, number in connection.execute(query).all():
        column = tallies.c[f"pruned_{state}"]
        connection.execute(update(tallies).where(tallies.c.notifier == notifier).values({column: column + number}))
