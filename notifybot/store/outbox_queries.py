"""SQL of the outbox: the next delivery, deliveries folded into newer ones, the facts for the pace, the ledger."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, exists, func, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from notifybot.events import CheckpointSaved, EpochFinished, RunEnded, RunStarted, from_json, kind_of
from notifybot.policy import Pace, Priority, carry_best
from notifybot.store.schema import deliveries, events, tallies
from notifybot.store.stored_reason import KEPT, noted
from notifybot.types import DeliveryState

CLAIMED = (
    deliveries.c.id, deliveries.c.priority, deliveries.c.attempts, deliveries.c.created_at, deliveries.c.run_id,
    deliveries.c.error, events.c.kind, events.c.body,
)  # fmt: skip
START, EPOCH, CHECKPOINT, ENDING = map(kind_of, (RunStarted, EpochFinished, CheckpointSaved, RunEnded))
_AT_ONCE = 500  # ids in one statement
_PATIENT_TRIES = 3  # answered failures before the next delivery of the same priority gets its chance
_PRIORITIES = [int(each) for each in Priority]
_FOLDED = noted("folded")
_RUN_ENDED = noted("run_ended")
_BEST = '%"new_best":"%'  # in the JSON of an epoch that was one; quotes within a name are escaped there

# Built once: a claim would build them for each message. Their parameters: `of` the notifier with this key, `about` the
# run with this key, `now`, and `than` the delivery with this id.
_OF_RUN = and_(deliveries.c.run_id == bindparam("about"), deliveries.c.notifier == bindparam("of"))
_AN_EPOCH = deliveries.c.priority == int(Priority.PROGRESS)  # nothing else has its priority
_SENT = deliveries.c.state == DeliveryState.SENT
_OLDER = deliveries.c.id < bindparam("than")
_LATEST = deliveries.c.id.desc()
_FREE = and_(
    deliveries.c.state == DeliveryState.PENDING,
    or_(deliveries.c.lease_until.is_(None), deliveries.c.lease_until <= bindparam("now")),
)


def _of_kind(kind: str) -> ColumnElement[bool]:
    return exists().where(events.c.id == deliveries.c.event_id, events.c.kind == kind).correlate(deliveries)


_A_NORMAL = deliveries.c.priority == int(Priority.NORMAL)
_WAITING = {
    EPOCH: and_(_OF_RUN, _AN_EPOCH, _FREE),
    CHECKPOINT: and_(_OF_RUN, _A_NORMAL, _FREE, _of_kind(CHECKPOINT)),
}
_NEWEST = {
    kind: select(*CLAIMED).join(events).where(which).order_by(_LATEST).limit(1) for kind, which in _WAITING.items()
}
_DROP = update(deliveries).values(
    state=DeliveryState.DROPPED, done_at=bindparam("now"), lease_until=None, lease_owner=None, error=bindparam("why")
)
_DROP_OLDER = {kind: _DROP.where(which, _OLDER) for kind, which in _WAITING.items()}
_DROP_ONE = _DROP.where(deliveries.c.id == bindparam("than"))
_ENDING_SENT = (
    select(deliveries.c.id)
    .join(events)
    .where(_OF_RUN, _SENT, deliveries.c.id > bindparam("than"), events.c.kind == ENDING)
    .limit(1)
)

OTHERS_AT = select(deliveries.c.lease_owner).where(
    _OF_RUN,
    deliveries.c.priority.in_(_PRIORITIES),  # else all that was ever sent about the run would be read
    deliveries.c.state == DeliveryState.PENDING,
    deliveries.c.lease_until > bindparam("now"),
    deliveries.c.lease_owner != bindparam("own"),
)
"""Names of the processes but `own` that hold a delivery of a run for a notifier now."""

START_FIRST = (
    select(*CLAIMED)
    .join(events)
    .where(_OF_RUN, _A_NORMAL, _FREE, _of_kind(START), _OLDER)
    .where(deliveries.c.due_at <= bindparam("now"), deliveries.c.rounds == 0)
    .order_by(deliveries.c.id)
)
"""The start of a run if it can be sent now, before the delivery `than`. A start that has failed for a while, or has to
wait, delays nothing."""

_COVERS_ALL = or_(_AN_EPOCH, and_(deliveries.c.priority == int(Priority.URGENT), _of_kind(ENDING)))
_SINCE = select(func.coalesce(func.max(deliveries.c.id), 0)).where(_OF_RUN, _SENT, _COVERS_ALL).correlate(None)
_FOLDED_SINCE = and_(
    _OF_RUN, _AN_EPOCH, deliveries.c.state == DeliveryState.DROPPED, deliveries.c.id > _SINCE.scalar_subquery()
)
FOLDED = select(func.count()).select_from(deliveries).where(_FOLDED_SINCE, _OLDER)
"""Number of epochs folded since the run's last epoch or ending was sent, in this claim or in an earlier one."""
_FOLDED_BEST = (
    select(events.c.body)
    .select_from(deliveries)
    .join(events)
    .where(_FOLDED_SINCE, events.c.body.like(_BEST))
    .order_by(_LATEST)
    .limit(1)
)

