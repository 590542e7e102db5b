"""Dispatcher: one pass over one notifier's deliveries: claim, render, send, mark. No thread, and no loop.

While the database takes no record, two things stay in memory between passes: the notifier's memory, and the mark that
a message was sent, which keeps it from being sent again. A process that ends before they are recorded, or gives up
waiting, notes them beside the database (`store.accepted`); only one killed just then repeats a message, once.
"""

from __future__ import annotations

import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from enum import Enum
from functools import partial
from random import Random
from typing import assert_never

from sqlalchemy import Connection

from notifybot import retry
from notifybot.clock import SYSTEM, Clock
from notifybot.delivery.dead_letter_log import DeadLetterLog
from notifybot.delivery.digest import digest_of
from notifybot.delivery.subscription import left_today, renderer_of, show_state
from notifybot.errors import PermanentError, StoreError, TemporaryError
from notifybot.events import AlertRaised, EpochFinished, Event, RunEnded
from notifybot.i18n import text
from notifybot.notifiers.base import Envelope, Notifier
from notifybot.policy import KST, HoldBack, Priority, Refuse, admit, too_old, wants
from notifybot.rendering import Renderer
from notifybot.rendering.alert_text import not_delivered, notice_words
from notifybot.rendering.error_text import delivery_reason, reason_line
from notifybot.store import accepted, held, pruning, runs
from notifybot.store.database import Store
from notifybot.store.held import HeldBatch
from notifybot.store.notifier_state import tracker_url
from notifybot.store.outbox import ClockWatch, Delivery, Outbox
from notifybot.store.stored_reason import to_text
from notifybot.types import Fact, Language, Reason, RunRef, Severity, uuid7

_CANNOT_BE_REACHED = "delivery.log.cannot_be_reached"

log = logging.getLogger("notifybot")

LEASE_S = 120.0  # longer than the slowest send: KakaoTalk may refresh, resend and fall back, 15 s each
_UNEXPECTED_TRIES = 5
_ELSEWHERE_S = 0.25  # seconds until the next look, while another process sends about the run
_SENT_AT_EXIT = 2  # messages that go in the two seconds that a process waits at its end, at one a second
_NO_TIME_S = 1e-6  # what is left of a wait by the rounding of floats


class Outcome(Enum):
    """Result of one pass."""

    IDLE = "idle"
    SENT = "sent"
    HELD = "held"
    RETRY = "retry"
    DEAD = "dead"
    DROPPED = "dropped"


class _Lane:
    """State of one notifier between passes, in one process: when it may be tried again, and the records still to write.

    `failures` are the moments of an outage's tries. `at_hand` is a claimed delivery without a result yet, as the
    database could not be read: once `admitted` it may be sent, with the deliveries gathered `together` with it.
    A record in `owed` is written before anything else is sent; it raises StoreError until it is written.
    """

    def __init__(self, notifier: Notifier, renderer: Renderer, store: Store, language: Language) -> None:
        self.notifier = notifier
        self.renderer = renderer
        self.dead_letters = DeadLetterLog(notifier.name, language)
        self.memories: dict[str, accepted.Remembered] = {}  # by project
        self.failures: list[float] = []
        self.not_before_s = 0.0  # set by the notifier: its gap, its Retry-After
        self.probe_at_s = 0.0  # set by us after a fault: earlier once the service is known to be back
        self.reported: set[str] = set()  # reasons of dead letters, through the other notifiers
        self.paced_until_s: dict[str, float] = {}  # by run: until when its epochs wait
        self.in_vain = False  # a claim found no due delivery to take
        self.at_hand: Delivery | None = None
        self.admitted = False
        self.together: HeldBatch | None = None
        self.owed: deque[Callable[[], object]] = deque()
        self.accepted: accepted.Sent | None = None  # sent, and not marked yet
        self.notes = accepted.Notes(store)
        self._store = store

    def memory_of(self, project: str) -> accepted.Remembered:
        """Return the notifier's memory of a project's runs."""
        if project not in self.memories:
            self.memories[project] = accepted.Remembered(self._store, self.notifier.key, project, self.owed.append)
        return self.memories[project]

    def write_note(self) -> None:
        """Note beside the database the records that it has not taken yet. Never raises; callable from any thread."""
        unwritten = [each.unwritten() for each in self.memories.copy().values()]
        remembered = {scope: value for each in unwritten for scope, value in each.items()}
        self.notes.write(accepted.Accepted(self.notifier.key, self.accepted, remembered))

    def mark_sent(self, outbox: Outbox, delivery: Delivery) -> None:
        """Mark a delivery, in one transaction with the memory values put off until then. Raises StoreError."""

        def remember(connection: Connection) -> None:
            for each in self.memories.values():
                each.write_in(connection)

        outbox.mark_sent(delivery, also=remember)
        for each in self.memories.values():
            each.written()

    def remember(self) -> None:
        """Write the memory values put off until a mark, if that will not follow or not yet. Raises StoreError."""
        for each in self.memories.values():
            each.write()

    def finish(self, now_s: float) -> None:
        """Let go of a delivery that the notifier has answered, and reset the fault state."""
        self.failures.clear()
        self.not_before_s, self.probe_at_s = now_s + self.notifier.pace.gap_s, 0.0
        self.let_go()

    def let_go(self) -> None:
        """Let go of the delivery at hand."""
        self.at_hand, self.admitted, self.together = None, False, None


