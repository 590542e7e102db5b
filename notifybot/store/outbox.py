"""Outbox: a durable table of deliveries. Work is claimed under a lease, never deleted before it is done.

At any moment, for every notifier: put = sent + pending + dead + dropped.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, func, select, update

from notifybot.events import EpochFinished, Event, from_json
from notifybot.files import is_running
from notifybot.policy import NOTHING, Pace, PaceFacts, Priority, day_start
from notifybot.store.database import Store
from notifybot.store.notifier_state import KNOWN, PAGES, address_in
from notifybot.store.outbox_queries import (
    ENDINGS_FIRST,
    EPOCH_SENT,
    FOLDED,
    NEWS_SENT,
    NEXT_DUE,
    OTHERS_AT,
    START_FIRST,
    collapse,
    counting,
    dropped,
    last_done,
    next_due,
    rounds_after,
    sent_since,
    with_folded_best,
)
from notifybot.store.schema import deliveries, tallies
from notifybot.store.stored_reason import KEPT, LIMIT_CHARS, noted
from notifybot.types import DeliveryState

_FOLDING = Pace()
_ADD = deliveries.insert()
_PUT = counting("put")
_UNREPORTED = counting("dropped_untold")
_UNREPORTED_OF = select(tallies.c.dropped_untold).where(tallies.c.notifier == bindparam("of"))
_NEVER_PUT = counting("put", "pruned_dropped", "dropped_untold")
_LEASED = and_(deliveries.c.lease_until.is_not(None), deliveries.c.lease_until > deliveries.c.due_at)
_READY = case((_LEASED, deliveries.c.lease_until), else_=deliveries.c.due_at)
_DUE_AT = select(func.min(_READY, type_=deliveries.c.due_at.type)).where(
    deliveries.c.notifier == bindparam("of"), deliveries.c.state == DeliveryState.PENDING
)
_ONE = update(deliveries).where(deliveries.c.id == bindparam("delivery"))
_LEASE = _ONE.values(lease_until=bindparam("until"), lease_owner=bindparam("own"))
_GIVE_UP = _ONE.values(
    state=DeliveryState.DEAD, done_at=bindparam("now"), lease_until=None, lease_owner=None, error=noted("unreadable")
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Event on its way to one notifier, claimed by this process until `lease_until`.

    `attempts` counts the tries that failed and may have been its own fault, not those without a connection.
    `skipped` counts the older epochs of the run that it stands for. `unreported` counts the events of all runs that
    were dropped for want of space or budget since a message last said so. All that sending it needs from the database
    comes with it: the `facts` for the pace, the `memories` of the notifier as JSON, by scope (of itself, "", and of the
    run, its id), and the run's `page`, where a tracker knows one.
    """

    id: int
    event: Event
    notifier: str
    priority: Priority
    attempts: int
    created_at: datetime
    lease_until: datetime
    owner: str
    skipped: int = 0
    unreported: int = 0
    facts: PaceFacts = NOTHING
    memories: Mapping[str, str] = field(default_factory=dict)
    page: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """Ledger of one notifier: its deliveries by state."""

    put: int
    sent: int
    pending: int
    dead: int
    dropped: int

    @property
    def conserved(self) -> bool:
        """True when nothing that was put has vanished."""
        return self.put == self.sent + self.pending + self.dead + self.dropped


def put(
    connection: Connection, now: datetime, event_id: str, run_id: str, routes: Sequence[tuple[str, Priority]]
) -> None:
    """Add one delivery per route, inside the transaction that records the event."""
    if not routes:
        return
    delivery = {"event_id": event_id, "run_id": run_id, "created_at": now, "due_at": now}
    connection.execute(_ADD, [{**delivery, "notifier": key, "priority": int(priority)} for key, priority in routes])
    connection.execute(_PUT, [{"key": key, "number": 1} for key, _ in routes])