_NEWS = select(deliveries.c.done_at).join(events).where(_OF_RUN, _SENT, events.c.kind == bindparam("what"))
NEWS_SENT = _NEWS.order_by(_LATEST).limit(1)
"""Moment when a notifier last sent an event of the kind `what` about a run."""
EPOCH_SENT = NEWS_SENT.where(_AN_EPOCH)
_LAST_BODY = select(events.c.body).select_from(deliveries).join(events).where(_OF_RUN, _AN_EPOCH, _SENT)
_LAST_BODY = _LAST_BODY.order_by(_LATEST).limit(1)


def next_due(besides: Collection[str] = ()) -> Select[Any]:
    """Query the next delivery: the most urgent, of those the one with the fewest failures, of those the oldest.

    Deliveries of the runs `besides` are left out.
    """
    others = [deliveries.c.run_id.not_in(besides)] if besides else []
    first = (  # without the events, or a backlog's worth of bodies would be sorted for each claim
        select(deliveries.c.id)
        .where(deliveries.c.notifier == bindparam("of"), _FREE, deliveries.c.due_at <= bindparam("now"), *others)
        .order_by(deliveries.c.priority, deliveries.c.rounds, deliveries.c.id)
        .limit(1)
    )
    return select(*CLAIMED).join(events).where(deliveries.c.id == first.scalar_subquery())


NEXT_DUE = next_due()


_BEFORE = deliveries.alias()
_WAIT_BEFORE = (
    select(func.count())
    .select_from(_BEFORE)
    .join(events, events.c.id == _BEFORE.c.event_id)
    .where(_BEFORE.c.notifier == deliveries.c.notifier, _BEFORE.c.state == DeliveryState.PENDING)
    .where(_BEFORE.c.lease_until.is_(None))  # else it is on its way
    .where(or_(_BEFORE.c.priority == int(Priority.URGENT), events.c.kind == START), _BEFORE.c.id < deliveries.c.id)
    .correlate(deliveries)
    .scalar_subquery()
)
_FIRST_ROUND = -1
ENDINGS_FIRST = (
    update(deliveries)
    .where(deliveries.c.state == DeliveryState.PENDING, deliveries.c.priority == int(Priority.URGENT))
    .where(deliveries.c.rounds == 0, _of_kind(ENDING), bindparam("most") < _WAIT_BEFORE)
    .values(rounds=_FIRST_ROUND)
)
"""Lets the endings that have more than `most` others to wait for overtake them, but not the start of their run."""


def rounds_after(attempts: int) -> int:
    """Return the round of a delivery for the order: after a few failed tries, others of its priority come first."""
    return attempts // _PATIENT_TRIES


def collapse(connection: Connection, notifier: str, row: Any, pace: Pace, now: datetime) -> Any | None:
    """Return the delivery to send in the place of a due one; None if its run's end was sent, and it was dropped.

    The newest epoch or checkpoint that waits stands for the older ones. An ending takes the place of both, as it names
    the last of each, and that of the start if it was sent before that.
    """
    given = {"of": notifier, "about": row.run_id, "than": row.id, "now": now, "why": _FOLDED}
    if row.kind == START and (pace.folds or row.error.startswith(KEPT)):
        if connection.execute(_ENDING_SENT, given).first() is not None:
            connection.execute(_DROP_ONE, given | {"why": _RUN_ENDED})
            return None
    elif pace.folds and row.kind in _NEWEST:
        row = connection.execute(_NEWEST[row.kind], given).one()
        connection.execute(_DROP_OLDER[row.kind], given | {"than": row.id})
    elif pace.folds and row.kind == ENDING:
        for drop_older in _DROP_OLDER.values():
            connection.execute(drop_older, given)
    return row


def with_folded_best(connection: Connection, newest: EpochFinished, given: Mapping[str, Any]) -> EpochFinished:
    """Return the newest epoch, with the latest new best of those folded into it."""
    body = connection.execute(_FOLDED_BEST, given).scalar()
    try:
        best = from_json(body) if body else None
    except ValueError:  # another version wrote it
        return newest
    return carry_best(newest, best) if isinstance(best, EpochFinished) else newest


def last_done(connection: Connection, given: Mapping[str, Any]) -> int:
    """Return the number of finished epochs in the last one of a run that a notifier sent; 0 if none."""
    body: str | None = connection.execute(_LAST_BODY, given).scalar()
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


def batches(ids: Sequence[int]) -> list[Sequence[int]]:
    """Return the ids in parts, each for one statement."""
    return [ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE)]