class Dispatcher:
    """Sends the deliveries of the outbox for the given notifiers. Several processes may do so on one outbox."""

    def __init__(
        self,
        outbox: Outbox,
        notifiers: Iterable[Notifier],
        renderer: Renderer,
        *,
        clock: Clock = SYSTEM,
        rng: Random | None = None,
        link_of: Callable[[RunRef, str | None], str | None] = lambda *_: None,
    ) -> None:
        self.outbox = outbox
        self.language = renderer.language
        self._lanes = {
            each.key: _Lane(each, renderer_of(each, renderer), outbox.store, self.language) for each in notifiers
        }
        self._clock = clock
        self._rng = rng or Random()  # noqa: S311 - jitter, not a secret
        self._link_of = link_of
        self._clock_watch = ClockWatch(outbox.store)
        self._notes = accepted.folder_of(outbox.store)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the notifiers served."""
        return tuple(self._lanes)

    def run_once(self, key: str) -> Outcome:
        """Handle at most one delivery of a notifier. Raises StoreError when the outbox cannot be read or marked.

        After that the next pass continues this one: a sent message is marked, and not sent again. A temporary
        fault blocks the whole notifier until its next try, so that its messages keep their order.
        """
        lane = self._lanes[key]
        try:
            self._clock_watch.look()
            self._record(lane)
            if self._clock.monotonic() < max(lane.not_before_s, lane.probe_at_s) - _NO_TIME_S:
                return Outcome.HELD
            delivery = self._claim(lane)
            if delivery is None:
                lane.dead_letters.sum_up(ended=True)
                return Outcome.IDLE
            try:
                postponed = None if lane.admitted else self._decide(lane, delivery)
                return postponed or self._send(lane, delivery)
            except StoreError:  # our own database fails, not the service: the next pass continues with the same claim
                raise
            except Exception as error:  # noqa: BLE001  a plugin may raise anything; its lane must go on
                return self._stumble(lane, delivery, error)
        except StoreError:
            lane.write_note()
            raise

    def put_endings_first(self) -> None:
        """Send endings before alerts that would keep them beyond the process's end, at a message a second.

        An end that is not sent leaves Slack's alarm in place, and a run that has finished is reported lost.
        """
        with contextlib.suppress(StoreError):  # a busy database: they go in their turn
            self.outbox.put_endings_first(_SENT_AT_EXIT - 1)

    def write_notes(self) -> None:
        """Note beside the database the messages sent and not recorded yet, before the process ends."""
        for lane in self._lanes.values():
            lane.write_note()

    def wait_s(self, key: str) -> float | None:
        """Seconds until this notifier may have work again; None when nothing waits. Raises StoreError."""
        lane, due = self._lanes[key], self.outbox.next_due(key)
        if due is None:
            return None
        now, blocked_until_s = self._clock.now(), max(lane.not_before_s, lane.probe_at_s)
        at_hand = lane.at_hand is not None and now < lane.at_hand.lease_until
        due_s = 0.0 if at_hand else (due - now).total_seconds()
        return max(due_s, blocked_until_s - self._clock.monotonic(), _ELSEWHERE_S if lane.in_vain else 0.0)

    def stuck(self, key: str) -> bool:
        """True while a fault keeps this notifier from being tried: waiting for it is useless now."""
        return bool(self._lanes[key].failures)

    def retry_now(self, key: str) -> None:
        """Let the next pass try a notifier that could not be reached, unless it said itself when to come back."""
        self._lanes[key].probe_at_s = 0.0

    def would_wait(self, key: str, event: Event) -> bool:
        """True while an epoch of this run would only be put off: an earlier one waits for the same moment."""
        until_s = self._lanes[key].paced_until_s.get(event.run.key, 0.0)
        return isinstance(event, EpochFinished) and self._clock.monotonic() < until_s

    def has_logged(self, run: RunRef, code: str) -> bool:
        """True when the log says that a message of the run was given up for a reason of that code."""
        return any(lane.dead_letters.has(run, code) for lane in self._lanes.values())

    def rest(self, key: str) -> None:
        """Log how many messages of ended runs were given up, as nothing waits for the notifier."""
        self._lanes[key].dead_letters.sum_up(ended=True)

    def sum_up(self) -> None:
        """Log the numbers of given-up messages that are not logged yet. Callable from any thread."""
        for lane in self._lanes.values():
            lane.dead_letters.sum_up()

    def close(self) -> None:
        """Close the notifiers."""
        for lane in self._lanes.values():
            lane.notifier.close()

    def _claim(self, lane: _Lane) -> Delivery | None:
        """Return the delivery at hand while its lease is ours, else the next one; None if nothing is due."""
        if lane.at_hand is not None:
            if self._clock.now() < lane.at_hand.lease_until:
                return lane.at_hand
            lane.let_go()
        if self._notes.is_dir():  # one question to the disk where no process has left any
            lane.owed.append(partial(accepted.take_up, self.outbox.store))
            self._record(lane)
        delivery = self.outbox.claim(lane.notifier.key, lease_s=LEASE_S, pace=lane.notifier.pace)
        lane.at_hand, lane.in_vain = delivery, delivery is None
        if delivery is not None:
            for each in lane.memories.values():
                each.known = {}
            lane.memory_of(delivery.event.run.project).known = delivery.memories
            if isinstance(delivery.event, RunEnded):
                lane.dead_letters.over(delivery.event.run)
        return delivery

    def _decide(self, lane: _Lane, delivery: Delivery) -> Outcome | None:
        """Admit a claimed delivery, and return None; or put it off or drop it, as the notifier's pace demands."""
        pace, left = lane.notifier.pace, left_today(lane.notifier)
        may_wait = left is not None or pace.daily_budget is not None or pace.chosen.quiet is not None
        kept_back = delivery.facts.kept_back and may_wait
        facts, now = replace(delivery.facts, left=left, kept_back=kept_back), self._clock.now()
        verdict = admit(pace, delivery.event, facts, now=now)
        if verdict is None:
            lane.together = held.gather(self.outbox, delivery, fold=pace.folds) if kept_back else None
            lane.admitted = True
            return None
        why = to_text(verdict.why)
        match verdict:
            case Refuse():
                self._done(lane, partial(self.outbox.mark_dropped, delivery, why))
                return Outcome.DROPPED
            case HoldBack(kept_back=True):
                self._done(lane, partial(held.hold_delivery, self.outbox, delivery, verdict.until, why))
                return Outcome.HELD
            case HoldBack():
                if isinstance(delivery.event, EpochFinished):
                    away_s = (verdict.until - now).total_seconds()
                    lane.paced_until_s[delivery.event.run.key] = self._clock.monotonic() + away_s
                self._done(lane, partial(self.outbox.mark_retry, delivery, verdict.until, why, counted=False))
                return Outcome.HELD
            case _:
                assert_never(verdict)

    def _send(self, lane: _Lane, delivery: Delivery) -> Outcome:
        """Render, send and mark a delivery; if it was held back, as one message with all others that were."""
        together, began_s = lane.together, self._clock.monotonic()
        event, skipped = delivery.event, delivery.skipped
        if together and together.ids:
            quiet = lane.notifier.pace.chosen.quiet
            zone, now = quiet.zone if quiet else KST, self._clock.now()
            event, skipped = digest_of(event, together, lane.renderer, now=now, zone=zone), 0
        link = self._link_of(delivery.event.run, delivery.page)  # of a digest, the page of one of its runs
        message = lane.renderer.render(event, link=link, skipped=skipped)
        if delivery.unreported:  # events that were dropped for want of space
            count = text(message.language, "delivery.left_out.count", number=delivery.unreported)
            left_out = Fact(text(message.language, "delivery.left_out.label"), count)
            message = replace(message, facts=(*message.facts, left_out))
        memory = lane.memory_of(event.run.project)
        try:
            lane.notifier.send(Envelope(event, message, memory, delivery.attempts, skipped))
        except TemporaryError as error:
            return self._later(lane, delivery, error)
        except PermanentError as error:
            return self._never(lane, delivery, delivery_reason(error))
        ids = together.ids if together else ()
        lane.accepted = accepted.Sent(delivery.id, delivery.event.id, ids, delivery.unreported)
        lane.finish(began_s)  # the gap is one between messages: what a slow answer took counts, an exit has no time
        if together:
            lane.owed.append(partial(held.mark_sent, self.outbox, together))
        lane.owed.append(partial(lane.mark_sent, self.outbox, delivery))
        self._record(lane)
        if together and together.ids:
            self._show(lane, together)
        return Outcome.SENT

    def _show(self, lane: _Lane, together: HeldBatch) -> None:
        """Update the state that a notifier shows of the runs: it did not change while they were held back."""
        for event in together.states:
            try:
                page = tracker_url(self.outbox.store, event.run.key)
            except StoreError:  # a message does not wait for its button
                page = None
            message = lane.renderer.render(event, link=self._link_of(event.run, page))
            show_state(lane.notifier, Envelope(event, message, lane.memory_of(event.run.project)))
        lane.owed.append(lane.remember)
        self._record(lane)

    def _done(self, lane: _Lane, mark: Callable[[], object]) -> None:
        """Finish a delivery for now: only its result is left to be recorded."""
        lane.let_go()
        lane.owed += (lane.remember, mark)
        self._record(lane)

    def _record(self, lane: _Lane) -> None:
        """Write the pending records, in order. Raises StoreError if the database does not take one.

        In a full one room is made first: what was sent must not be sent again for that.
        """
        while lane.owed:
            try:
                lane.owed[0]()
            except StoreError as error:
                if not (pruning.is_full(error) and pruning.make_room(self.outbox.store)):
                    raise
                lane.owed[0]()
            lane.owed.popleft()
        lane.accepted = None
        if lane.notes.last is not None and not any(each.unwritten() for each in lane.memories.values()):
            lane.notes.forget()

    def _stumble(self, lane: _Lane, delivery: Delivery, error: Exception) -> Outcome:
        """Postpone a delivery after an unexpected exception; give it up if the plugin keeps raising.

        After a fault of notifybot's own the message waits, and others get their turn in between.
        """
        why = delivery_reason(error)
        log.debug("%s raised while sending", delivery.notifier, exc_info=error)
        if lane.admitted and delivery.attempts + 1 >= _UNEXPECTED_TRIES:
            return self._never(lane, delivery, why)
        line = _CANNOT_BE_REACHED if lane.admitted else "delivery.log.mistake_of_ours"
        return self._later(lane, delivery, TemporaryError(why.values["text"], ambiguous=True), line)

    def _later(
        self, lane: _Lane, delivery: Delivery, error: TemporaryError, log_line: str = _CANNOT_BE_REACHED
    ) -> Outcome:
        now_s, now = self._clock.monotonic(), self._clock.now()
        reason, together = delivery_reason(error), lane.together
        if together is None and too_old(delivery.priority, delivery.created_at, now):
            return self._never(lane, delivery, replace(reason, code=f"late/{reason.code}"))
        if not lane.failures:
            line = reason_line(reason, self.language)
            log.warning("%s", text(self.language, log_line, name=lane.notifier.name, why=line))
        why, counted = to_text(reason), error.ambiguous
        lane.failures = [*lane.failures[: retry.QUICK_TRIES], now_s]
        lane.probe_at_s = now_s + retry.delay_s(lane.failures, now_s, error, self._rng)
        lane.not_before_s = now_s + retry.bound_s(error)
        # Due at once, unless the receiver named a moment: the lane waits in memory, and keeps the order.
        due_at = now + timedelta(seconds=retry.bound_s(error))
        if together is None:
            self._done(lane, partial(self.outbox.mark_retry, delivery, due_at, why, counted=counted))
        else:
            lane.owed.append(partial(held.release, self.outbox, together))
            self._done(lane, partial(held.hold_delivery, self.outbox, delivery, due_at, why, counted=counted))
        return Outcome.RETRY

    def _never(self, lane: _Lane, delivery: Delivery, reason: Reason) -> Outcome:
        why, together = to_text(reason), lane.together

        def bury() -> None:
            if self.outbox.mark_dead(delivery, why):
                lane.dead_letters.add(delivery.event, reason, together)
                self._report_elsewhere(lane, delivery.event, reason)

        lane.finish(self._clock.monotonic())
        if together:
            lane.owed.append(partial(held.mark_dead, self.outbox, together, why))
        lane.owed += (lane.remember, bury)
        self._record(lane)
        return Outcome.DEAD

    def _report_elsewhere(self, lane: _Lane, event: Event, reason: Reason) -> None:
        """Report a dead letter through the other notifiers, once per reason; never one about a dead letter."""
        others = [each for key, each in self._lanes.items() if key != lane.notifier.key]
        about_delivery = isinstance(event, AlertRaised) and event.about == "delivery"
        if not others or about_delivery or (why := to_text(reason)) in lane.reported:
            return
        lane.reported.add(why)
        now, notice = self._clock.now(), not_delivered(lane.notifier.name, reason)
        words = notice_words(notice, self.language)
        alert = AlertRaised(
            id=uuid7(now.timestamp()), run=event.run, at=now, title=words.title, text=words.text,
            severity=Severity.WARNING, about="delivery", progress=event.progress, notice=notice,
        )  # fmt: skip
        routes = [(each.notifier.key, Priority.URGENT) for each in others if wants(each.notifier.pace, alert)]
        lane.owed.append(partial(runs.record, self.outbox.store, alert, routes))