def count_lost(connection: Connection, notifiers: Sequence[str], number: int) -> None:
    """Count events that had no room, not even in memory, as put and dropped; reported with the next success."""
    connection.execute(_NEVER_PUT, [{"key": key, "number": number} for key in notifiers])


class Outbox:
    """Deliveries of one store, claimed in the name of one process."""

    def __init__(self, store: Store, owner: str | None = None) -> None:
        self.store = store
        self.owner = owner or process_name()

    def claim(self, notifier: str, *, lease_s: float = 60.0, pace: Pace = _FOLDING) -> Delivery | None:
        """Take the most urgent due delivery of a notifier for `lease_s` seconds; None when there is none.

        Where the `pace` folds, messages collapse: older epochs of the same run that still wait are dropped in favour of
        the newest, which is sent as a new best when one of them was; so are older checkpoints. An ending replaces both,
        and also the start of its run if it is sent before that. Urgent events go first, but the start of the run goes
        before them: no end is sent of a run whose start was not. Nothing is sent about a run while another living
        process sends about it: each would open the run's thread.
        """
        now, elsewhere = self.store.clock.now(), set[str]()
        given: dict[str, Any] = {"of": notifier, "now": now, "own": self.owner}
        with self.store.transaction() as connection:
            while row := connection.execute(next_due(elsewhere) if elsewhere else NEXT_DUE, given).first():
                given |= {"about": row.run_id, "than": row.id}
                if any(owner_is_alive(each) for each in connection.execute(OTHERS_AT, given).scalars()):
                    elsewhere.add(row.run_id)
                    continue
                if row.priority == int(Priority.URGENT):
                    row = connection.execute(START_FIRST, given).first() or row
                if (row := collapse(connection, notifier, row, pace, now)) is None:
                    continue
                try:
                    event = from_json(row.body)
                except ValueError:  # another version wrote the event: it is given up, or nothing after it would go
                    connection.execute(_GIVE_UP, {"delivery": row.id, "now": now})
                    continue
                until = now + timedelta(seconds=lease_s)
                given |= {"than": row.id, "delivery": row.id, "until": until, "what": event.kind}
                connection.execute(_LEASE, given)
                return self._claimed(connection, row, event, pace, given)
            return None

    def _claimed(
        self, connection: Connection, row: Any, event: Event, pace: Pace, given: Mapping[str, Any]
    ) -> Delivery:
        """Read what comes with a leased delivery; a figure that the pace does not use is not looked up."""
        notifier = given["of"]
        skipped = 0
        if pace.folds and isinstance(event, EpochFinished):
            skipped = connection.execute(FOLDED, given).scalar() or 0
            event = with_folded_best(connection, event, given) if skipped else event
        every, news_at = pace.every(event), None
        if every.seconds:
            last = EPOCH_SENT if isinstance(event, EpochFinished) else NEWS_SENT
            news_at = connection.execute(last, given).scalar()
        facts = PaceFacts(
            last_news_at=news_at,
            last_done=0 if every.epochs is None else last_done(connection, given),
            today=0 if pace.daily_budget is None else sent_since(connection, notifier, day_start(given["now"])),
            kept_back=row.error.startswith(KEPT),
        )
        known = {(each.owner, each.scope): each.value for each in connection.execute(KNOWN, given)}
        pages = known.get((PAGES, row.run_id))
        return Delivery(
            id=row.id, event=event, notifier=notifier, priority=Priority(row.priority), attempts=row.attempts,
            created_at=row.created_at, lease_until=given["until"], owner=self.owner, skipped=skipped,
            unreported=connection.execute(_UNREPORTED_OF, given).scalar() or 0, facts=facts,
            memories={"": known.get((notifier, ""), ""), event.run.id: known.get((notifier, row.run_id), "")},
            page=address_in(pages) if pages else None,
        )  # fmt: skip

    def mark_sent(self, delivery: Delivery, also: Callable[[Connection], object] | None = None) -> bool:
        """Mark it sent: the receiver has it. False when the lease was lost and another process took over.

        `also` writes what is to be committed with it, whoever has the lease.
        """
        return self._finish(delivery, DeliveryState.SENT, tries=1, unreported=-delivery.unreported, also=also)

    def mark_dead(self, delivery: Delivery, error: str) -> bool:
        """Mark it dead: it failed and will not be tried again; kept and listed with its reason."""
        return self._finish(delivery, DeliveryState.DEAD, tries=1, error=error)

    def mark_dropped(self, delivery: Delivery, why: str) -> bool:
        """Mark it dropped on purpose (a budget); counted, and reported with the next success."""
        by_the_next_epoch = delivery.priority is Priority.PROGRESS  # that says how many it stands for
        return self._finish(delivery, DeliveryState.DROPPED, error=why, unreported=0 if by_the_next_epoch else 1)

    def mark_retry(self, delivery: Delivery, due_at: datetime, error: str, *, counted: bool = True) -> bool:
        """Try again at `due_at`. `counted` is False when the fault was not about this message (no connection)."""
        attempts = delivery.attempts + counted
        again = {"due_at": due_at, "attempts": attempts, "rounds": rounds_after(attempts), "error": error[:LIMIT_CHARS]}
        with self.store.transaction() as connection:
            return _ours(connection, delivery, lease_until=None, lease_owner=None, **again)

    def put_endings_first(self, most: int) -> int:
        """Let endings overtake what waits before them where that is more than `most` messages; return how many did."""
        with self.store.transaction() as connection:
            return connection.execute(ENDINGS_FIRST, {"most": most}).rowcount

    def release_dead(self) -> int:
        """Release the leases of dead processes of this machine; return how many."""
        held = and_(deliveries.c.state == DeliveryState.PENDING, deliveries.c.lease_owner.is_not(None))
        with self.store.transaction() as connection:
            owners = connection.execute(select(deliveries.c.lease_owner).where(held).distinct()).scalars()
            gone = [owner for owner in owners if owner and not owner_is_alive(owner)]
            if not gone:
                return 0
            freed = update(deliveries).where(held, deliveries.c.lease_owner.in_(gone))
            return connection.execute(freed.values(lease_until=None, lease_owner=None)).rowcount

    def next_due(self, notifier: str) -> datetime | None:
        """Return the moment when this notifier has work again; None when nothing waits."""
        with self.store.snapshot() as connection:
            found: datetime | None = connection.execute(_DUE_AT, {"of": notifier}).scalar()
        return found

    def counts(self) -> dict[str, Counts]:
        """Return the ledger of every notifier, read in one transaction."""
        by_state = select(deliveries.c.notifier, deliveries.c.state, func.count()).group_by(
            deliveries.c.notifier, deliveries.c.state
        )
        with self.store.snapshot() as connection:
            live = {(key, state): number for key, state, number in connection.execute(by_state)}
            ledgers = connection.execute(select(tallies)).all()
        return {
            row.notifier: Counts(
                put=row.put,
                sent=row.pruned_sent + live.get((row.notifier, DeliveryState.SENT), 0),
                pending=live.get((row.notifier, DeliveryState.PENDING), 0),
                dead=row.pruned_dead + live.get((row.notifier, DeliveryState.DEAD), 0),
                dropped=row.pruned_dropped + live.get((row.notifier, DeliveryState.DROPPED), 0),
            )
            for row in ledgers
        }

    def sent_since(self, notifier: str, moment: datetime) -> int:
        """Return the number of messages sent by a notifier since `moment`; events within another do not count."""
        with self.store.snapshot() as connection:
            return sent_since(connection, notifier, moment)

    def _finish(
        self,
        delivery: Delivery,
        state: DeliveryState,
        *,
        error: str = "",
        tries: int = 0,
        unreported: int = 0,
        also: Callable[[Connection], object] | None = None,
    ) -> bool:
        now, values = self.store.clock.now(), {"state": state, "attempts": delivery.attempts + tries}
        with self.store.transaction() as connection:
            if also is not None:
                also(connection)
            done = _ours(connection, delivery, **dropped(now, error[:LIMIT_CHARS]) | values)
            if done and unreported:
                connection.execute(_UNREPORTED, {"key": delivery.notifier, "number": unreported})
            return done


def _ours(connection: Connection, delivery: Delivery, **values: Any) -> bool:
    """Change a delivery only while we hold it: a lost lease must not undo what its new owner did."""
    held = and_(deliveries.c.state == DeliveryState.PENDING, deliveries.c.lease_owner == delivery.owner)
    change = update(deliveries).where(deliveries.c.id == delivery.id, held).values(**values)
    return connection.execute(change).rowcount == 1


_JUST_NOW = timedelta(minutes=1)
_PROGRAM = os.urandom(4).hex()  # a process that becomes another program by `os.execv` keeps number and start time


def process_name() -> str:
    """Return a name for this process that another one can check: "pid:start time:program" (start time from /proc)."""
    return f"{os.getpid()}:{_start_of(os.getpid())}:{_PROGRAM}"


def _stat_of(pid: int) -> list[str]:
    """The fields of proc_pid_stat(5) from the third on, the state; none where the system has none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _start_of(pid: int) -> str:
    return next(iter(_stat_of(pid)[19:]), "")  # field 22: ticks since boot


def owner_is_alive(owner: str) -> bool:
    """True unless the process that gave itself this name is certainly gone: a number alone is used again."""
    pid, start, program = [*owner.split(":", 2), "", ""][:3]
    if not pid.isdigit():
        return True  # not named by us: its lease will run out
    if not is_running(int(pid)):
        return False
    if int(pid) == os.getpid() and program not in ("", _PROGRAM):
        return False  # we were that one, before `os.execv`
    now = _start_of(int(pid))
    return not start or not now or now == start


def process_is_gone(pid: int, heard_at: datetime, now: datetime) -> bool:
    """True when the process of a number, which was heard of at `heard_at`, is certainly gone.

    Nobody has its number, or its number alone is left (a zombie), or a process has it that began later. Ticks since
    boot are compared with those of this process, which must have begun just now, as a command has: in a container the
    uptime may be the container's own, and the ticks the machine's.
    """
    if not is_running(pid):
        return True
    theirs, ours = _stat_of(pid), _stat_of(os.getpid())
    if not theirs or not ours:
        return False
    age_s = (int(ours[19]) - int(theirs[19])) / os.sysconf("SC_CLK_TCK")
    return theirs[0] == "Z" or now - timedelta(seconds=age_s) > heard_at + _JUST_NOW


_NOISE_S = 5.0  # the two clocks drift, and NTP turns the one a little


class ClockWatch:
    """Compares the wall clock with the monotonic clock, at each look."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._seen = (store.clock.now(), store.clock.monotonic())

    def look(self) -> None:
        """Make waiting deliveries due earlier, by as much as the wall clock was set back. Raises StoreError."""
        with self._lock:
            now, now_s = self._store.clock.now(), self._store.clock.monotonic()
            moved_s = (now - self._seen[0]).total_seconds() - (now_s - self._seen[1])
            if moved_s < -_NOISE_S:
                reschedule_after_clock_set_back(self._store, timedelta(seconds=-moved_s))
            self._seen = (now, now_s)


def reschedule_after_clock_set_back(store: Store, by: timedelta) -> None:
    """Make every delivery that is put off due so much earlier. Raises StoreError.

    A little too early is harmless: whoever sends asks the pace again.
    """
    put_off = select(deliveries.c.id, deliveries.c.due_at, deliveries.c.lease_until).where(
        deliveries.c.state == DeliveryState.PENDING, deliveries.c.due_at > store.clock.now()
    )
    with store.transaction() as connection:
        for row in connection.execute(put_off).all():
            lease = None if row.lease_until is None else row.lease_until - by
            change = update(deliveries).where(deliveries.c.id == row.id)
            connection.execute(change.values(due_at=row.due_at - by, lease_until=lease))
